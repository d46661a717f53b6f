"""Events that are sent again: each session its own, and no more than may be kept."""

from __future__ import annotations

from mcp.server.streamable_http import EventMessage, EventStore
from mcp_types import JSONRPCNotification

from agency.mcp.replays import Replays


def note(text: str) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="x", params={"text": text})


async def replayed(store: EventStore, last: str) -> tuple[str | None, list[str]]:
    sent: list[str] = []

    async def send(event: EventMessage) -> None:
        assert isinstance(event.message, JSONRPCNotification)
        assert event.message.params is not None
        sent.append(event.message.params["text"])

    return await store.replay_events_after(last, send), sent


async def test_what_came_later_on_the_same_stream_is_sent_again() -> None:
    store = Replays().session()
    first = await store.store_event("1", None)
    await store.store_event("1", note("a"))
    await store.store_event("2", note("of another stream"))
    await store.store_event("1", note("b"))

    assert ("1", ["a", "b"]) == await replayed(store, first)


async def test_session_is_never_sent_what_is_anothers() -> None:
    replays = Replays()
    own, other = replays.session(), replays.session()
    # Both name their streams by the ids of their requests, which are the same.
    mine = await own.store_event("1", None)
    theirs = await other.store_event("1", None)
    await other.store_event("1", note("secret"))

    assert ("1", []) == await replayed(own, mine)
    assert (None, []) == await replayed(own, theirs)


async def test_oldest_are_forgotten_when_there_is_no_room() -> None:
    replays = Replays(bytes_max=1_000, events_max=5)
    store = replays.session()
    ids = [await store.store_event("1", note(str(number))) for number in range(8)]
    large = await store.store_event("1", note("x" * 900))

    assert (None, []) == await replayed(store, ids[0])
    assert ("1", []) == await replayed(store, large)
    await store.store_event("1", note("y" * 2_000))
    assert (None, []) == await replayed(store, large)
