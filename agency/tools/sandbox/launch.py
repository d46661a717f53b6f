"""The launcher: a small program that stands over a command, restricts it and ends all of it.

It is run as ``python -I -S launch.py FD`` and imports nothing of ours, so that it starts fast and
cannot be led astray by a workspace. ``FD`` holds its orders, made by `confined`, in the
interpreter's own marshalled form, because reading JSON would cost as much as the whole rest.

It makes itself the one to whom orphans are given back (a *subreaper*), starts the command, and
waits. When the command has ended, or the daemon has: the pipe of control closes with whoever holds
it, also by ``kill -9``: everything that the command has started is stopped and killed, round after
round, until nothing is left.

Source: Linux, Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h;
prctl(2), PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS; seccomp(2).
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time

# Not from `typing`, which would take as long to load as this program to do its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from typing import Any

IS_LINUX = sys.platform == "linux"

_KILL_S = 10.0
"""Longest time that is spent on ending what keeps starting anew."""

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

_CAPABILITIES_VERSION = 0x20080522
"""Version 3, as capset(2) has it."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights to files each ABI knows; later ones have no more that are used here."""
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT, _SCOPE_SIGNAL = 1, 2


def main() -> None:
    """Carry out the orders; end with 0, the command's end is told through the pipe of status."""
    descriptor = int(sys.argv[1])
    with os.fdopen(descriptor, "rb") as file:
        orders = marshal.load(file)  # noqa: S302  written by the daemon that has started this
    status, control = orders["status"], orders["control"]
    for one in (status, control):
        os.set_inheritable(one, False)  # noqa: FBT003  the library's
    wake_read, wake_write = os.pipe()
    for one in (wake_read, wake_write):
        os.set_blocking(one, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _ignore)
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    if os.getpid() != os.getsid(0):
        os.setsid()
    libc = _libc() if IS_LINUX else None
    if libc is not None:
        _prctl(libc, _PR_SET_CHILD_SUBREAPER, 1)
        # The pipe of control closes as well; both, because a forked helper may hold the pipe.
        _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGTERM)
    command = os.fork()
    if command == 0:
        _become(orders, libc, status)
    _tell(status, f'{{"child-pid": {command}}}')
    ended = _attend(command, control, wake_read, asked_to_end)
    left = _end_all(command)
    if ended is not None:
        code = os.waitstatus_to_exitcode(ended)
        _tell(status, f'{{"exit-code": {code}, "left": {left}}}')
    os._exit(0)


def _ignore(*_: object) -> None:
    """Be woken, and nothing else."""


def _attend(command: int, control: int, wake: int, asked_to_end: list[int]) -> int | None:
    """Wait until the command has ended, and hand back its status; None when it is to be ended."""
    poll = select.poll()
    poll.register(control, select.POLLIN | select.POLLHUP)
    poll.register(wake, select.POLLIN)
    while True:
        status = _reap(command)
        if status is not None:
            return status
        if asked_to_end:
            return None
        for descriptor, _ in poll.poll():
            data = os.read(descriptor, 64)
            if descriptor != control:
                continue
            if not data:
                return None
            for pid in descendants(os.getpid()):
                _send(pid, signal.SIGTERM)


