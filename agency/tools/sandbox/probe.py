"""What a driver enforces on this machine: found out by trying to break out of it.

The attempts are made by a small program inside, with the very plan that commands are started with;
what came of them is judged from outside where it can be: whether a file has changed, a connection
arrived, a process died. A capability is *enforced* when every attempt on it was refused, *partial*
when only lesser ones succeeded, and *absent* otherwise.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from agency.core.ids import new_id
from agency.core.records import dataclass
from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.ports.sandbox import Bounds, Command
from agency.tools.sandbox import layout
from agency.tools.sandbox.plan import OUTER_ENVIRONMENT, Driver, Plan

PROBE_S = 20.0
"""Longest probe of one driver; a machine that is that slow is taken for one where it fails."""

_SURVIVOR_END_S = 3.0
_MEMORY_BYTES = 192 << 20
_BEYOND_BYTES = 128 << 20
_PROCESSES = 24
_BEYOND = 16

NOTHING: Mapping[Capability, Level] = dict.fromkeys(Capability, Level.ABSENT)


@dataclass(frozen=True, slots=True)
class Found:
    """What the probe has found.

    Attributes:
        met: What each attempt has met inside, for `agency doctor`.
    """

    levels: Mapping[Capability, Level]
    has_proc: bool
    met: Mapping[str, object]


@dataclass(slots=True)
class _Targets:
    """What the attempts aim at."""

    folder: Path
    outside: Path
    tcp: socket.socket
    udp: socket.socket
    unix: socket.socket
    abstract: socket.socket | None
    abstract_name: str
    victim: subprocess.Popen[bytes]
    token: str


def probe(driver: Driver, scratch: Path, *, has_cgroup: bool) -> Found:
    """Try to break out of a driver's sandbox; blocks for a fraction of a second.

    Raises:
        SandboxFailed: no sandbox could be made, or nothing can be done in it.
    """
    with ExitStack() as stack:
        targets = stack.enter_context(_targets(scratch))
        told, is_survived = _attempt(driver, targets)
        if told.get("work") != "done":
            raise SandboxFailed(f"Inside, the own folder cannot be written: {told.get('work')}.")
        reached = _reached(targets)
        return Found(
            _judge(told, reached, is_survived=is_survived, has_cgroup=has_cgroup),
            bool(told.get("proc")),
            {**told, "reached": sorted(reached), "survivor": is_survived},
        )


def _judge(
    told: Mapping[str, object], reached: frozenset[str], *, is_survived: bool, has_cgroup: bool
) -> dict[Capability, Level]:
    count = told.get("processes")
    is_bounded = isinstance(count, int) and count < _PROCESSES + _BEYOND
    passed = {name for name, met in told.items() if met == "done"}
    return {
        Capability.FILE_READ: _level(bad=bool(passed & {"read", "list"})),
        Capability.FILE_WRITE: _level(
            bad=bool(reached & {"changed", "made", "removed"}), weak="mode" in reached
        ),
        Capability.NETWORK: _level(
            bad=bool(reached & {"tcp", "udp", "unix", "abstract"}), weak="vsock" in passed
        ),
        Capability.PROCESSES: _level(
            bad=is_survived or "killed" in reached,
            weak="see" in passed or not (is_bounded or has_cgroup),
        ),
        Capability.MEMORY: _level(bad="memory" in passed and not has_cgroup, weak=not has_cgroup),
        Capability.SYSTEM_CALLS: _level(
            bad=told.get("filter") != 2 or "unshare" in passed,
            weak=bool(passed & {"uring", "sysctl"}),
        ),
    }


def _level(*, bad: bool, weak: bool = False) -> Level:
    return Level.ABSENT if bad else Level.PARTIAL if weak else Level.ENFORCED


@contextmanager
def _targets(scratch: Path) -> Iterator[_Targets]:
    with ExitStack() as stack:
        try:
            base = Path(tempfile.mkdtemp(prefix="probe-", dir=scratch))
        except OSError as error:
            raise SandboxFailed(f"The probe found no place for its files: {error}.") from error
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        folder, outside = base / "folder", base / "outside"
        folder.mkdir()
        outside.mkdir()
        for name in ("canary", "victim"):
            (outside / name).write_text("canary")
            (outside / name).chmod(0o600)
        token = new_id()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        _bind_in(outside, unix)
        abstract = None
        if sys.platform == "linux":
            abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
            abstract.bind("\0" + token)
            abstract.listen()
        # It ends with this process, however that ends, and holds nothing of it open.
        waiting = "import sys; sys.stdin.read()"
        victim = subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-I", "-S", "-c", waiting, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=OUTER_ENVIRONMENT,
        )
        stack.callback(_end, victim)
        for one in filter(None, (tcp, udp, unix, abstract)):
            one.setblocking(False)  # noqa: FBT003  the library's
        yield _Targets(folder, outside, tcp, udp, unix, abstract, token, victim, token)


def _bind_in(folder: Path, one: socket.socket) -> None:
    """Listen in a folder whose path may be too long for a socket's name."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        near = f"/proc/self/fd/{held}/socket"
        one.bind(near if sys.platform == "linux" else str(folder / "socket"))
        one.listen()
    except OSError as error:
        raise SandboxFailed(f"The probe cannot listen in {folder}: {error}.") from error
    finally:
        os.close(held)


