"""How a connection is opened: secrets put in, the program started or the address taken, and held.

This module loads the SDK; see `agency.tools.mcp.owner` for when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types

from agency.domain.connection import Connection, ConnectionKind, ConnectionOrigin, ServerTool
from agency.errors import InvalidInput
from agency.tools.mcp.http import http_streams
from agency.tools.mcp.lines import Lines, Log
from agency.tools.mcp.live import Hooks
from agency.tools.mcp.means import INHERITED, Means
from agency.tools.mcp.naming import full_names
from agency.tools.mcp.oauth.bearer import Bearer
from agency.tools.mcp.oauth.login import Login
from agency.tools.mcp.program import Launch, Program, Recording, open_program
from agency.tools.mcp.redaction import Redaction
from agency.tools.mcp.refusals import Refusals
from agency.tools.mcp.results import tool_of
from agency.tools.mcp.sent import Sent
from agency.tools.mcp.session import Session
from agency.tools.mcp.stdio import stdio_streams

AUTO = "auto"
LEGACY = "legacy"

_EMPTY_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True, eq=False)
class Life:
    """One life of a connection.

    Attributes:
        mode: Era of the protocol to speak: ``auto`` asks the server.
        on_tools: Takes the tools whenever they were read.
        session, program: None before they are open.
    """

    connection: Connection
    means: Means
    mode: str
    log: Log
    on_tools: Callable[[Sequence[ServerTool]], None]
    on_session: Callable[[Session], None]
    session: Session | None = None
    program: Program | None = None
    refusals: Refusals = field(default_factory=Refusals)
    sent: Sent = field(default_factory=Sent)
    redaction: Redaction = field(default_factory=Redaction)

    async def hold(self) -> None:
        """Open the connection, keep it until it is lost, and close it; all of it in one task.

        Whatever goes wrong comes out of here.
        """
        self.redaction = Redaction.of(self.connection.setup, self.means.vault)
        if self.connection.kind is ConnectionKind.HTTP:
            await self._hold_http()
        else:
            await self._hold_program()

    async def _hold_program(self) -> None:
        setup, means = self.connection.setup, self.means
        env = await means.vault.resolve(dict(setup.env))
        inherited = {key: means.environ[key] for key in INHERITED if means.environ.get(key)}
        launch = Launch(
            command=[setup.command, *setup.args],
            environment={"PATH": _EMPTY_PATH, **inherited, **env},
            folder=self._folder(),
            readable=setup.readable,
            hosts=setup.hosts,
            sandbox=means.sandbox if setup.sandbox else None,
        )
        recording = Recording(
            ledger=means.store, connection=self.connection.name, now=means.clock.now
        )
        lines = Lines()
        async with open_program(launch, recording, lines=lines, log=self.log) as program:
            self.program = program
            streams = stdio_streams(
                program, lines=lines, log=self.log, sent=self.sent, on_end=self._on_end
            )
            await self._hold_session(streams)

    def _folder(self) -> Path:
        setup = self.connection.setup
        if setup.cwd:
            folder = Path(setup.cwd)
            if not folder.is_dir():
                raise InvalidInput(f"There is no folder {setup.cwd!r} to start the server in.")
            return folder
        own = self.means.folder / self.connection.name
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        return own

    def _on_end(self, reason: str) -> None:
        assert self.session is not None
        self.session.lose(reason or "its output ended")

    async def _hold_http(self) -> None:
        setup, means = self.connection.setup, self.means
        is_stored = self.connection.origin is ConnectionOrigin.STORED
        url = await means.vault.resolve(setup.url)
        streams = http_streams(
            url,
            headers=await means.vault.resolve(dict(setup.headers)),
            guard=means.private if is_stored else None,
            connect_timeout_s=means.connect_timeout_s,
            sent=self.sent,
            refusals=self.refusals,
            login=self._logging_in(url),
        )
        await self._hold_session(streams)

    def _logging_in(
        self, url: str
    ) -> Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None:
        if not self.connection.setup.logs_in:
            return None
        login = Login(self.connection, url, self.means)
        if not login.is_own():
            name = self.connection.name
            self.refusals.login = f"it demands a login: run `agency mcp login {name}`"
        return lambda inner: Bearer(inner, login, url, self.refusals)

    async def _hold_session(self, streams: Any) -> None:  # noqa: ANN401  the SDK's transport
        setup = self.connection.setup
        self.session = Session(
            streams,
            mode=self.mode,
            hooks=Hooks(
                on_tools=self._take_tools,
                redact=self.redaction.text,
                redact_json=self.redaction.json,
                elicitation=setup.elicitation,
                sampling=setup.sampling,
                roots=setup.roots,
            ),
            server_log=self.log,
            sent=self.sent,
            refusals=self.refusals,
        )
        self.on_session(self.session)
        await self.session.hold()

    def _clean(self, tool: ServerTool) -> ServerTool:
        """Take secrets out of what is in prompts and in the database."""
        return replace(
            tool,
            description=self.redaction.text(tool.description),
            parameters=self.redaction.json(tool.parameters),
        )

    def _take_tools(self, tools: Sequence[types.Tool]) -> None:
        names = full_names(self.connection.name, [tool.name for tool in tools])
        found: dict[str, ServerTool] = {}
        for tool in tools:
            taken = tool_of(tool, names[tool.name])
            if taken is None:
                self.log.say(f"the tool {tool.name[:64]!r} is too large and was left out")
            elif self.redaction.text(tool.name) != tool.name:
                self.log.say(f"the tool {tool.name!r} has a secret in its name and was left out")
            else:
                found.setdefault(taken.name, self._clean(taken))
        self.on_tools(list(found.values()))
