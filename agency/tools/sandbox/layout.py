"""What a command gets to see of the file system, apart from its own folder. Pure but for looking.

Programs and libraries of the system, and of ``/etc`` what programs need to run: no passwords, no
keys, no hosts, none of what administrators keep there. Homes, the data directory, the
configuration and the workspaces of others are hidden even where they lie below a visible folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from agency.core.records import dataclass

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
"""Folders of programs; several are links into ``/usr`` on most systems."""

MAC_SYSTEM = ("/usr", "/bin", "/sbin", "/System", "/Library", "/opt/homebrew", "/private/etc/ssl")

ETC = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)

_ETC_BYTES_MAX = 4 << 20
"""Larger files of ``/etc`` are no settings."""

DEVICES = ("null", "zero", "full", "random", "urandom")

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
MAC_PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

_WRITABLE = 0o222

USER_ID = 1000
"""Who the command is inside of a user namespace; outside it is the daemon's user."""

PASSWD = (
    "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
    f"agent:x:{USER_ID}:{USER_ID}::/tmp/home:/bin/sh\n"
)
GROUP = f"root:x:0:\nagent:x:{USER_ID}:\n"
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all commands of this daemon.

    Attributes:
        scratch: Folder of ours for what commands need for a moment; not visible inside.
        etc: Folder that is shown as ``/etc``, by drivers that can show one thing as another.
        hidden: Never visible, wherever they lie.
        readable: Visible, beside the system's own.
    """

    scratch: Path
    etc: Path
    hidden: Sequence[Path]
    readable: Sequence[Path] = ()

    @property
    def mark(self) -> str:
        """Tell what is started for this scratch folder, of which each daemon has its own."""
        return sha256(os.fsencode(self.scratch)).hexdigest()[:32]


@cache
def system_folders() -> tuple[Path, ...]:
    """List the folders of programs that there are."""
    names = MAC_SYSTEM if sys.platform == "darwin" else SYSTEM
    return tuple(path for path in map(Path, names) if path.exists())


@cache
def etc_paths() -> tuple[Path, ...]:
    """List what is shown of ``/etc``."""
    return tuple(path for name in ETC if (path := Path("/etc", name)).exists())


def copy_etc(folder: Path) -> None:
    """Copy what is shown of ``/etc`` into a folder, with a user, a group and a host of our own.

    One folder is mounted ten times as fast as forty files. What the system changes there later is
    seen from the next start on.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir()
    for path in etc_paths():
        to = folder / path.relative_to("/etc")
        to.parent.mkdir(parents=True, exist_ok=True)
        # What only others may read is not for commands either.
        with suppress(OSError, shutil.Error):
            if path.is_dir():
                shutil.copytree(path, to, symlinks=True, ignore=_too_large)
            elif path.stat().st_size <= _ETC_BYTES_MAX:
                shutil.copyfile(path, to)
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS)):
        (folder / name).write_text(text)


def _too_large(folder: str, names: list[str]) -> list[str]:
    large: list[str] = []
    for name in names:
        path = Path(folder, name)
        if not path.is_symlink() and path.is_file() and path.stat().st_size > _ETC_BYTES_MAX:
            large.append(name)
    return large


@cache
def interpreter() -> Path:
    """Name the Python that runs our programs inside, where there is no environment of its own."""
    return Path(os.path.realpath(sys.executable))


@cache
def interpreter_places() -> tuple[Path, ...]:
    """List what that Python needs to see; empty when it is one of the system's."""
    visible = [*system_folders()]
    found: list[Path] = []
    for place in (Path(os.path.realpath(sys.base_prefix)), interpreter()):
        if not any(is_below(place, top) for top in visible):
            found.append(place)
            visible.append(place)
    return tuple(found)


def own_program(name: str) -> Path:
    """Find a program of ours that is run inside."""
    return Path(__file__).resolve().parent / name


def is_below(path: Path, top: Path) -> bool:
    """Tell whether a path is a folder, or lies in it."""
    return path == top or top in path.parents


def masked(tops: Iterable[Path], hidden: Iterable[Path]) -> list[Path]:
    """List the hidden paths that lie below something visible, and so have to be covered."""
    visible = list(tops)
    return sorted(path for path in hidden if any(is_below(path, top) for top in visible))


def inside(top: Path, hidden: Iterable[Path]) -> list[Path]:
    """List the hidden paths in a folder that was asked for by its name, and so is not hidden."""
    return sorted(path for path in hidden if top in path.parents)


def uncovered(top: Path, hidden: Sequence[Path]) -> list[Path]:
    """Split a folder into parts that together are all of it but for what is hidden.

    For drivers that can only add: where nothing hidden is inside it is the folder itself.
    """
    inside = [each for each in hidden if is_below(each, top)]
    if not inside:
        return [top]
    if top in inside:
        return []
    try:
        entries = sorted(top.iterdir())
    except OSError:
        return []
    return [part for entry in entries for part in uncovered(entry, inside)]


@cache
def kernel_controls() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """List what in ``/proc`` controls the kernel for whoever is root outside: folders and files.

    The kernel asks for no capability there, but who one is: a namespace of users does not help.
    """
    if os.geteuid() != 0:
        return (), ()
    tops = [path for path in sorted(Path("/proc").iterdir()) if not path.name.isdigit()]
    tops = [path for path in tops if not path.is_symlink()]
    folders = (path for path in tops if path.is_dir() and _has_writable(path))
    files = (path for path in tops if path.is_file() and path.stat().st_mode & _WRITABLE)
    return tuple(folders), tuple(files)


def _has_writable(top: Path) -> bool:
    for folder, _, names in os.walk(top):
        for name in names:
            # Some vanish as they are looked at.
            with suppress(OSError):
                if Path(folder, name).lstat().st_mode & _WRITABLE:
                    return True
    return False


def base_environment(*, home: str, tmp: str) -> dict[str, str]:
    """Make the part of the environment that does not come with the command."""
    path = MAC_PATH if sys.platform == "darwin" else PATH
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": tmp}


def proxy_environment(url: str, hosts: Sequence[str]) -> dict[str, str]:
    """Name the proxy in all the ways in which programs look for one.

    Args:
        hosts: Whom the command may reach. Where this machine is among them its loopback is asked
            for through the proxy; else it is the sandbox's own.
    """
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
    is_machine = any(host.startswith(("localhost", "127.", "[::1]", "::1")) for host in hosts)
    local = "" if is_machine else "localhost,127.0.0.1,::1"
    return {
        **dict.fromkeys(names, url),
        "NO_PROXY": local,
        "no_proxy": local,
        # Node.js takes no notice of the others without it.
        "NODE_USE_ENV_PROXY": "1",
    }