def _reap(command: int) -> int | None:
    """Take note of all that have ended; the command's status, if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == command:
            found = status


def _end_all(command: int) -> int:
    """Kill everything that was started, and return how much is left after `_KILL_S`."""
    until = time.monotonic() + _KILL_S
    if not IS_LINUX:
        try:
            os.killpg(command, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return 0
    while True:
        found = descendants(os.getpid())
        # Stopped first, so that what starts others does not outrun its end.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                _send(pid, number)
        try:
            # Whoever is left has become a child of this process, or will.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return 0
        if time.monotonic() > until:
            return len(found)
        time.sleep(0.001)


def descendants(root: int, most: int = 1 << 20) -> list[int]:
    """List everything below a process, up to a number, parents before their children."""
    found: list[int] = []
    waiting = _children(root)
    while waiting and len(found) < most:
        pid = waiting.pop()
        found.append(pid)
        waiting += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _tell(status: int, line: str) -> None:
    try:
        os.write(status, line.encode() + b"\n")
    except BrokenPipeError:
        # The daemon is gone; the pipe of control says so, too.
        return


def _become(orders: dict[str, Any], libc: ctypes.CDLL | None, status: int) -> None:
    """Turn into the command; never returns."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(orders["folder"])
        _limit(orders["limits"], own_processes=orders["processes_max"])
        if libc is not None:
            _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
            if orders["is_restricted"]:
                _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
                _give_up_capabilities(libc)
            if orders["landlock"] is not None:
                _restrict_files(libc, orders["landlock"])
            if orders["filter"] is not None:
                _filter_calls(libc, orders["filter"])
    except BaseException as error:  # noqa: BLE001  whatever it is, the command must not run
        text = ascii(f"{type(error).__name__}: {error}").replace('"', "'").replace("\\", "/")
        _tell(status, f'{{"failed": "{text}"}}')
        os._exit(1)
    try:
        os.execvpe(orders["argv"][0], orders["argv"], orders["environment"])  # noqa: S606
    except OSError as error:
        line = f"{orders['argv'][0]}: {error.strerror}\n"
        os.write(2, line.encode(errors="replace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _limit(limits: list[tuple[int, int, int]], *, own_processes: int) -> None:
    import resource

    if own_processes and os.getuid() != 0:
        # The kernel counts all processes of a user: those that there are have their place beside.
        most = own_processes + _processes_of(os.getuid())
        limits = [*limits, (resource.RLIMIT_NPROC, most, most)]
    for which, soft, hard in limits:
        allowed = resource.getrlimit(which)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)  # noqa: PLW2901
        resource.setrlimit(which, (soft, hard))


def _processes_of(user: int) -> int:
    """Count the processes and threads of a user."""
    total = 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return total
    for name in names:
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return total


def _libc() -> ctypes.CDLL:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    import ctypes

    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        _fail(f"prctl {option}")


def _give_up_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what root may do beyond its own files; no program gives it back after this."""
    import struct

    header = struct.pack("<Ii", _CAPABILITIES_VERSION, 0)
    if libc.capset(header, bytes(24)) != 0:
        _fail("capset")


def _filter_calls(libc: ctypes.CDLL, program: bytes) -> None:
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    given = Program(len(program) // 8, program)
    mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_SECCOMP, mode, ctypes.byref(given), zero, zero) != 0:
        _fail("seccomp")


def _restrict_files(libc: ctypes.CDLL, orders: dict[str, Any]) -> None:
    import ctypes
    import struct

    abi = orders["abi"]
    all_rights = (1 << _RIGHTS_BY_ABI[min(abi, 5)]) - 1
    net = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    scope = _SCOPE_ABSTRACT | _SCOPE_SIGNAL if abi >= 6 else 0
    attributes = struct.pack("<QQQ", all_rights, net, scope)
    attributes = attributes[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        _fail("landlock_create_ruleset")
    rights = {"read": _READ, "write": all_rights, "device": _DEVICE}
    for path, kind in orders["files"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = rights[kind] & all_rights
        if not _is_folder(place):
            allowed &= _FILE_RIGHTS
        rule = struct.pack("<Qi", allowed, place)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            _fail(f"landlock_add_rule {path}")
        os.close(place)
    for port in orders["ports"] if abi >= 4 else ():
        rule = struct.pack("<QQ", _CONNECT_TCP, port)
        if libc.syscall(_ADD_RULE, ruleset, _NET_PORT, rule, 0) != 0:
            _fail(f"landlock_add_rule port {port}")
    if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        _fail("landlock_restrict_self")
    os.close(ruleset)


def _is_folder(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o040000


def _fail(what: str) -> None:
    import ctypes

    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