def _end(victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    victim.communicate()


def _attempt(driver: Driver, targets: _Targets) -> tuple[Mapping[str, object], bool]:
    """Run the attempts; tell what they met, and whether what they left behind is still there."""
    read, write = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, read)
        orders = {
            "folder": str(targets.folder),
            "outside": str(targets.outside),
            "tcp": targets.tcp.getsockname()[1],
            "udp": targets.udp.getsockname()[1],
            "abstract": targets.abstract_name,
            "victim": targets.victim.pid,
            "token": targets.token,
            "memory_bytes": _MEMORY_BYTES + _BEYOND_BYTES,
            "processes": _PROCESSES + _BEYOND,
            "survivor": write,
        }
        program = layout.own_program("inside.py")
        command = Command(
            argv=[str(layout.interpreter()), "-I", "-S", str(program), json.dumps(orders)],
            folder=targets.folder,
            readable=[program],
            bounds=Bounds(memory_bytes_max=_MEMORY_BYTES, processes_max=_PROCESSES),
        )
        try:
            plan = driver.plan(command, NOTHING)
        except SandboxFailed:
            os.close(write)
            raise
        stack.callback(plan.close)
        told = _run(plan, write)
        plan.close()
        return told, not _ends(read, _SURVIVOR_END_S)


def _run(plan: Plan, survivor: int) -> Mapping[str, object]:
    try:
        running = subprocess.Popen(  # noqa: S603  the driver's own plan
            plan.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=plan.environment,
            cwd="/",
            pass_fds=[*plan.passed, survivor],
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxFailed(f"{plan.argv[0]} could not be started: {error}.") from error
    finally:
        plan.started()
        os.close(survivor)
    try:
        out, said = running.communicate(timeout=PROBE_S)
    except subprocess.TimeoutExpired as error:
        raise SandboxFailed(f"The probe did not end within {PROBE_S:g} s.") from error
    finally:
        # The launcher ends everything when its pipe closes; bwrap with its init.
        if plan.control is not None:
            plan.control.close()
        else:
            running.kill()
        with suppress(subprocess.TimeoutExpired):
            running.wait(timeout=PROBE_S)
        running.kill()
        for stream in (running.stdout, running.stderr):
            if stream is not None:
                stream.close()
    try:
        told = json.loads(out.removeprefix(plan.begun))
    except ValueError:
        failure = _failure(plan)
        text = (failure or said.decode(errors="replace")).strip()
        raise SandboxFailed(
            text or f"The probe ended with {running.returncode} and said nothing."
        ) from None
    assert isinstance(told, dict)
    return told


def _failure(plan: Plan) -> str:
    """Read what the launcher has told of its failure."""
    try:
        lines = os.read(plan.status, 65536).splitlines()
    except OSError:
        return ""
    return next(
        (str(told["failed"]) for line in lines if "failed" in (told := json.loads(line))), ""
    )


def _ends(descriptor: int, limit_s: float) -> bool:
    """Wait until a pipe has no writer any more."""
    until = time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if selector.select(left) and os.read(descriptor, 1) == b"":
                return True
    return False


def _reached(targets: _Targets) -> frozenset[str]:
    """Tell what the attempts have really reached."""
    reached: set[str] = set()
    canary = targets.outside / "canary"
    if canary.read_text() != "canary":
        reached.add("changed")
    if canary.stat().st_mode & 0o777 != 0o600:
        reached.add("mode")
    if (targets.outside / "made").exists():
        reached.add("made")
    if not (targets.outside / "victim").exists():
        reached.add("removed")
    for name, one in (("tcp", targets.tcp), ("unix", targets.unix), ("abstract", targets.abstract)):
        if one is not None and _has_arrived(one):
            reached.add(name)
    with suppress(BlockingIOError):
        targets.udp.recv(16)
        reached.add("udp")
    with suppress(subprocess.TimeoutExpired):
        if targets.victim.wait(timeout=0.01) == -signal.SIGTERM:
            reached.add("killed")
    return frozenset(reached)


def _has_arrived(one: socket.socket) -> bool:
    try:
        one.accept()[0].close()
    except BlockingIOError:
        return False
    return True
