"""A command that runs: its streams, its bounds, its end."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import field

from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import SandboxFailed
from agency.ports.sandbox import Bounds, Command, CommandEnd
from agency.tools.sandbox.output import HeadAndTail
from agency.tools.sandbox.plan import Plan, memory_file
from agency.tools.sandbox.streams import Inlet, Outlet
from agency.tools.sandbox.tree import measure, shared_memory_bytes

log = logging.getLogger(__name__)

POLITE_S = 2.0
"""Time between the polite signal and the end."""

GONE_S = 15.0
"""Longest wait for what was killed to be gone; the kernel may have work to finish."""

STREAM_END_S = 2.0
"""Longest wait for the end of streams whose writers have all ended."""

LOOK_S = 0.1
LOOK_LATE_S = 0.5
LOOKS_OFTEN = 100
"""Processes and memory are looked at each 0.1 s, 100 times, and then each 0.5 s."""

_SIGNALS_AT = 128
_STATUS_BYTES_MAX = 65536
_FAILURE_BYTES_MAX = 2000

_REASON_OF_SIGNAL = {"SIGXCPU": "cpu", "SIGXFSZ": "file_size"}


@dataclass(frozen=True, slots=True)
class Connections:
    """What the proxy of a command has seen; filled as it happens."""

    hosts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class CommandProcess:
    """A command in its sandbox. Whoever starts it waits for its end, or ends it."""

    def __init__(
        self,
        command: Command,
        plan: Plan,
        *,
        connections: Connections,
        on_output: Callable[[bytes], None] | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        stdin: int | None = None,
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Start it; see `start`."""
        self._at_end = at_end
        self._command, self._plan, self._connections = command, plan, connections
        self._on_output, self._on_stdout = on_output, on_stdout
        self._loop = asyncio.get_running_loop()
        self._kept = HeadAndTail(command.bounds.output_bytes_max)
        self._lines = b""
        self._code: int | None = None
        self._failure = ""
        self._reason = ""
        self._looks = 0
        self._inside: tuple[int, int] | None = None
        self._handles: list[asyncio.TimerHandle] = []
        self._exited = asyncio.Event()
        self._inside_gone = asyncio.Event()
        self._started_s = monotonic_s()
        self._popen = self._spawn(stdin)
        try:
            self._open_streams()
        except OSError as error:
            # Out of descriptors, most likely: what cannot be watched does not run.
            self._popen.kill()
            self._popen.wait()
            raise SandboxFailed(f"The command could not be watched: {error}.") from error
        self._bound(command.bounds)
        self._ending = self._loop.create_task(self._attend(), name=f"command-{self._popen.pid}")
        # Whoever waits is told of a failure; where nobody does it is no news for the log.
        self._ending.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _spawn(self, stdin: int | None) -> subprocess.Popen[bytes]:
        apart = self._on_stdout is not None
        try:
            # Not asyncio's: it would take a thread for each process to wait for it.
            return subprocess.Popen(  # noqa: S603  the sandbox is what it is for
                self._plan.argv,
                stdin=subprocess.PIPE if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if apart else subprocess.STDOUT,
                env=self._plan.environment,
                cwd="/",
                pass_fds=self._plan.passed,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise SandboxFailed(f"{self._plan.argv[0]} could not be started: {error}.") from error

    def _open_streams(self) -> None:
        self._plan.started()
        self._input: Inlet | None = None
        if self._popen.stdin is not None:
            self._input = Inlet(_taken(self._popen.stdin.fileno()))
            self._popen.stdin.close()
            if self._command.stdin:
                self._feeding = self._loop.create_task(self._feed(self._input))
        bound = self._command.bounds.output_bytes_max
        assert self._popen.stdout is not None
        stdout = _taken(self._popen.stdout.fileno())
        self._popen.stdout.close()
        begun = self._plan.begun
        if self._on_stdout is None:
            self._outlets = [Outlet(stdout, _behind(begun, self._take), free_bytes=bound)]
        else:
            assert self._popen.stderr is not None
            stderr = _taken(self._popen.stderr.fileno())
            self._popen.stderr.close()
            self._outlets = [
                Outlet(
                    stdout, _behind(begun, self._on_stdout), free_bytes=math.inf, tells_end=True
                ),
                Outlet(stderr, self._take, free_bytes=bound),
            ]
        self._status = Outlet(os.dup(self._plan.status), self._hear, free_bytes=math.inf)
        _watch_exit(self._popen, self._exited)

    async def _feed(self, inlet: Inlet) -> None:
        # A command that does not want its input has closed it.
        with suppress(BrokenPipeError):
            await inlet.write(self._command.stdin)

    def _bound(self, bounds: Bounds) -> None:
        if not math.isinf(bounds.timeout_s):
            self._later(bounds.timeout_s, self._kill, "timeout")
        if not (math.isinf(bounds.memory_bytes_max) and math.isinf(bounds.processes_max)):
            self._later(LOOK_S, self._look)

    def _later(self, delay_s: float, call: Callable[..., object], *arguments: object) -> None:
        self._handles.append(self._loop.call_later(delay_s, call, *arguments))

    @property
    def pid(self) -> int:
        """Of the process that all others end with."""
        return self._popen.pid

    def on_end(self, call: Callable[[], object]) -> None:
        """Have something called once everything of it has ended."""
        self._ending.add_done_callback(lambda _: call())

    async def write(self, data: bytes) -> None:
        """Give it input; see `Process`."""
        if self._input is None:
            raise BrokenPipeError("the command has no input")
        await self._input.write(data)

    def close_input(self) -> None:
        """Say that there is no more input."""
        if self._input is not None:
            self._input.close()

    def tail(self, bytes_max: int) -> bytes:
        """Show the end of what it has written so far."""
        return self._kept.tail(bytes_max)

    async def wait(self) -> CommandEnd:
        """Wait for its end; many may.

        Raises:
            SandboxFailed: the sandbox could not be made; the command has not run.
        """
        return await asyncio.shield(self._ending)

    async def end(self) -> CommandEnd:
        """End it and all that it has started, first politely; waits until nothing is left."""
        if not self._ending.done():
            self._reason = self._reason or "ended"
            self._ask()
            await asyncio.wait([self._ending], timeout=POLITE_S)
        return await self.kill()

    async def kill(self) -> CommandEnd:
        """End it at once; waits until nothing is left."""
        if not self._ending.done():
            self._kill("ended")
        return await asyncio.shield(self._ending)

    def _take(self, piece: bytes) -> None:
        self._kept.add(piece)
        if self._on_output is not None:
            self._on_output(piece)

    def _hear(self, piece: bytes) -> None:
        """Hear what the maker of the sandbox tells of it, a line of JSON at a time."""
        self._lines = (self._lines + piece)[-_STATUS_BYTES_MAX:]
        *lines, self._lines = self._lines.split(b"\n")
        for line in filter(None, lines):
            told = json.loads(line)
            if "child-pid" in told and self._inside is None:
                self._enter(int(told["child-pid"]))
            if "failed" in told:
                self._failure = str(told["failed"])
            if "exit-code" in told:
                self._code = int(told["exit-code"])

    def _enter(self, pid: int) -> None:
        """Take hold of the process inside: of the namespace's init, with which all in it ends."""
        try:
            held = os.pidfd_open(pid)
        except (OSError, AttributeError):
            self._inside_gone.set()
            return
        # As long as it is ours its number cannot have gone to another.
        self._inside = (pid, held)
        self._plan.closing.callback(os.close, held)
        self._loop.add_reader(held, self._leave, held)
        self._plan.closing.callback(self._loop.remove_reader, held)

    def _leave(self, held: int) -> None:
        self._loop.remove_reader(held)
        self._inside_gone.set()

    def _look(self) -> None:
        """See to the bounds that the kernel does not keep for a whole tree."""
        bounds = self._command.bounds
        usage = measure(self._root)
        if usage.tasks > bounds.processes_max + 1:
            self._kill("processes")
            return
        if usage.memory_bytes > bounds.memory_bytes_max:
            exact = shared_memory_bytes(usage.pids)
            if (usage.memory_bytes if exact is None else exact) > bounds.memory_bytes_max:
                self._kill("memory")
                return
        self._looks += 1
        self._later(LOOK_S if self._looks < LOOKS_OFTEN else LOOK_LATE_S, self._look)
        self._handles = [each for each in self._handles if not each.cancelled()][-8:]

    @property
    def _root(self) -> int:
        if self._plan.control is None and self._inside is not None:
            return self._inside[0]
        return self._popen.pid

    def _ask(self) -> None:
        if self._plan.control is not None:
            self._plan.control.ask()
            return
        for pid in measure(self._root).pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._plan.cgroup is not None:
            self._plan.cgroup.kill()
        if self._plan.control is not None:
            # The launcher ends everything; without it, what has left its group would be left.
            self._plan.control.close()
            self._later(GONE_S, self._popen.kill)
            return
        if self._inside is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._inside[1], signal.SIGKILL)
        self._popen.kill()

    async def _attend(self) -> CommandEnd:
        try:
            await self._exited.wait()
            elapsed_s = monotonic_s() - self._started_s
            await self._see_it_gone()
            return self._judge(elapsed_s)
        finally:
            self._close()
            if self._at_end is not None:
                await self._at_end()

    async def _see_it_gone(self) -> None:
        await _within(self._status.ended, STREAM_END_S)
        inside = self._inside if self._plan.control is None else None
        # bwrap has ended, and its init is ended by the kernel with all others a moment later.
        if inside is not None and not await _within(self._inside_gone, POLITE_S):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(inside[1], signal.SIGKILL)
            await _within(self._inside_gone, GONE_S)
        for outlet in self._outlets:
            if not await _within(outlet.ended, STREAM_END_S):
                log.warning("output of a command is still open", extra={"pid": self._popen.pid})

    def _judge(self, elapsed_s: float) -> CommandEnd:
        code = self._code
        if self._failure or (code is None and not self._reason):
            raise SandboxFailed(self._why_failed())
        name = ""
        if code is not None and code < 0:
            name, code = _signal_name(-code), None
        elif code is not None and self._plan.says_signals and code > _SIGNALS_AT:
            found = _signal_name(code - _SIGNALS_AT)
            name, code = (found, None) if found else ("", code)
        if code is None and not name:
            name = "SIGKILL"
        return CommandEnd(
            code=code,
            signal=name,
            output=self._kept.whole(),
            dropped_bytes=self._kept.dropped_bytes,
            reason=self._reason or self._bound_of(name),
            elapsed_s=elapsed_s,
            levels=self._plan.levels,
            refused=(*self._connections.refused, *self._refused()),
            hosts=tuple(self._connections.hosts),
        )

    def _bound_of(self, name: str) -> str:
        group = self._plan.cgroup
        if group is not None and group.was_out_of_memory():
            return "memory"
        return _REASON_OF_SIGNAL.get(name, "")

    def _refused(self) -> Sequence[str]:
        group = self._plan.cgroup
        if group is not None and group.was_refused_processes():
            most = self._command.bounds.processes_max
            return (f"A process was not started: more than {most} are not allowed.",)
        return ()

    def _why_failed(self) -> str:
        said = self._kept.tail(_FAILURE_BYTES_MAX).decode(errors="replace").strip()
        status = self._popen.returncode
        reason = self._failure or said or f"it ended with {status} before the command was started"
        return f"The sandbox could not be made: {reason}"

    def _close(self) -> None:
        for handle in self._handles:
            handle.cancel()
        self.close_input()
        for outlet in (*self._outlets, self._status):
            outlet.close()
        self._plan.close()


