"""The profile for macOS's sandbox-exec, as text. Pure.

The language is Apple's, undocumented and long called deprecated, and there is no other way for a
command line: what is written here follows the profiles that the system itself ships. It bounds
files and the network; it knows no namespaces, so that a command can see which processes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_HEAD = """\
(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-read* (literal "/dev/null") (literal "/dev/zero") (literal "/dev/random") \
(literal "/dev/urandom") (subpath "/private/var/db/timezone"))
(allow file-write-data (literal "/dev/null") (literal "/dev/zero"))
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))
"""


def write_profile(
    *,
    readable: Sequence[Path],
    writable: Sequence[Path],
    hidden: Sequence[Path],
    proxy_port: int | None,
) -> str:
    """Write the profile of one command. The last rule that fits counts.

    Args:
        hidden: Refused below something readable, unless that lies in it; what is writable is
            allowed all the same.
        proxy_port: The one port of this machine that may be connected to; None for no network.
    """
    lines = [_HEAD.rstrip("\n")]
    rules = [(path, "allow file-read*") for path in readable]
    rules += [(path, "deny file-read* file-write*") for path in hidden]
    # The inner after the outer: a Python below a home is seen, and what is hidden below it is not.
    rules.sort(key=lambda rule: len(rule[0].parts))
    lines += [f"({what} (subpath {_quoted(path)}))" for path, what in rules]
    lines += [f"(allow file-read* file-write* (subpath {_quoted(path)}))" for path in writable]
    if proxy_port is not None:
        lines.append(f'(allow network-outbound (remote ip "localhost:{proxy_port}"))')
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
