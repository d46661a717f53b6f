"""A server that is a program: started, talked with, and ended with all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from agency.core.json import encode
from agency.core.records import dataclass
from agency.domain.connection import ServerProcess
from agency.errors import SandboxFailed, SandboxTooWeak
from agency.ports.sandbox import Bounds, Command, Process, Sandbox
from agency.tools.mcp import places, warden
from agency.tools.mcp.lines import LOG_BYTES_MAX, Lines, Log
from agency.tools.mcp.reaping import MARK, sweep

LIMITS: Mapping[str, int] = {
    "RLIMIT_CORE": 0,
    "RLIMIT_NOFILE": 4096,
    "RLIMIT_FSIZE": 4 << 30,
    "RLIMIT_DATA": 8 << 30,
}
"""Resource limits of a server outside of the sandbox: generous, against one that runs wild."""

END_S = warden.EOF_S + warden.TERM_S + warden.KILL_S + 1.0
"""Longest wait for the warden to end a server; then the group is killed from here."""

_WARDEN = Path(warden.__file__)
_ERRNO = re.compile(rb"E(\d+)\n")


class NotStarted(Exception):
    """The program could not be started; trying again without a change is of no use."""


class Program(Protocol):
    """A server that runs."""

    @property
    def pid(self) -> int:
        """Leader of its process group."""
        ...

    @property
    def sandbox(self) -> str:
        """Driver of the sandbox that it is in; ``none`` outside of one."""
        ...

    @property
    def is_clean(self) -> bool:
        """It was ended by whoever looks after it, who has left nothing; for after its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; waits while it does not read.

        Raises:
            ConnectionError: it reads no more.
        """
        ...

    def reason(self) -> str:
        """Say why it is not there any more; empty if that is not known."""
        ...

    def tail(self) -> bytes:
        """Give the end of what it has written to stderr and what is not in the log yet."""
        ...

    async def end(self) -> None:
        """End it with all that it has started; returns when nothing is left. Twice is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is started.

    Attributes:
        command: Program and arguments.
        environment: All of it; nothing is inherited.
        folder: Where it starts; the one that it may write in the sandbox.
        readable, hosts: What else it may reach from there.
        sandbox: None to run it outside.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    readable: Sequence[str] = ()
    hosts: Sequence[str] = ()
    sandbox: Sandbox | None = None


