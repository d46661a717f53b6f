"""Runs one server, and sees to it that nothing of it is left.

A program of its own, of the standard library alone, that the daemon starts for each server outside
of the sandbox: ``warden.py CONTROL_FD LIMITS COMMAND ARGUMENT…``. Why another process: an orphan of
the server becomes a child of whoever has asked for orphans (``PR_SET_CHILD_SUBREAPER``), so that it
is found also when it has left the process group; and somebody has to be there when the daemon is
not any more.

The control socket ends in the daemon. Its end of file means: stop, whether the daemon has closed it
or was killed. Then the server has ``EOF_S`` to leave by itself (its input is closed, too), all of
its processes are sent SIGTERM, have ``TERM_S``, and are killed. A server that leaves by itself gets
the same treatment for what it leaves behind. ``E<number>`` on the socket says that the command
could not be started, with errno; the warden's exit status is the server's.

Source: prctl(2); MCP 2025-11-25, lifecycle, shutdown, for the order on stdio.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

EOF_S = 2.0
"""How long a server may take to leave when its input has ended."""

TERM_S = 2.0
"""How long its processes may take after SIGTERM."""

KILL_S = 4.0
"""How long killed processes are waited for; one that the kernel holds is left to it."""

_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IS_LINUX = sys.platform == "linux"


def main(arguments: Sequence[str]) -> int:
    """Start the server, wait until it is to stop or has stopped, and end all of it."""
    control = int(arguments[0])
    limits: Mapping[str, int] = json.loads(arguments[1])
    command = list(arguments[2:])
    os.set_inheritable(control, False)  # noqa: FBT003  it takes no keywords
    if _IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, _note)
    wakeup, tell = os.pipe()
    for end in (wakeup, tell):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, _note)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    own = os.getpid()
    server = os.fork()
    if server == 0:
        _become(command, limits, control, own)
    # The server's ends are its own: what reads from it must see their end when it is gone.
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    return _Watch(server, control, wakeup).run()


def _note(_number: int, _frame: object) -> None:
    """Nothing: the wake-up pipe has its number."""


def _become(command: Sequence[str], limits: Mapping[str, int], control: int, warden: int) -> None:
    """Turn into the server; in the child."""
    try:
        if _IS_LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != warden:
                os._exit(1)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(one, signal.SIG_DFL)
        # Python ignores it for itself, and what is ignored stays so over exec.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for name, value in limits.items():
            _limit(getattr(resource, name), value)
        os.execvp(command[0], list(command))  # noqa: S606  the operator's own command
    except OSError as error:
        os.write(control, b"E%d\n" % (error.errno or 0))
    finally:
        os._exit(127)


def _limit(number: int, value: int) -> None:
    _, hard = resource.getrlimit(number)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (most, most))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class _Watch:
    """What is known of the server and of those that it has started."""

    def __init__(self, server: int, control: int, wakeup: int) -> None:
        self._server = server
        self._control = control
        self._wakeup = wakeup
        self._status: int | None = None

    def run(self) -> int:
        if not self._await_end():
            self._wait(EOF_S, until_server=True)
        self._signal_all(signal.SIGTERM)
        if not self._wait(TERM_S):
            deadline_s = time.monotonic() + KILL_S
            while time.monotonic() < deadline_s:
                # Again and again: between a look and a kill others may be born.
                self._signal_all(signal.SIGKILL)
                if self._wait(_POLL_S):
                    break
        return _code_of(self._status)

    def _await_end(self) -> bool:
        """Wait until the server has left (True), or is to leave (False)."""
        while True:
            ready, _, _ = select.select([self._control, self._wakeup], [], [])
            if self._wakeup in ready and self._read_signals():
                return self._status is not None
            if self._control in ready and not _read(self._control):
                return False
            self._reap()
            if self._status is not None:
                return True

    def _read_signals(self) -> bool:
        """Tell whether a signal said to stop."""
        numbers = _read(self._wakeup)
        return any(number != signal.SIGCHLD for number in numbers)

    def _wait(self, seconds: float, *, until_server: bool = False) -> bool:
        """Wait until nothing, or at least not the server, is left; False when the time is over."""
        deadline_s = time.monotonic() + seconds
        while True:
            is_alone = self._reap()
            if is_alone or (until_server and self._status is not None):
                return True
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            select.select([self._wakeup], [], [], min(left_s, _POLL_S * 4))
            _read(self._wakeup)

    def _reap(self) -> bool:
        """Collect what has ended; True when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._server:
                self._status = status

    def _signal_all(self, number: signal.Signals) -> None:
        found = _descendants(os.getpid()) if _IS_LINUX else set()
        if self._status is None:
            found.add(self._server)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if not _IS_LINUX and number == signal.SIGTERM:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(os.getpgid(0), number)


def _descendants(root: int) -> set[int]:
    """Find all processes below one, by what the kernel says of their parents."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b") ")[2].split()
        except OSError:
            continue
        # Zombies have ended; they wait for their parent, not for a signal.
        if len(fields) > 1 and fields[0] != b"Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    ahead = [root]
    while ahead:
        for pid in children.get(ahead.pop(), []):
            if pid not in found:
                found.add(pid)
                ahead.append(pid)
    return found


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except (BlockingIOError, ConnectionResetError):
        return b""


def _code_of(status: int | None) -> int:
    if status is None:
        return 1
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
