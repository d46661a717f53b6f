"""Connections: where they are kept, and what the doors do with those that are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol

from agency.core.records import dataclass
from agency.domain.connection import (
    Connection,
    ConnectionSetup,
    ConnectionStatus,
    ServerProcess,
    ServerTool,
)
from agency.domain.login import LoginStarted, LoginView
from agency.domain.tool import Asks, Permission, ToolEffect, ToolOutput

CONNECTIONS_MAX = 100
"""Connections that are stored at most: each one that is active is a server that runs."""


class ConnectionStore(Protocol):
    """Where connections are kept that somebody has added."""

    async def add(self, connection: Connection) -> None:
        """Keep a connection.

        Raises:
            ConnectionNameTaken: one of that name is there.
            ConnectionsFull: there are `CONNECTIONS_MAX`.
        """
        ...

    async def change(self, connection: Connection) -> None:
        """Put a connection in the place of the one with its id; what it offers stays known.

        Raises:
            ConnectionNotFound: there is none with that id.
            ConnectionNameTaken: another one has its name.
        """
        ...

    async def remove(self, connection_id: str) -> None:
        """Forget a connection.

        Raises:
            ConnectionNotFound: there is none with that id.
        """
        ...

    async def list(self) -> Sequence[Connection]:
        """Read all that are kept, by name; never more than `CONNECTIONS_MAX`."""
        ...

    async def note_tools(
        self, connection_id: str, tools: Sequence[ServerTool], *, at: datetime
    ) -> None:
        """Keep what a connection offers. Without effect when it is gone."""
        ...

    async def note_error(self, connection_id: str, error: str, *, at: datetime) -> None:
        """Keep why a connection could not be had. Without effect when it is gone."""
        ...

    async def begin_process(self, process: ServerProcess) -> None:
        """Keep that a program is about to be started, or, for the same mark, that it was."""
        ...

    async def end_process(self, mark: str) -> None:
        """Forget a program, because nothing is left of it."""
        ...

    async def processes(self) -> Sequence[ServerProcess]:
        """Read the programs that were not seen to end, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionView:
    """A connection, and how it is now."""

    connection: Connection
    status: ConnectionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolView:
    """A tool of a connection, and what holds for its calls."""

    tool: ServerTool
    effect: ToolEffect
    permission: Permission
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What trying a connection has shown.

    Attributes:
        log: End of what the server has written to its standard error; empty over HTTP.
        needs_login: It was reached, and demands that a person logs in first.
    """

    is_good: bool
    reason: str
    elapsed_s: float
    protocol: str
    server: str
    tools: Sequence[ServerTool]
    log: str = ""
    needs_login: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCall:
    """A call that a person makes, outside of any run.

    Attributes:
        tool: The server's name of it, or the full one.
        answers, state: Of an earlier try that has asked; see `agency.domain.tool.Asks`.
    """

    tool: str
    arguments: Mapping[str, Any]
    answers: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None


class Connections(Protocol):
    """All connections of this daemon, configured and stored, each with its owner."""

    def list(self) -> Sequence[ConnectionView]:
        """List all, by name."""
        ...

    def get(self, key: str) -> ConnectionView:
        """Find one by its id or its name.

        Raises:
            ConnectionNotFound: there is none.
        """
        ...

    def log(self, key: str) -> str:
        """Give the end of what the server has written to its standard error.

        Raises:
            ConnectionNotFound: there is none.
        """
        ...

    async def add(
        self, name: str, setup: ConnectionSetup, *, is_active: bool, is_tested: bool
    ) -> ConnectionView:
        """Add a connection; it is opened at once, without a restart.

        Args:
            is_tested: Try it first, and add it only when it works, or would after a login.

        Raises:
            InvalidInput: the setup cannot be right; ``faults`` says what.
            ConnectionNameTaken, ConnectionsFull: as `ConnectionStore.add`.
            ConnectionFailed: it was tried, and does not work.
        """
        ...

    async def change(
        self,
        key: str,
        *,
        setup: ConnectionSetup | None = None,
        is_active: bool | None = None,
        is_tested: bool = False,
    ) -> ConnectionView:
        """Change a stored connection; it is opened anew when that makes a difference.

        Raises:
            as `add`, and
            ConnectionNotFound: there is none.
            ConnectionConfigured: the configuration has it, and is the place to change it.
        """
        ...

    async def remove(self, key: str) -> None:
        """Forget a stored connection; what is left of its server is gone when this returns.

        Raises:
            ConnectionNotFound, ConnectionConfigured: as `change`.
        """
        ...

    async def test(self, key: str) -> Tested:
        """Open a connection beside the one that is in use, list its tools, and close it.

        A connection that waits for its next try, or has given up, is tried at once afterwards.

        Raises:
            ConnectionNotFound: there is none.
        """
        ...

    async def tools(self, key: str) -> Sequence[ToolView]:
        """List what a connection offers.

        Raises:
            ConnectionNotFound: there is none.
            ToolUnavailable: it cannot be asked now, and was never asked before.
        """
        ...

    async def call(self, key: str, call: DirectCall) -> ToolOutput | Asks:
        """Call a tool for a person; permissions are those of the caller at the door.

        Raises:
            ConnectionNotFound: there is none.
            ToolNotFound: it has no such tool.
            InvalidInput: the arguments do not fit the tool's schema.
            ToolUnavailable, ToolInterrupted: as `agency.ports.tool.Tool.call`.
        """
        ...

    async def login(self, key: str) -> LoginView:
        """Tell how a connection stands with the login at its server.

        Raises:
            ConnectionNotFound: there is none.
            VaultLocked, SecretBroken: what is kept of it cannot be read.
        """
        ...

    async def begin_login(self, key: str) -> LoginStarted:
        """Find out where a person logs in for a connection, and begin.

        A login that was begun before cannot be finished any more; what it was to replace stays
        good until this one is finished.

        Raises:
            ConnectionNotFound: there is none.
            LoginFailed: nobody can log in there; it says why.
            VaultLocked: there is no place for what must be kept.
        """
        ...

    async def finish_login(self, key: str, returned: str) -> None:
        """Finish a login with the address that the browser was sent to; the connection is opened.

        Works after a restart, too. Each login is finished once, whatever comes of it.

        Raises:
            ConnectionNotFound: there is none.
            LoginFailed: it was not begun here, or there are no tokens for it.
            VaultLocked: as `begin_login`.
        """
        ...

    async def forget_login(self, key: str) -> None:
        """Log out: the tokens are taken back where that is offered, and forgotten.

        Raises:
            ConnectionNotFound: there is none.
            VaultLocked: as `begin_login`.
        """
        ...
