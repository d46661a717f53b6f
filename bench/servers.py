"""Servers that peers need, private to one measurement: PostgreSQL and Redis, each in a folder.

Both listen on a Unix socket only, sync each commit, and are gone when the measurement ends, also
when that is killed. Their processor time counts as the peer's. Needs nothing but the standard
library, because it runs in the peers' environment.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GUARD_S = 30.0
POSTGRES_PROGRAMS = ("initdb", "postgres")
REDIS_PROGRAMS = ("redis-server",)
_LOOK_S = 0.02
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        address: Folder of the socket for PostgreSQL, the socket itself for Redis.
    """

    address: str
    pid: int

    def processor_s(self) -> float:
        """Processor time of the server with all its processes, those that have ended included."""
        ticks = _ticks(self.pid, with_ended=True) or 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent_of(int(entry.name)) == self.pid:
                ticks += _ticks(int(entry.name), with_ended=False) or 0
        return ticks / _TICKS


@contextmanager
def postgres(folder: str) -> Iterator[Server]:
    """Run PostgreSQL with a new database; ``synchronous_commit`` and ``fsync`` are on."""
    place = Path(folder) / "postgres"
    place.mkdir()
    account = _account()
    with _short_folder() as sockets:
        for path in (place, sockets):
            if account:
                os.chown(path, account["user"], account["group"])
        subprocess.run(
            ["initdb", "-D", place, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            check=True,
            capture_output=True,
            cwd=place,
            **account,
        )
        settings = ("synchronous_commit=on", "fsync=on", "listen_addresses=")
        command = ["postgres", "-D", str(place), "-k", str(sockets)]
        for setting in settings:
            command += ["-c", setting]
        with _running(command, place, signal.SIGINT, account) as child:
            _await(child, lambda: _is_postgres_ready(place / "postmaster.pid"))
            yield Server(str(sockets), child.pid)


@contextmanager
def redis(folder: str) -> Iterator[Server]:
    """Run Redis with an append-only file that is synced at each command."""
    place = Path(folder) / "redis"
    place.mkdir()
    with _short_folder() as sockets:
        path = str(sockets / "redis.sock")
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--dir", str(place)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with _running(command, place, signal.SIGTERM, {}) as child:
            _await(child, lambda: _is_redis_ready(path))
            yield Server(path, child.pid)


def _account() -> dict[str, Any]:
    """Whom to run as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to be root, and there is no other account")


@contextmanager
def _short_folder() -> Iterator[Path]:
    """Make a folder for sockets: their paths may have 107 characters at most."""
    path = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _running(
    command: Sequence[str], folder: Path, ending: signal.Signals, account: dict[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    def follow_parent() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(ending))

    with (
        (folder.parent / "server.log").open("wb") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=follow_parent,  # noqa: PLW1509 -- there is one thread only
            **account,
        ) as child,
    ):
        try:
            yield child
        finally:
            child.send_signal(ending)
            child.wait(timeout=GUARD_S)


def _await(child: subprocess.Popen[bytes], is_ready: Any) -> None:
    until_s = time.monotonic() + GUARD_S
    while not is_ready():
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} has ended with {child.returncode}")
        if time.monotonic() > until_s:
            raise TimeoutError(f"{child.args!r} does not become ready")
        time.sleep(_LOOK_S)


def _is_postgres_ready(path: Path) -> bool:
    # Source: src/include/utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS.
    return path.exists() and path.read_text().splitlines()[7:8] == ["ready   "]


def _is_redis_ready(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(path)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _fields(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # it has ended in the meantime
        return None


def _parent_of(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None else int(fields[1])


def _ticks(pid: int, *, with_ended: bool) -> int | None:
    fields = _fields(pid)
    # Own time, and that of children that were waited for. Source: proc(5), stat, 14 to 17.
    return None if fields is None else sum(map(int, fields[11 : 15 if with_ended else 13]))
