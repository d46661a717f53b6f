"""The sources of tools of this daemon: those of our own, and such as come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from agency.config.schema import Tools as Settings
from agency.core.addresses import HostRule, parse_rule
from agency.errors import ConfigurationInvalid, ToolUnavailable
from agency.ports.sandbox import Sandbox
from agency.ports.tool import Tool, Toolset
from agency.tools.background import Background
from agency.tools.commands import Commands
from agency.tools.fetch import Fetch, HttpRequest, Web
from agency.tools.files.edit import EditFile
from agency.tools.files.read import ReadFile
from agency.tools.files.search import ListFiles, SearchFiles
from agency.tools.files.write import UndoEdit, WriteFile
from agency.tools.notes import Note, ReadNotes
from agency.tools.packages import InstallPackage
from agency.tools.python import Python
from agency.tools.shell import Shell, ShellStop, ShellTail

THREADS = 4
"""Files that are read and searched at once."""


class OwnToolset:
    """Tools of our own, under one name."""

    def __init__(self, name: str, tools: Sequence[Tool], *, sandbox: Sandbox | None = None) -> None:
        """Put tools together.

        Args:
            sandbox: What has to be probed before it is known what the tools may do.
        """
        self._name = name
        self._tools = tuple(tools)
        self._sandbox = sandbox

    @property
    def name(self) -> str:
        """See `Toolset.name`."""
        return self._name

    @property
    def tool_names(self) -> Sequence[str]:
        """Names of the tools, for whom it is not worth a probe of the sandbox."""
        return [tool.spec.name for tool in self._tools]

    async def tools(self) -> Sequence[Tool]:
        """List the tools; see `Toolset.tools`."""
        if self._sandbox is not None:
            await self._sandbox.ready()
        return self._tools


class ToolsetRegistry:
    """All sources; the promises are those of `agency.ports.tool.Toolsets`."""

    def __init__(self) -> None:
        self._toolsets: dict[str, Toolset] = {}

    def all(self) -> Sequence[Toolset]:
        """List the sources, ordered by name; see `Toolsets.all`."""
        return [self._toolsets[name] for name in sorted(self._toolsets)]

    def names(self) -> set[str]:
        """Names of all sources, and of the tools of our own; nothing is asked."""
        found = set(self._toolsets)
        for toolset in self._toolsets.values():
            # Those of servers are not known before they were asked.
            found.update(getattr(toolset, "tool_names", ()))
        return found

    def add(self, toolset: Toolset) -> None:
        """Take a source in; it takes the place of one that has its name."""
        self._toolsets[toolset.name] = toolset

    def remove(self, name: str) -> None:
        """Let a source go; nothing happens if there is none of that name."""
        self._toolsets.pop(name, None)

    async def find(self, name: str) -> Tool | None:
        """Find a tool by its name; of two the first source's counts.

        Raises:
            ToolUnavailable: a source cannot be asked now, and no other has it.
        """
        away: ToolUnavailable | None = None
        for toolset in self.all():
            try:
                tools = await toolset.tools()
            except ToolUnavailable as error:
                away = error
                continue
            for tool in tools:
                if tool.spec.name == name:
                    return tool
        if away is not None:
            raise away
        return None


def parse_rules(settings: Settings) -> list[HostRule]:
    """Read ``[tools] fetch_allow``, and check the other lists of hosts.

    Raises:
        ConfigurationInvalid: an entry of one is no host.
    """
    # The proxy of each command reads these two; by then it would be too late to say so.
    _parse("command_hosts", settings.command_hosts)
    _parse("package_hosts", settings.package_hosts)
    return _parse("fetch_allow", settings.fetch_allow)


def _parse(name: str, hosts: Sequence[str]) -> list[HostRule]:
    try:
        return [parse_rule(one) for one in hosts]
    except ValueError as error:
        raise ConfigurationInvalid(f"[tools] {name}: {error}") from error


def make_toolsets(
    settings: Settings, *, sandbox: Sandbox, background: Background, threads: ThreadPoolExecutor
) -> list[Toolset]:
    """Make the toolsets of our own that are not switched off.

    Raises:
        ConfigurationInvalid: as `parse_rules`.
    """
    rules = parse_rules(settings)
    characters_max = settings.result_characters_max
    commands = Commands(sandbox, settings)
    made: list[Toolset] = []
    if settings.files:
        files: list[Tool] = [
            ReadFile(threads, characters_max=characters_max),
            WriteFile(threads),
            EditFile(threads),
            ListFiles(threads, characters_max=characters_max),
            SearchFiles(characters_max=characters_max),
            UndoEdit(),
        ]
        made.append(OwnToolset("files", files))
    if settings.shell:
        shell: list[Tool] = [
            Shell(commands, background),
            ShellTail(commands, background),
            ShellStop(commands, background),
        ]
        made.append(OwnToolset("shell", shell, sandbox=sandbox))
    if settings.python:
        made.append(OwnToolset("python", [Python(commands)], sandbox=sandbox))
    if settings.fetch:
        web = Web(settings, rules)
        made.append(OwnToolset("fetch", [Fetch(web, settings), HttpRequest(web, settings)]))
    if settings.packages and settings.package_index:
        made.append(OwnToolset("packages", [InstallPackage(commands)], sandbox=sandbox))
    if settings.notes:
        made.append(OwnToolset("notes", [Note(), ReadNotes()]))
    return made


@asynccontextmanager
async def open_tools(
    settings: Settings, *, sandbox: Sandbox, background: Background
) -> AsyncIterator[ToolsetRegistry]:
    """Open the registry with the toolsets of our own.

    Raises:
        ConfigurationInvalid: as `parse_rules`.
    """
    registry = ToolsetRegistry()
    threads = ThreadPoolExecutor(THREADS, "tools")
    try:
        made = make_toolsets(settings, sandbox=sandbox, background=background, threads=threads)
        for toolset in made:
            registry.add(toolset)
        yield registry
    finally:
        threads.shutdown()
