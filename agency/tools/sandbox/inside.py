"""The attempts of the probe, made inside of a sandbox; what comes of them is judged outside.

Run as ``python -I -S inside.py ORDERS`` with a JSON object of what to try; prints a JSON object of
what each attempt has met: ``done``, or the error. Nothing here does harm where there is no sandbox:
the files, sockets and the process that are reached for belong to the probe.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes

_SURVIVOR_S = 30
_PR_GET_SECCOMP = 21
_IO_URING_SETUP = 425


def main() -> None:
    """Try everything and tell."""
    orders = json.loads(sys.argv[1])
    folder, outside = orders["folder"], orders["outside"]
    canary = os.path.join(outside, "canary")
    attempts: dict[str, Callable[[], object]] = {
        "work": lambda: _write(os.path.join(folder, "work"), "w"),
        "read": lambda: open(canary, "rb").close(),
        "list": lambda: os.listdir(outside),
        "append": lambda: _write(canary, "a"),
        "make": lambda: _write(os.path.join(outside, "made"), "w"),
        "remove": lambda: os.unlink(os.path.join(outside, "victim")),
        "mode": lambda: os.chmod(canary, 0o640),
        "tcp": lambda: socket.create_connection(("127.0.0.1", orders["tcp"]), 1).close(),
        "udp": lambda: _send_datagram(orders["udp"]),
        "unix": lambda: _connect_unix(os.path.join(outside, "socket")),
        "abstract": lambda: _connect_unix("\0" + orders["abstract"]),
        "vsock": lambda: socket.socket(40, socket.SOCK_STREAM).close(),
        "signal": lambda: os.kill(orders["victim"], signal.SIGTERM),
        "see": lambda: _see(orders["victim"], orders["token"]),
        "memory": lambda: _take_memory(orders["memory_bytes"]),
        "uring": _make_ring,
        "unshare": _make_namespace,
        "sysctl": lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
    }
    told: dict[str, object] = {name: _try(attempt) for name, attempt in attempts.items()}
    told["filter"] = _filter_mode()
    told["proc"] = os.path.exists("/proc/self/status")
    told["processes"] = _count_processes(orders["processes"])
    _leave_survivor(orders["survivor"])
    sys.stdout.write(json.dumps(told) + "\n")


def _try(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except (MemoryError, LookupError) as error:
        return type(error).__name__
    return "done"


def _write(path: str, mode: str) -> None:
    with open(path, mode) as file:
        file.write("x")


def _send_datagram(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", port))


def _connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1)
        one.connect(path)


def _see(pid: int, token: str) -> None:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        if token.encode() not in file.read():
            raise LookupError(pid)


def _take_memory(size: int) -> None:
    taken = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.close()


def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> int:
    import ctypes

    result = int(getattr(_libc(), name)(*map(ctypes.c_ulong, arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _filter_mode() -> int:
    try:
        return _call("prctl", _PR_GET_SECCOMP, 0, 0, 0, 0)
    except (OSError, AttributeError):
        return 0


def _make_ring() -> None:
    import ctypes

    parameters = ctypes.create_string_buffer(256)
    libc = _libc()
    if libc.syscall(_IO_URING_SETUP, 1, parameters) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _make_namespace() -> None:
    _call("unshare", 0x10000000)


def _count_processes(wanted: int) -> int:
    """Start processes that wait, and count how many could be."""
    started: list[int] = []
    try:
        for _ in range(wanted):
            pid = os.fork()
            if pid == 0:
                time.sleep(_SURVIVOR_S)
                os._exit(0)
            started.append(pid)
    except OSError:
        pass
    for pid in started:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(started)


def _leave_survivor(descriptor: int) -> None:
    """Leave a process behind that belongs to nobody, and holds a pipe open as long as it lives."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(3):
        if number != descriptor:
            os.close(number)
    time.sleep(_SURVIVOR_S)
    os._exit(0)


if __name__ == "__main__":
    main()
