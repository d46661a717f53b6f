"""What every store of connections promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.domain.connection import (
    Connection,
    ConnectionOrigin,
    ConnectionSetup,
    ServerProcess,
    ServerTool,
    ToolHints,
)
from agency.errors import ConnectionNameTaken, ConnectionNotFound, ConnectionsFull
from agency.ports.connection import CONNECTIONS_MAX, ConnectionStore
from tests.contract.conftest import Opener

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 12, 30, 1, 5, tzinfo=UTC)
TOOL = ServerTool(
    name="a b",
    full_name="x__a_b",
    description="é",
    parameters={"type": "object", "properties": {"n": {"type": "integer"}}},
    hints=ToolHints(read_only=True),
)


def connection(name: str = "files", **more: Any) -> Connection:
    """Make a connection as the store hands it out."""
    more.setdefault("tools", [])
    told = {
        "id": new_id(),
        "name": name,
        "setup": ConnectionSetup(command="server", args=("/data",), env={"A": "secret://a"}),
        "origin": ConnectionOrigin.STORED,
        "is_active": True,
        "created_at": NOW,
        "updated_at": NOW,
        **more,
    }
    return Connection(**told)


async def test_connection_is_read_as_it_was_added(opener: Opener) -> None:
    full = ConnectionSetup(
        url="https://example.org/mcp",
        headers={"X": "Bearer secret://x"},
        timeout_s=3.5,
        timeouts_s={"slow": 100.0},
        concurrency=2,
        trust_hints=True,
        allow=("read*",),
        roots=True,
        elicitation=False,
    )
    added = [connection("b", setup=full, tools=[TOOL], tools_at=LATER), connection("a")]
    async with opener() as store:
        for one in added:
            await store.connections.add(one)
    async with opener() as store:
        assert [added[1], added[0]] == list(await store.connections.list())


async def test_name_is_had_by_one_only(opener: Opener) -> None:
    async with opener() as store:
        first, second = connection("a"), connection("b")
        await store.connections.add(first)
        await store.connections.add(second)

        with pytest.raises(ConnectionNameTaken):
            await store.connections.add(connection("a"))
        with pytest.raises(ConnectionNameTaken):
            await store.connections.change(replace(second, name="a"))
        assert [first, second] == list(await store.connections.list())


async def test_number_of_connections_is_bounded(opener: Opener) -> None:
    async with opener() as store:
        for number in range(CONNECTIONS_MAX):
            await store.connections.add(connection(f"c{number:03}"))

        with pytest.raises(ConnectionsFull):
            await store.connections.add(connection("one-more"))
        assert CONNECTIONS_MAX == len(await store.connections.list())


async def test_change_keeps_what_is_known(opener: Opener) -> None:
    async with opener() as store:
        old = connection()
        await store.connections.add(old)
        await store.connections.note_tools(old.id, [TOOL], at=LATER)
        await store.connections.note_error(old.id, "it was away", at=LATER)
        setup = ConnectionSetup(url="http://h/")
        new = replace(old, setup=setup, is_active=False, updated_at=LATER)
        await store.connections.change(new)

        noted = replace(
            new, tools=[TOOL], tools_at=LATER, last_error="it was away", last_error_at=LATER
        )
        assert [noted] == list(await store.connections.list())


async def test_what_is_not_there_cannot_be_changed_or_removed(opener: Opener) -> None:
    async with opener() as store:
        with pytest.raises(ConnectionNotFound):
            await store.connections.change(connection())
        with pytest.raises(ConnectionNotFound):
            await store.connections.remove(new_id())


async def test_note_about_a_connection_that_is_gone_has_no_effect(opener: Opener) -> None:
    async with opener() as store:
        gone = connection()
        await store.connections.add(gone)
        await store.connections.remove(gone.id)
        await store.connections.note_tools(gone.id, [TOOL], at=LATER)
        await store.connections.note_error(gone.id, "x", at=LATER)

        assert [] == list(await store.connections.list())


async def test_process_is_known_until_it_was_seen_to_end(opener: Opener) -> None:
    begun = ServerProcess(
        mark="m1", connection="a", boot="b", pid=0, start_ticks=0, recorded_at=NOW
    )
    running = replace(begun, pid=12, start_ticks=34)
    other = replace(begun, mark="m2", recorded_at=LATER)
    async with opener() as store:
        for one in (begun, other, running):
            await store.connections.begin_process(one)
    async with opener() as store:
        assert [running, other] == list(await store.connections.processes())
        await store.connections.end_process("m1")
        await store.connections.end_process("m1")
        assert [other] == list(await store.connections.processes())


def conforms(store: ConnectionStore) -> ConnectionStore:
    return store