class Ledger(Protocol):
    """Where it is kept which programs were started; see `agency.ports.connection`."""

    async def begin_process(self, process: ServerProcess) -> None: ...

    async def end_process(self, mark: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How a start is recorded."""

    ledger: Ledger
    connection: str
    now: Callable[[], datetime]
    mark: str = field(default_factory=lambda: token_hex(16))

    def row(self, pid: int) -> ServerProcess:
        return ServerProcess(
            mark=self.mark,
            connection=self.connection,
            boot=places.boot_of_machine(),
            pid=pid,
            start_ticks=places.start_ticks(pid) if pid else 0,
            recorded_at=self.now(),
        )


@asynccontextmanager
async def open_program(
    launch: Launch, recording: Recording, *, lines: Lines, log: Log
) -> AsyncIterator[Program]:
    """Start a program; it is recorded before it begins and forgotten when nothing is left of it.

    Raises:
        NotStarted: there is no such program, or it may not be run.
        SandboxTooWeak, SandboxFailed: as `agency.ports.sandbox.Sandbox.start`.
    """
    # Before the start: one that is killed together with the daemon right after it is found, too.
    await recording.ledger.begin_process(recording.row(0))
    environment = {**launch.environment, MARK: recording.mark}
    try:
        program = await _start(launch, environment, lines=lines, log=log)
    except (NotStarted, SandboxTooWeak, SandboxFailed):
        await recording.ledger.end_process(recording.mark)
        raise
    except asyncio.CancelledError:
        # Nobody knows how far it has come.
        await _end(None, recording)
        raise
    try:
        await recording.ledger.begin_process(recording.row(program.pid))
        yield program
    finally:
        await _end(program, recording)


async def _end(program: Program | None, recording: Recording) -> None:
    """End it, whatever becomes of whoever waits for that. None: it may have been started or not."""

    async def finish() -> None:
        if program is not None:
            await program.end()
        if program is None or not program.is_clean:
            await sweep([recording.mark])
        await recording.ledger.end_process(recording.mark)

    task = asyncio.get_running_loop().create_task(finish(), name="mcp-end")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _start(
    launch: Launch, environment: Mapping[str, str], *, lines: Lines, log: Log
) -> Program:
    program = places.find_program(launch.command[0], launch.folder, environment.get("PATH", ""))
    if program is None:
        raise NotStarted(f"there is no program {launch.command[0]!r} that can be run")
    argv = [str(program), *launch.command[1:]]
    if launch.sandbox is None:
        return await _Warded.start(launch, argv, environment, lines=lines, log=log)
    home = Path(environment.get("HOME", "/nonexistent"))
    command = Command(
        argv=argv,
        folder=launch.folder,
        readable=places.readable_of(argv, launch.readable, home),
        environment=environment,
        hosts=launch.hosts,
        bounds=Bounds(
            timeout_s=math.inf,
            cpu_s_max=math.inf,
            memory_bytes_max=LIMITS["RLIMIT_DATA"],
            file_bytes_max=LIMITS["RLIMIT_FSIZE"],
            processes_max=256,
        ),
    )
    process = await launch.sandbox.start(command, on_stdout=lines.feed)
    return _Sandboxed(process, launch.sandbox.name, log)


class _Sandboxed:
    """A program in the sandbox, which ends all of it by itself."""

    def __init__(self, process: Process, sandbox: str, log: Log) -> None:
        self.sandbox = sandbox
        self._process = process
        self._log = log
        self._reason = ""
        self._is_ended = False
        self.is_clean = True

    @property
    def pid(self) -> int:
        return self._process.pid

    async def write(self, data: bytes) -> None:
        await self._process.write(data)

    def reason(self) -> str:
        return self._reason

    def tail(self) -> bytes:
        return b"" if self._is_ended else self._process.tail(LOG_BYTES_MAX)

    async def end(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._process.close_input()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(warden.EOF_S):
                await self._process.wait()
        ended = await self._process.end()
        self._log.add(ended.output)
        for sentence in ended.refused:
            self._log.say(sentence)
        self.is_clean = not ended.signal
        how = f"signal {ended.signal}" if ended.signal else f"exit status {ended.code}"
        self._reason = f"it ended with {how}" + (f" ({ended.reason})" if ended.reason else "")


class _Warded(asyncio.SubprocessProtocol):
    """A program outside of the sandbox, behind its warden; see `agency.tools.mcp.warden`."""

    sandbox = "none"

    def __init__(self, lines: Lines, log: Log, control: socket.socket) -> None:
        self._lines = lines
        self._log = log
        self._control: socket.socket | None = control
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._told = b""
        self._command = ""

    @classmethod
    async def start(
        cls,
        launch: Launch,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        lines: Lines,
        log: Log,
    ) -> _Warded:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        loop = asyncio.get_running_loop()
        program = cls(lines, log, ours)
        program._command = argv[0]
        arguments = [str(theirs.fileno()), encode(LIMITS).decode(), *argv]
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: program,
                sys.executable,
                "-I",
                "-S",
                str(_WARDEN),
                *arguments,
                env=dict(environment),
                cwd=launch.folder,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:
            ours.close()
            raise NotStarted(f"{launch.folder}: {error.strerror}") from error
        except asyncio.CancelledError:
            ours.close()
            raise
        finally:
            theirs.close()
        program._transport = transport
        output = transport.get_pipe_transport(1)
        assert isinstance(output, asyncio.ReadTransport)
        lines.hold, lines.release = output.pause_reading, output.resume_reading
        loop.add_reader(ours.fileno(), program._hear)
        return program

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def is_clean(self) -> bool:
        code = None if self._transport is None else self._transport.get_returncode()
        return code is not None and code >= 0

    # --- what asyncio tells

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._lines.feed(data)
        else:
            self._log.add(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1:
            self._lines.feed(b"")
        elif fd == 0:
            self._may_write.set()

    def process_exited(self) -> None:
        self._lines.feed(b"")
        self._exited.set()
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _hear(self) -> None:
        """Take what the warden says; its end is heard by its exit."""
        assert self._control is not None
        try:
            data = self._control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._told += data
        else:
            asyncio.get_running_loop().remove_reader(self._control.fileno())

    # --- what we do

    async def write(self, data: bytes) -> None:
        assert self._transport is not None
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        if self._exited.is_set() or pipe.is_closing():
            raise BrokenPipeError
        pipe.write(data)
        await self._may_write.wait()

    def tail(self) -> bytes:
        return b""

    def reason(self) -> str:
        found = _ERRNO.search(self._told)
        if found is not None:
            return f"{self._command!r} cannot be run: {os.strerror(int(found[1]))}"
        code = None if self._transport is None else self._transport.get_returncode()
        if code is None:
            return ""
        if code > 128:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(code - 128).name}"
        return f"it ended with exit status {code}"

    async def end(self) -> None:
        assert self._transport is not None
        if self._control is None:
            return
        control, self._control = self._control, None
        asyncio.get_running_loop().remove_reader(control.fileno())
        pid = self.pid
        if not self._exited.is_set():
            pipe = self._transport.get_pipe_transport(0)
            if pipe is not None:
                pipe.close()
            # From here on the warden does it, as it would if the daemon had died.
            control.close()
            try:
                async with asyncio.timeout(END_S):
                    await self._exited.wait()
            except TimeoutError:
                self._log.say("the warden did not end in time; its group was killed")
                places.kill_group(pid)
                async with asyncio.timeout(1.0):
                    await self._exited.wait()
        control.close()
        # One whose warden was killed has lost only itself: what it has started is looked for.
        places.kill_group(pid)
        self._transport.close()
