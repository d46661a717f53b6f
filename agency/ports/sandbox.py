"""A place in which commands can do no harm, and that says what it cannot prevent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.tool import Capability, Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a command may use; the defaults are those of ``[sandbox]``, see there."""

    timeout_s: float = 120.0
    output_bytes_max: int = 1 << 20
    memory_bytes_max: int = 1 << 30
    processes_max: int = 128
    cpu_s_max: float = 600.0
    file_bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command for the sandbox.

    Attributes:
        argv: Program and arguments; no shell is added.
        folder: The one folder that may be written, and where it starts.
        readable: Further folders and files that may be read, beside the system's own.
        environment: All of its environment, beside PATH, HOME, LANG and TMPDIR.
        hosts: ``name`` or ``name:port`` that may be connected to, through the proxy; empty for no
            network at all. From settings and never from a model: an address that is named by its
            number is reached even if it is private.
        stdin: What it reads; empty for nothing.
    """

    argv: Sequence[str]
    folder: Path
    readable: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    stdin: bytes = b""
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnd:
    """How a command has ended.

    Attributes:
        code: Exit status; None when a signal ended it.
        signal: Name of that signal (``SIGKILL``), or empty.
        output: Standard output and error in the order in which they came; the middle is left out
            beyond the bound, and ``dropped_bytes`` says how much.
        reason: Empty, or which bound ended it: ``timeout``, ``memory``, ``processes``, ``cpu``,
            ``file_size``; or ``ended`` when it was ended from outside.
        refused: What the sandbox has refused, as far as it knows, in sentences.
        hosts: Whom it was connected to through the proxy, as ``name:port``, each once.
    """

    code: int | None
    signal: str
    output: bytes
    dropped_bytes: int
    reason: str
    elapsed_s: float
    levels: Mapping[Capability, Level]
    refused: Sequence[str] = ()
    hosts: Sequence[str] = ()


class Process(Protocol):
    """A command that runs in the background, or that is talked with."""

    @property
    def pid(self) -> int:
        """Of the group that is ended with it."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input."""
        ...

    def close_input(self) -> None:
        """Say that there is no more input."""
        ...

    def tail(self, bytes_max: int) -> bytes:
        """Show the end of what it has written so far."""
        ...

    async def wait(self) -> CommandEnd:
        """Wait for its end."""
        ...

    async def end(self) -> CommandEnd:
        """End it and all that it has started, first politely; waits until nothing is left."""
        ...


class Sandbox(Protocol):
    """One driver, with what it was found to enforce on this machine since the daemon started."""

    @property
    def name(self) -> str:
        """``bubblewrap``, ``landlock``, ``sandbox-exec``, ``none``, or ``unavailable``."""
        ...

    async def ready(self) -> None:
        """Wait until it has been chosen and probed, once per boot; cheap afterwards.

        `run` and `start` wait by themselves. What is read below or checked before then is probed on
        the spot, and holds up the caller for a fraction of a second.
        """
        ...

    @property
    def is_ready(self) -> bool:
        """It has been chosen and probed; reading what is below holds nobody up."""
        ...

    @property
    def bounds(self) -> Bounds:
        """The bounds that ``[sandbox]`` sets; the others are the defaults of `Bounds`."""
        ...

    @property
    def levels(self) -> Mapping[Capability, Level]:
        """What is in force, as the probe with the profile in use has shown."""
        ...

    @property
    def fix(self) -> str:
        """What to do for more, in one or two sentences; empty when everything is enforced."""
        ...

    def check(self, needs: frozenset[Capability]) -> None:
        """Refuse what would need more than is in force.

        A bound that is only partial suffices for what ``[sandbox] partial`` names.

        Raises:
            SandboxTooWeak: names what is missing, and the fix.
        """
        ...

    async def run(
        self, command: Command, *, on_output: Callable[[bytes], None] | None = None
    ) -> CommandEnd:
        """Run a command to its end. Cancelling ends its whole process tree.

        Raises:
            SandboxFailed: the sandbox itself could not be made; nothing has run.
        """
        ...

    async def start(
        self, command: Command, *, on_stdout: Callable[[bytes], None] | None = None
    ) -> Process:
        """Start a command in the background.

        Args:
            on_stdout: For programs that are talked with: takes standard output as it comes, and an
                empty piece once it has ended. It counts towards no bound then, and the tail has
                standard error alone. Bounds that are ``math.inf`` do not bound.

        Raises:
            SandboxFailed: the sandbox itself could not be made; nothing has run.
        """
        ...
