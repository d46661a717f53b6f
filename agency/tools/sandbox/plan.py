"""How a command is to be started: what each driver makes of it, and all that starting needs."""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import field
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.tool import Capability, Level
from agency.ports.sandbox import Bounds, Command
from agency.tools.sandbox.cgroups import Cgroup

OUTER_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
"""Environment of what makes the sandbox. Never that of the command, which could lead it astray:
``LD_PRELOAD`` would be obeyed before there is a sandbox."""

MARK = "AGENCY_SANDBOX"
"""Variable of what makes the sandbox, by which the next daemon finds what is left of it."""

CPU_GRACE_S = 5
"""Processor time between the signal that tells a process of its limit, and its end."""


@dataclass(frozen=True, slots=True)
class ProxyPlace:
    """Where the proxy of a command listens: a Unix socket, or a port with a password."""

    path: str = ""
    port: int = 0
    url: str = ""


class Control:
    """Our end of the pipe that a launcher obeys."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def ask(self) -> None:
        """Ask all processes politely to end."""
        if self._descriptor is not None:
            # A launcher that has just ended has nobody left to ask.
            with suppress(BrokenPipeError):
                os.write(self._descriptor, b"T")

    def close(self) -> None:
        """End everything; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(slots=True, kw_only=True)
class Plan:
    """All that starting a command needs. Whoever has it closes it, whatever happens.

    Attributes:
        argv: Program and arguments, in `environment`.
        passed: Descriptors that it inherits; of no use to us once it runs.
        status: Reads lines of JSON: ``child-pid``, ``exit-code`` once the command itself has ended,
            ``failed`` when it was never started.
        control: Ends everything; None where killing the process itself does that.
        says_signals: Exit codes above 128 stand for signals.
        mark: Value of `MARK`; empty where nothing can be left.
        begun: A byte that the sandbox writes to stdout before the command has begun, and that is no
            part of its output; empty for none.
        closing: Frees what the plan holds.
    """

    argv: Sequence[str]
    passed: list[int]
    status: int
    levels: Mapping[Capability, Level]
    closing: ExitStack
    control: Control | None = None
    cgroup: Cgroup | None = None
    says_signals: bool = False
    mark: str = ""
    begun: bytes = b""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment that it is started in."""
        return {**OUTER_ENVIRONMENT, MARK: self.mark} if self.mark else OUTER_ENVIRONMENT

    def started(self) -> None:
        """Let go of what the child has inherited, so that its end is seen."""
        while self.passed:
            os.close(self.passed.pop())

    def close(self) -> None:
        """Free everything; may be called twice."""
        self.started()
        self.closing.close()


class Driver(Protocol):
    """One way of making a sandbox."""

    @property
    def name(self) -> str:
        """As the port says it."""
        ...

    @property
    def proxy_by_path(self) -> bool:
        """Commands reach the proxy by a Unix socket; else by a port of loopback."""
        ...

    def plan(
        self,
        command: Command,
        levels: Mapping[Capability, Level],
        *,
        proxy: ProxyPlace | None = None,
    ) -> Plan:
        """Plan a command.

        Raises:
            SandboxFailed: something that the sandbox stands on cannot be made.
        """
        ...


@dataclass(slots=True)
class Descriptors:
    """Descriptors while a plan is made: closed together if that fails."""

    closing: ExitStack
    passed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closing.callback(self._close)

    def _close(self) -> None:
        while self.passed:
            os.close(self.passed.pop())

    def given(self, data: bytes, name: str = "agency") -> int:
        """Make a descriptor from which a child reads these bytes."""
        descriptor = memory_file(data, name)
        self.passed.append(descriptor)
        return descriptor

    def pipe_from_child(self) -> tuple[int, int]:
        """Make a pipe that the child writes to; ours to read, and its number for the child."""
        read, write = os.pipe()
        self.closing.callback(os.close, read)
        os.set_blocking(read, False)
        self.passed.append(write)
        return read, write

    def pipe_of_control(self) -> tuple[int, Control]:
        """Make a pipe that a launcher obeys; its number for the child, and our end."""
        read, write = os.pipe()
        control = Control(write)
        self.closing.callback(control.close)
        self.passed.append(read)
        return read, control


def memory_file(data: bytes, name: str) -> int:
    """Make a file without a name that holds these bytes and, where the kernel can, no others."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            return os.dup(file.fileno())
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def whole(value: float) -> int | None:
    """Take a bound as a whole number; None for one that does not bound."""
    return None if math.isinf(value) else max(1, math.ceil(value))


def limits_of(bounds: Bounds) -> list[tuple[int, int, int]]:
    """List the resource limits of a command's processes: which, soft, hard.

    Memory is bounded as RLIMIT_DATA, which counts what a process can write to. RLIMIT_AS would
    count what is reserved, too, and runtimes such as V8 and Go reserve more than a machine has.
    """
    import resource

    limits = [(resource.RLIMIT_CORE, 0, 0)]
    cpu, file, memory = map(
        whole, (bounds.cpu_s_max, bounds.file_bytes_max, bounds.memory_bytes_max)
    )
    if cpu is not None:
        limits.append((resource.RLIMIT_CPU, cpu, cpu + CPU_GRACE_S))
    if file is not None:
        limits.append((resource.RLIMIT_FSIZE, file, file))
    if memory is not None:
        limits.append((resource.RLIMIT_DATA, memory, memory))
    return limits
