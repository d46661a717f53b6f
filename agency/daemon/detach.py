"""Go into the background, and report back whether the daemon has come up.

The process forks once before python-daemon forks twice: the first parent stays, listens on a pipe,
and ends with what the daemon reports. No thread and no event loop may exist by then, because a fork
takes neither along.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agency.daemon.exits import ExitCode

START_TIMEOUT_S = 300.0
"""A migration of a large database may take minutes; after this the parent stops waiting for it."""

_REPORT_BYTES_MAX = 64 * 1024


class Report:
    """How the detached process tells its parent; only the first report counts."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def ready(self) -> None:
        """The daemon serves."""
        self._send({"code": ExitCode.OK})

    def failed(self, code: ExitCode, reason: str) -> bool:
        """The daemon has not come up, and why; False when there is nobody (any more) to tell."""
        return self._send({"code": code, "reason": reason})

    def _send(self, document: dict[str, object]) -> bool:
        if self._descriptor is None:
            return False
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.write(descriptor, json.dumps(document).encode())
        except BrokenPipeError:
            # The parent was killed while it waited; the daemon serves all the same.
            return False
        finally:
            os.close(descriptor)
        return True


def detach(
    serve: Callable[[Report], int],
    *,
    folder: Path,
    log: int,
    log_name: str,
    keep: Sequence[int],
) -> int:
    """Run ``serve`` in a detached process; return in both, with the code to exit with.

    Args:
        serve: The daemon; it reports once it serves, or why it does not.
        folder: Where it works: what authors' steps write to relative paths lands there.
        log: Open file that becomes its standard output and standard error.
        log_name: What the file is called, for messages.
        keep: Further descriptors that it needs.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)  # ends at once: it only forks further
        return _await_report(reader, log_name)
    os.close(reader)
    # Imported in the child only: the parent has no use for it.
    from daemon import DaemonContext

    report = Report(writer)
    with os.fdopen(os.dup(log), "a") as stream:
        context = DaemonContext(
            detach_process=True,
            working_directory=str(folder),
            umask=0o077,
            files_preserve=[writer, log, *keep],
            stdout=stream,
            stderr=stream,
            # The signals are caught by the loop; before it is there they end the process.
            signal_map={},
        )
        context.open()
    return serve(report)


def _await_report(reader: int, log_name: str) -> int:
    ready, _, _ = select.select([reader], [], [], START_TIMEOUT_S)
    if not ready:
        _say(f"The daemon is not ready after {START_TIMEOUT_S:g} s; see {log_name}.")
        return ExitCode.FAILED
    text = os.read(reader, _REPORT_BYTES_MAX)
    if not text:
        _say(f"The daemon ended before it was ready; see {log_name}.")
        return ExitCode.FAILED
    report = json.loads(text)
    if report.get("reason"):
        _say(report["reason"])
    return int(report["code"])


def _say(text: str) -> None:
    sys.stderr.write(f"agency-daemon: {text}\n")
