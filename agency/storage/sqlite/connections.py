"""Connections on SQLite; the promises are those of `agency.ports.connection.ConnectionStore`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.connection import (
    Connection,
    ConnectionOrigin,
    ConnectionSetup,
    ServerProcess,
    ServerTool,
    ToolHints,
    setup_json,
)
from agency.domain.login import LoginFlow
from agency.errors import ConnectionNameTaken, ConnectionNotFound, ConnectionsFull
from agency.ports.connection import CONNECTIONS_MAX
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqliteConnections:
    """Connections in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def add(self, connection: Connection) -> None:
        """Keep a connection; see `ConnectionStore.add`."""
        self._space.check()
        await self._writer.submit(partial(_add, columns=_columns(connection)))

    async def change(self, connection: Connection) -> None:
        """Put a connection in the place of another; see `ConnectionStore.change`."""
        await self._writer.submit(partial(_change, columns=_columns(connection)))

    async def remove(self, connection_id: str) -> None:
        """Forget a connection; see `ConnectionStore.remove`."""
        await self._writer.submit(partial(_remove, connection_id=connection_id))

    async def list(self) -> Sequence[Connection]:
        """Read all connections; see `ConnectionStore.list`."""
        return [_connection_of(row) for row in await self._readers.all("list_connections")]

    async def note_tools(
        self, connection_id: str, tools: Sequence[ServerTool], *, at: datetime
    ) -> None:
        """Keep what a connection offers; see `ConnectionStore.note_tools`."""
        columns = {"id": connection_id, "tools": _tools_form(tools), "at": to_micros(at)}
        await self._writer.submit(partial(_note, name="note_connection_tools", columns=columns))

    async def note_error(self, connection_id: str, error: str, *, at: datetime) -> None:
        """Keep why a connection could not be had; see `ConnectionStore.note_error`."""
        columns = {"id": connection_id, "error": error, "at": to_micros(at)}
        await self._writer.submit(partial(_note, name="note_connection_error", columns=columns))

    async def begin_process(self, process: ServerProcess) -> None:
        """Keep that a program is started; see `ConnectionStore.begin_process`."""
        columns = {**asdict(process), "recorded_at": to_micros(process.recorded_at)}
        await self._writer.submit(partial(_note, name="begin_server_process", columns=columns))

    async def end_process(self, mark: str) -> None:
        """Forget a program; see `ConnectionStore.end_process`."""
        await self._writer.submit(partial(_note, name="end_server_process", columns=(mark,)))

    async def processes(self) -> Sequence[ServerProcess]:
        """Read the programs that may be left; see `ConnectionStore.processes`."""
        return [_process_of(row) for row in await self._readers.all("list_server_processes")]


def _add(tx: Transaction, columns: dict[str, Any]) -> None:
    if tx.one("add_connection", columns) is None:
        raise ConnectionNameTaken(columns["name"])
    counted = tx.one("count_connections")
    assert counted is not None
    if counted[0] > CONNECTIONS_MAX:
        raise ConnectionsFull(CONNECTIONS_MAX)


def _change(tx: Transaction, columns: dict[str, Any]) -> None:
    named = {"name": columns["name"], "id": columns["id"]}
    if tx.one("find_connection_named", named) is not None:
        raise ConnectionNameTaken(columns["name"])
    if not tx.change("change_connection", columns):
        raise ConnectionNotFound(columns["name"])


def _remove(tx: Transaction, connection_id: str) -> None:
    if not tx.change("delete_connection", (connection_id,)):
        raise ConnectionNotFound(connection_id)


def _note(tx: Transaction, name: str, columns: dict[str, Any] | tuple[Any, ...]) -> None:
    tx.change(name, columns)


def _columns(connection: Connection) -> dict[str, Any]:
    return {
        "id": connection.id,
        "name": connection.name,
        "kind": connection.kind.value,
        "setup": encode(setup_json(connection.setup)),
        "is_active": int(connection.is_active),
        "created_at": to_micros(connection.created_at),
        "updated_at": to_micros(connection.updated_at),
        "tools": _tools_form(connection.tools),
        "tools_at": _micros(connection.tools_at),
        "last_error": connection.last_error,
        "last_error_at": _micros(connection.last_error_at),
    }


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _tools_form(tools: Sequence[ServerTool]) -> bytes:
    return encode([asdict(tool) for tool in tools])


def _tool_of(form: dict[str, Any]) -> ServerTool:
    return ServerTool(**{**form, "hints": ToolHints(**form["hints"])})


def _setup_of(form: dict[str, Any]) -> ConnectionSetup:
    parts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in form.items()
    }
    parts["oauth"] = LoginFlow(parts.get("oauth", LoginFlow.LOGIN))
    return ConnectionSetup(**parts)


def _connection_of(row: Row) -> Connection:
    (
        connection_id,
        name,
        setup,
        is_active,
        created_at,
        updated_at,
        tools,
        tools_at,
        last_error,
        last_error_at,
    ) = row
    return Connection(
        id=connection_id,
        name=name,
        setup=_setup_of(decode(setup)),
        origin=ConnectionOrigin.STORED,
        is_active=bool(is_active),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        tools=[_tool_of(form) for form in decode(tools)],
        tools_at=_moment(tools_at),
        last_error=last_error,
        last_error_at=_moment(last_error_at),
    )


def _process_of(row: Row) -> ServerProcess:
    mark, connection, boot, pid, start_ticks, recorded_at = row
    return ServerProcess(
        mark=mark,
        connection=connection,
        boot=boot,
        pid=pid,
        start_ticks=start_ticks,
        recorded_at=from_micros(recorded_at),
    )
