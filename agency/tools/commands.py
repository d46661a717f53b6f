"""Commands in the sandbox: how they are run for a tool, and what is told of their end."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path

from agency.config.schema import Tools as Settings
from agency.core.records import dataclass
from agency.domain.tool import Capability, Level, Permission, ToolEffect, ToolOutput
from agency.ports.sandbox import Command, CommandEnd, Sandbox
from agency.ports.tool import ToolContext
from agency.ports.workspace import PACKAGES
from agency.tools.bounded import bounded
from agency.tools.sandbox.choose import UNAVAILABLE

ENVIRONMENT_FOLDER = f"{PACKAGES}/python"
"""The run's own Python environment, once packages were installed."""

MARGIN_S = 900.0
"""How much longer a tool may take than its command, which has a limit of its own: it may wait for a
place where many runs have commands at once."""

SAFE = (Capability.FILE_READ, Capability.FILE_WRITE, Capability.NETWORK)
"""While these are enforced a command without network can do no harm outside of its folder."""

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[@-Z\\-_]"
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)

_WHY = {
    "timeout": "it took too long and was stopped",
    "memory": "it took too much memory and was stopped",
    "processes": "it started too many processes and was stopped",
    "cpu": "it took too much processor time and was stopped",
    "file_size": "it wrote too large a file and was stopped",
    "ended": "it was stopped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A command that a tool wants run.

    Attributes:
        timeout_s: Longest time; at most what the settings say.
        hosts: Whom it may connect to, beside those of the settings.
    """

    argv: Sequence[str]
    stdin: bytes = b""
    timeout_s: float
    hosts: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class Commands:
    """Runs commands of tools as ``[tools]`` says."""

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self.sandbox = sandbox
        self.settings = settings
        self.needs = frozenset(Capability(one) for one in settings.command_needs)

    @property
    def effect(self) -> ToolEffect:
        """Without network a command changes nothing but the workspace, which can be put back."""
        return ToolEffect.ONCE if self.settings.command_hosts else ToolEffect.RESTORE

    @property
    def permission(self) -> Permission:
        """Allow what can do no harm; ask for everything else."""
        levels = self.sandbox.levels
        is_safe = all(levels.get(one) is Level.ENFORCED for one in SAFE)
        return Permission.ALLOW if is_safe and not self.settings.command_hosts else Permission.ASK

    @property
    def timeout_s(self) -> float:
        """Longest call of a tool that waits for its command."""
        return self.settings.command_timeout_s + MARGIN_S

    @cached_property
    def shell(self) -> str:
        """The shell that commands are written for."""
        return shutil.which("bash", path="/bin:/usr/bin:/usr/local/bin") or "/bin/sh"

    @cached_property
    def python(self) -> str:
        """The Python that runs code: the configured one, else the one that runs the daemon."""
        configured = self.settings.python_path
        return configured or str(getattr(sys, "_base_executable", "") or sys.executable)

    def python_of(self, folder: Path) -> str:
        """The Python of a run: that of its own environment, where it has one."""
        own = folder / ENVIRONMENT_FOLDER / "bin" / "python"
        # A link, whose target the sandbox shows; nothing is run by looking.
        return str(own) if own.is_symlink() else self.python

    @cached_property
    def readable(self) -> tuple[Path, ...]:
        """Where that Python and its library are."""
        return places_of(Path(self.python).resolve())

    def timeout_of(self, wanted_s: float | None) -> float:
        """Bound a time limit that a model asks for."""
        longest = self.settings.command_timeout_s
        return min(wanted_s, longest) if wanted_s is not None and wanted_s > 0 else longest

    async def command(self, folder: Path, wish: Wish) -> Command:
        """Make the command for the sandbox, if it protects enough.

        Raises:
            SandboxTooWeak: it does not; nothing was done.
        """
        await self.sandbox.ready()
        # Where there is none nothing is run, however little is needed, and waiting would not help.
        is_away = self.sandbox.name == UNAVAILABLE
        self.sandbox.check(frozenset(SAFE) if is_away else self.needs)
        own = folder / ENVIRONMENT_FOLDER / "bin"
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        if own.is_dir():
            environment |= {
                "VIRTUAL_ENV": str(folder / ENVIRONMENT_FOLDER),
                "PATH": f"{own}:/usr/local/bin:/usr/bin:/bin",
            }
        return Command(
            argv=wish.argv,
            folder=folder,
            readable=self.readable,
            environment={**environment, **wish.environment},
            hosts=[*self.settings.command_hosts, *wish.hosts],
            stdin=wish.stdin,
            bounds=replace(
                self.sandbox.bounds,
                timeout_s=wish.timeout_s,
                output_bytes_max=self.settings.command_output_bytes_max,
            ),
        )

    async def run(self, wish: Wish, context: ToolContext) -> CommandEnd:
        """Run a command to its end; what it writes is passed on as it comes.

        Raises:
            SandboxTooWeak, SandboxFailed: nothing has run.
        """
        command = await self.command(await context.workspace.folder(), wish)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def tell(piece: bytes) -> None:
            context.progress(decoder.decode(piece))

        return await self.sandbox.run(command, on_output=tell)

    async def told(
        self, end: CommandEnd, context: ToolContext, name: str, *, if_silent: str = "(no output)"
    ) -> ToolOutput:
        """Make the result of a command that has ended."""
        output = readable_text(end.output).rstrip()
        if end.dropped_bytes:
            output += f"\n[{end.dropped_bytes} bytes in the middle were dropped.]"
        body = await bounded(
            context.workspace, name, output or if_silent, self.settings.result_characters_max
        )
        notes = [status_of(end), *end.refused[:5]]
        return ToolOutput(
            content=f"{body}\n[{'; '.join(notes)}]",
            is_error=end.code != 0,
            sandbox=end.levels,
            # A command with network may have fetched anything.
            is_untrusted=bool(end.hosts),
            structured={"exit_code": end.code, "signal": end.signal, "reason": end.reason},
        )


def places_of(program: Path) -> tuple[Path, ...]:
    """List what a Python needs to be seen of: all of its own folder, or parts of one with others.

    Some are made for one user alone, so that ``bin`` and ``lib`` lie in a home.
    """
    prefix = program.parent.parent
    if prefix in {Path("/"), Path("/usr"), Path("/usr/local")}:
        return ()
    homes = {Path.home(), Path("/root")}
    is_shared = prefix in homes or any(prefix in home.parents for home in homes)
    is_shared = is_shared or prefix.parent in {Path("/home"), Path("/Users"), Path("/")}
    if program.parent.name == "bin" and not is_shared:
        return (prefix,)
    libraries = (place / "lib" for place in (program.parent, prefix))
    return (program, *(place for place in libraries if place.is_dir()))


def status_of(end: CommandEnd) -> str:
    """Say how a command has ended, in a few words."""
    took = f"after {end.elapsed_s:.1f} s"
    if end.reason:
        return f"{_WHY.get(end.reason, end.reason)}, {took}"
    if end.signal:
        return f"ended by {end.signal}, {took}"
    return f"exit code {end.code}, {took}"


def readable_text(output: bytes) -> str:
    """Decode what a command has written; of lines that were written over the last state stays."""
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _without_control(text)


def _without_control(text: str) -> str:
    """Take out sequences that only terminals understand. Source: ECMA-48, section 5.4."""
    return _CONTROL.sub("", text)
