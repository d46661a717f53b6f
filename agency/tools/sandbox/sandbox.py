"""The sandbox of this daemon, as the port has it: chosen when first needed, and for the boot."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Settings
from agency.core.addresses import HostRule, parse_rule
from agency.core.clock import monotonic_s
from agency.domain.tool import Capability, Level
from agency.errors import ConfigurationInvalid, Fault, SandboxFailed, SandboxTooWeak
from agency.ports.sandbox import Bounds, Command, CommandEnd
from agency.tools.sandbox.cgroups import open_cgroups
from agency.tools.sandbox.choose import Choice, Tried, choose
from agency.tools.sandbox.confined import NONE
from agency.tools.sandbox.layout import Surroundings, copy_etc
from agency.tools.sandbox.probe import NOTHING
from agency.tools.sandbox.process import CommandProcess, Connections, start
from agency.tools.sandbox.proxy import open_proxy
from agency.tools.sandbox.remains import end_remains

log = logging.getLogger(__name__)

SCRATCH = "sandbox"
"""Folder in the data directory for what commands and probes need for a moment."""

CLOSE_S = 10.0
"""Longest wait for commands to end when the daemon stops."""


_NO_PLACE = "Give the daemon's user a data directory that it can write to, on a disk with room."


class ChosenSandbox:
    """The driver that was chosen, behind the port `Sandbox`."""

    def __init__(
        self,
        settings: SandboxSettings,
        surroundings: Surroundings,
        *,
        private: Sequence[HostRule] = (),
        choice: Choice | None = None,
    ) -> None:
        """Make it; nothing is probed.

        Args:
            private: What may be reached through the proxy although it is not public.
            choice: What an earlier probe with the same surroundings has found.
        """
        self._settings, self.surroundings, self._private = settings, surroundings, private
        self._choice = choice
        self._choosing = threading.Lock()
        self._places = asyncio.Semaphore(settings.commands_max)
        self._live: set[CommandProcess] = set()

    @property
    def is_ready(self) -> bool:
        """It has been chosen and probed; see the port."""
        return self._choice is not None

    async def ready(self) -> None:
        """Wait until it has been chosen and probed; see the port."""
        if self._choice is None:
            await asyncio.to_thread(self._choose)

    @property
    def choice(self) -> Choice:
        """What was chosen, and what was tried before."""
        return self._choice or self._choose()

    @property
    def name(self) -> str:
        """As the port says it, or ``unavailable`` where nothing works."""
        return self.choice.name

    @property
    def levels(self) -> Mapping[Capability, Level]:
        """What is in force; see the port."""
        return self.choice.levels

    @property
    def fix(self) -> str:
        """What to do for more; see the port."""
        return self.choice.fix

    @property
    def bounds(self) -> Bounds:
        """The bounds that the settings set."""
        settings = self._settings
        return Bounds(
            memory_bytes_max=settings.memory_bytes_max,
            processes_max=settings.processes_max,
            cpu_s_max=settings.cpu_s_max,
            file_bytes_max=settings.file_bytes_max,
        )

    def check(self, needs: frozenset[Capability]) -> None:
        """Refuse what would need more than is in force; see the port."""
        suffices = {*self._settings.partial}
        self._refuse(
            each
            for each in sorted(needs)
            if (level := self.levels[each]) is Level.ABSENT
            or (level is Level.PARTIAL and each not in suffices)
        )

    def check_required(self) -> None:
        """Refuse everything when what ``[sandbox] require`` names is not enforced.

        Raises:
            SandboxTooWeak: names what is missing, and the fix.
        """
        required = map(Capability, self._settings.require)
        self._refuse(each for each in required if self.levels[each] is not Level.ENFORCED)

    def _refuse(self, missing: Iterable[Capability]) -> None:
        names = [str(each) for each in missing]
        if names:
            raise SandboxTooWeak("This call", names, driver=self.name, fix=self.fix)

    async def run(
        self, command: Command, *, on_output: Callable[[bytes], None] | None = None
    ) -> CommandEnd:
        """Run a command to its end; see the port."""
        async with self._places:
            process = await self._start(command, on_output=on_output, is_talked_with=False)
            try:
                return await process.wait()
            except asyncio.CancelledError:
                await process.kill()
                raise

    async def start(
        self, command: Command, *, on_stdout: Callable[[bytes], None] | None = None
    ) -> CommandProcess:
        """Start a command in the background; see the port."""
        return await self._start(command, on_stdout=on_stdout, is_talked_with=True)

    async def _start(
        self,
        command: Command,
        *,
        on_output: Callable[[bytes], None] | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        is_talked_with: bool,
    ) -> CommandProcess:
        await self.ready()
        self.check_required()
        choice = self.choice
        if choice.driver is None:
            tried = "; ".join(f"{each.driver}: {each.reason}" for each in choice.tried)
            raise SandboxFailed(
                f"There is no sandbox on this machine, and nothing is run without one ({tried}).",
                hint=choice.fix or None,
            )
        command = _checked(command)
        async with AsyncExitStack() as stack:
            connections, place = Connections(), None
            if command.hosts:
                opening = open_proxy(
                    command.hosts,
                    private=self._private,
                    by_path=choice.driver.proxy_by_path,
                    scratch=self.surroundings.scratch,
                )
                place, proxy = await stack.enter_async_context(opening)
                connections = proxy.connections
            try:
                plan = choice.driver.plan(command, choice.levels, proxy=place)
            except OSError as error:
                raise SandboxFailed(f"The sandbox could not be made: {error}.") from error
            process = start(
                command,
                plan,
                connections=connections,
                on_output=on_output,
                on_stdout=on_stdout,
                at_end=stack.pop_all().aclose,
                is_talked_with=is_talked_with,
            )
        self._live.add(process)
        process.on_end(lambda: self._live.discard(process))
        return process

    async def close(self) -> None:
        """End all commands that still run."""
        if self._live:
            endings = [asyncio.ensure_future(each.end()) for each in self._live]
            await asyncio.wait(endings, timeout=CLOSE_S)

    def _choose(self) -> Choice:
        with self._choosing:
            if self._choice is None:
                began_s = monotonic_s()
                try:
                    _prepare(self.surroundings)
                    self._choice = choose(self._settings, self.surroundings, open_cgroups())
                except SandboxFailed as error:
                    tried = Tried(self._settings.driver, error.message, "")
                    self._choice = Choice(None, NOTHING, _NO_PLACE, (tried,))
                _tell(self._choice, monotonic_s() - began_s)
            return self._choice


def _checked(command: Command) -> Command:
    """Make paths whole, and refuse what cannot be started in any sandbox.

    Raises:
        SandboxFailed: there is no program, no folder, or a NUL in a word.
    """
    words = (*command.argv, *command.environment, *command.environment.values())
    if not command.argv or not command.argv[0]:
        raise SandboxFailed("The command names no program.", hint="")
    if any("\0" in word for word in words):
        raise SandboxFailed("The command has a NUL character in it.", hint="")
    try:
        folder = command.folder.resolve(strict=True)
        return replace(
            command, folder=folder, readable=[path.resolve() for path in command.readable]
        )
    except OSError as error:
        raise SandboxFailed(f"The folder of the command cannot be used: {error}.") from error


def _prepare(surroundings: Surroundings) -> None:
    """Remove what a daemon that was killed has left behind, and make what all commands see.

    Raises:
        SandboxFailed: there is no place for it.
    """
    scratch = surroundings.scratch
    end_remains(surroundings.mark)
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in scratch.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        copy_etc(surroundings.etc)
    except OSError as error:
        raise SandboxFailed(
            f"The folder {str(scratch)!r} for the sandbox cannot be used: {error}."
        ) from error


def _tell(choice: Choice, elapsed_s: float) -> None:
    is_safe = choice.driver is not None and choice.name != NONE
    told = {
        "driver": choice.name,
        "levels": {str(each): str(level) for each, level in choice.levels.items()},
        "fix": choice.fix,
        "tried": [f"{each.driver}: {each.reason}" for each in choice.tried],
        "elapsed_s": round(elapsed_s, 3),
    }
    log.log(logging.INFO if is_safe else logging.WARNING, "sandbox chosen", extra=told)


def make_sandbox(
    settings: Settings, *, hidden: Sequence[Path] = (), scratch: Path | None = None
) -> ChosenSandbox:
    """Make the sandbox; nothing is probed yet.

    Args:
        hidden: Never shown to a command, beside the data directory and the homes: the
            configuration, and where else there are secrets.
        scratch: Folder for what commands need for a moment, which is emptied; None for the one in
            the data directory, which is the daemon's.

    Raises:
        ConfigurationInvalid: a host in the settings is none.
    """
    data_dir = Path(settings.server.data_dir).resolve()
    faults: list[Fault] = []
    private: list[HostRule] = []
    for text in settings.sandbox.private_hosts:
        try:
            private.append(parse_rule(text))
        except ValueError as error:
            faults.append(Fault("sandbox.private_hosts", str(error)))
    if faults:
        raise ConfigurationInvalid("The configuration is not valid.", faults=faults)
    scratch = scratch or data_dir / SCRATCH
    homes = (Path.home(), Path("/root"), Path("/home"))
    surroundings = Surroundings(
        scratch=scratch,
        etc=scratch / "etc",
        hidden=[data_dir, *(path.resolve() for path in (*hidden, *homes))],
        readable=[Path(path).resolve() for path in settings.sandbox.readable],
    )
    return ChosenSandbox(settings.sandbox, surroundings, private=private)


@asynccontextmanager
async def open_sandbox(
    settings: Settings, *, hidden: Sequence[Path] = ()
) -> AsyncIterator[ChosenSandbox]:
    """Open the sandbox: probed when first needed, or at once where ``[sandbox] require`` says so.

    Raises:
        ConfigurationInvalid: as `make_sandbox`.
        SandboxTooWeak: what ``[sandbox] require`` names is not enforced here.
    """
    sandbox = make_sandbox(settings, hidden=hidden)
    if settings.sandbox.require:
        await sandbox.ready()
        sandbox.check_required()
    try:
        yield sandbox
    finally:
        await sandbox.close()