def start(
    command: Command,
    plan: Plan,
    *,
    connections: Connections,
    on_output: Callable[[bytes], None] | None = None,
    on_stdout: Callable[[bytes], None] | None = None,
    at_end: Callable[[], Awaitable[None]] | None = None,
    is_talked_with: bool,
) -> CommandProcess:
    """Start a planned command; the plan is closed at its end, or here if it cannot be started.

    Args:
        at_end: Called when everything of it has ended.
        is_talked_with: Its input is a pipe that stays open; else it is the command's ``stdin``.

    Raises:
        SandboxFailed: the maker of the sandbox could not be started.
    """
    with ExitStack() as stack:
        stack.callback(plan.close)
        stdin = None
        if not is_talked_with:
            stdin = memory_file(command.stdin, "input")
            stack.callback(os.close, stdin)
        process = CommandProcess(
            command,
            plan,
            connections=connections,
            on_output=on_output,
            on_stdout=on_stdout,
            stdin=stdin,
            at_end=at_end,
        )
        stack.pop_all()
    if stdin is not None:
        os.close(stdin)
    return process


def _taken(descriptor: int) -> int:
    """Keep a descriptor whose Python object is closed."""
    return os.dup(descriptor)


def _behind(mark: bytes, take: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Leave out the first mark of one byte; what comes before it the sandbox has said."""
    is_awaited = bool(mark)

    def took(piece: bytes) -> None:
        nonlocal is_awaited
        if is_awaited and mark in piece:
            is_awaited = False
            piece = piece.replace(mark, b"", 1)
            if not piece:
                return
        take(piece)

    return took


def _watch_exit(popen: subprocess.Popen[bytes], exited: asyncio.Event) -> None:
    """Set the event when the process has ended and was waited for."""
    loop = asyncio.get_running_loop()
    try:
        held = os.pidfd_open(popen.pid)
    except (OSError, AttributeError):
        waiting = loop.run_in_executor(None, popen.wait)
        waiting.add_done_callback(lambda _: exited.set())
        return

    def ended() -> None:
        loop.remove_reader(held)
        os.close(held)
        popen.wait()
        exited.set()

    loop.add_reader(held, ended)


async def _within(event: asyncio.Event, limit_s: float) -> bool:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""
