"""`SessionStore`: messages through chains of forks, deleting, and what stays for forks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.domain.message import Message, NewMessage
from agency.domain.session import FORKS_DEEP_MAX, Session
from agency.errors import (
    MessageNotFound,
    SessionExists,
    SessionInUse,
    SessionNotFound,
    SessionTooDeep,
)
from agency.ports.store import Claim, Store
from tests.contract.making import T0, at, finish, record, start_claimed
from tests.contract.test_upkeep import newest, retire


async def say(store: Store, session: str, *texts: str, claimed: Claim | None = None) -> Claim:
    """Let a run say something in a session; without one a run of its own, which ends."""
    talker = claimed or await start_claimed(store, session_id=session)
    said = [NewMessage(session_id=session, role="user", content={"text": text}) for text in texts]
    await record(store, talker, messages=said)
    if claimed is None:
        await finish(store, talker)
    return talker


def texts(messages: Any) -> list[str]:
    return [message.content["text"] for message in messages]


async def read(store: Store, session: str, limit: int = 100) -> list[str]:
    return texts(await store.sessions.messages(session, limit=limit))


async def read_pages(store: Store, session: str, limit: int) -> list[Message]:
    found: list[Message] = []
    newest = (await store.sessions.get(session)).newest
    for after in range(0, newest, limit):
        page = await store.sessions.page(session, after=after, limit=limit)
        assert len(page) <= limit
        found += page
    return found


async def fork(store: Store, session: str, new_id: str, position: int | None = None) -> Session:
    return await store.sessions.fork(session, at=position, new_id=new_id, title=None, now=T0)


async def count(store: Store, table: str) -> int:
    tables = (await store.upkeep.stats()).tables
    return next(one.rows for one in tables if one.name == table)


async def test_fork_reads_what_was_said_before_and_goes_on_by_itself(store: Store) -> None:
    await say(store, "a", "1", "2", "3")

    forked = await fork(store, "a", "b", 2)
    await say(store, "b", "3b", "4b")
    await say(store, "a", "4")

    assert ("a", 2, 2) == (forked.parent_id, forked.forked_at, forked.newest)
    assert ["1", "2", "3", "4"] == await read(store, "a")
    assert ["1", "2", "3b", "4b"] == await read(store, "b")
    assert ["2", "3b", "4b"] == await read(store, "b", limit=3)
    assert ["4b"] == await read(store, "b", limit=1)
    assert [("b", 1), ("b", 2), ("b", 3), ("b", 4)] == [
        (message.session_id, message.position)
        for message in await store.sessions.messages("b", limit=9)
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_forks_of_forks_are_read_in_pages(store: Store, limit: int) -> None:
    await say(store, "a", "1", "2", "3", "4")
    await fork(store, "a", "b", 3)
    await say(store, "b", "4b", "5b")
    await fork(store, "b", "c", 4)
    await say(store, "c", "5c")
    await fork(store, "c", "d", 2)
    await fork(store, "d", "e")
    await say(store, "e", "3e")

    assert ["1", "2", "3", "4b", "5c"] == texts(await read_pages(store, "c", limit))
    assert ["1", "2"] == texts(await read_pages(store, "d", limit))
    assert ["1", "2", "3e"] == texts(await read_pages(store, "e", limit))
    assert ["1", "2", "3e"][-limit:] == await read(store, "e", limit)


async def test_fork_hangs_below_the_session_that_has_the_message(store: Store) -> None:
    await say(store, "a", "1", "2")
    await fork(store, "a", "b")
    await say(store, "b", "3")

    forked = await fork(store, "b", "c", 1)

    assert "a" == forked.parent_id


async def test_fork_costs_the_same_for_any_length(store: Store) -> None:
    await say(store, "a", *(str(n) for n in range(300)))
    before = await count(store, "messages")

    await fork(store, "a", "b")

    assert before == await count(store, "messages")
    assert 300 == len(await read(store, "b", limit=500))


async def test_what_cannot_be_forked_is_refused(store: Store) -> None:
    await say(store, "a", "1", "2")

    for position in (0, -1, 3, 1 << 40):
        with pytest.raises(MessageNotFound):
            await fork(store, "a", "b", position)
    with pytest.raises(SessionNotFound):
        await fork(store, "nothing", "b")
    with pytest.raises(SessionExists):
        await fork(store, "a", "a")
    assert ["a"] == [one.id for one in await store.sessions.list(before=None, limit=9)]


async def test_depth_of_forks_has_a_limit(store: Store) -> None:
    await say(store, "s0", "0")
    for n in range(FORKS_DEEP_MAX):
        await fork(store, f"s{n}", f"s{n + 1}")
        await say(store, f"s{n + 1}", str(n + 1))

    with pytest.raises(SessionTooDeep):
        await fork(store, f"s{FORKS_DEEP_MAX}", "more")
    await fork(store, f"s{FORKS_DEEP_MAX}", "earlier", 5)

    wanted = [str(n) for n in range(FORKS_DEEP_MAX + 1)]
    assert wanted == await read(store, f"s{FORKS_DEEP_MAX}")
    assert wanted[:5] == await read(store, "earlier")


async def test_list_tells_what_a_session_is(store: Store) -> None:
    await say(store, "a", "x" * 1000, "second")
    claimed = await start_claimed(store, session_id="b")
    await say(store, "b", "mine", claimed=claimed)
    await fork(store, "a", "c", 1)
    await store.sessions.rename("c", "The other way")

    c, b, a = await store.sessions.list(before=None, limit=9)

    assert (a.id, a.title, a.first, a.newest, a.forks) == ("a", "", "x" * 200, 2, 1)
    assert (b.id, b.first, b.live_run_id, a.live_run_id) == ("b", "mine", claimed.run_id, None)
    assert (c.id, c.title, c.first, c.parent_id, c.newest) == (
        "c",
        "The other way",
        "x" * 200,
        "a",
        1,
    )
    assert [b] == list(await store.sessions.list(before=c.number, limit=1))
    assert b == await store.sessions.get("b")


async def test_title_is_taken_away_by_an_empty_one_and_handed_on_to_forks(store: Store) -> None:
    await say(store, "a", "1")
    await store.sessions.rename("a", "One")

    forked = await fork(store, "a", "b")
    renamed = await store.sessions.rename("a", "")

    assert ("One", "") == (forked.title, renamed.title)
    with pytest.raises(SessionNotFound):
        await store.sessions.rename("nothing", "x")


async def test_unknown_session_is_empty_and_not_found(store: Store) -> None:
    assert [] == await store.sessions.messages("nothing", limit=9)
    assert [] == await store.sessions.page("nothing", after=0, limit=9)
    with pytest.raises(SessionNotFound):
        await store.sessions.get("nothing")
    with pytest.raises(SessionNotFound):
        await store.sessions.delete("nothing", now=T0)


async def test_large_messages_are_read_through_forks(store: Store) -> None:
    large = "y" * 100_000
    await say(store, "a", large)
    await fork(store, "a", "b")

    assert [large] == await read(store, "b")
    assert "y" * 200 == (await store.sessions.get("b")).first


async def test_deleted_session_is_gone_and_its_id_is_free(store: Store) -> None:
    await say(store, "a", "1", "z" * 100_000)

    assert 0 == await store.sessions.delete("a", now=T0)

    assert [] == await store.sessions.list(before=None, limit=9)
    assert [] == await read(store, "a")
    assert 0 == await count(store, "messages")
    assert 0 == await count(store, "blobs")
    await say(store, "a", "anew")
    assert ["anew"] == await read(store, "a")


async def test_session_of_a_live_run_is_not_deleted(store: Store) -> None:
    claimed = await start_claimed(store, session_id="a")
    await say(store, "a", "1", claimed=claimed)

    with pytest.raises(SessionInUse) as refused:
        await store.sessions.delete("a", now=T0)
    await finish(store, claimed)
    await store.sessions.delete("a", now=T0)

    assert claimed.run_id == refused.value.run_id


async def test_forks_keep_what_they_read_until_the_last_is_deleted(store: Store) -> None:
    await say(store, "a", "1", "2")
    await fork(store, "a", "b", 1)
    await fork(store, "b", "c")
    await say(store, "b", "2b")
    await fork(store, "b", "d")

    forks = [await store.sessions.delete(session, now=T0) for session in ("a", "b")]

    assert [2, 1] == forks  # of a: b and c, which hangs below the one that has the message
    assert ["1", "2b"] == await read(store, "d")
    assert ["1"] == await read(store, "c")
    assert None is (await store.sessions.get("d")).parent_id
    assert "1" == (await store.sessions.get("d")).first
    await store.sessions.delete("c", now=T0)
    assert ["1", "2b"] == await read(store, "d")
    await store.sessions.delete("d", now=T0)
    assert 0 == await count(store, "messages")


async def test_retention_spares_what_forks_read(store: Store) -> None:
    talker = await say(store, "a", "1")
    await newest(store)
    await retire(store, talker)
    await fork(store, "a", "b")
    live = await start_claimed(store, session_id="b")

    async def retire_all() -> int:
        deleted, _ = await store.upkeep.retire_sessions(
            before=at(1 << 30), after=0, limit=100, rows_max=100
        )
        return deleted

    assert 0 == await retire_all()
    assert ["1"] == await read(store, "b")
    await finish(store, live)
    await store.sessions.delete("b", now=T0)
    assert 1 == await retire_all()


async def test_long_session_is_swept_up_in_parts(store: Store) -> None:
    claimed = await start_claimed(store, session_id="a")
    for n in range(25):
        await say(store, "a", *(f"{n}-{m}" for m in range(100)), claimed=claimed)
    await finish(store, claimed)

    await store.sessions.delete("a", now=T0)
    left = await count(store, "messages")
    swept = await store.upkeep.sweep(rows_max=300)
    while await store.upkeep.sweep(rows_max=300):
        pass

    assert 500 == left
    assert 300 == swept
    assert 0 == await count(store, "messages")


async def test_run_that_speaks_in_a_fork_is_named(store: Store) -> None:
    await say(store, "a", "1")
    await fork(store, "a", "b")
    talker = await say(store, "b", "2")

    first, second = await store.sessions.messages("b", limit=9)

    assert talker.run_id == second.run_id != first.run_id
    assert replace(first, session_id="a") in await store.sessions.messages("a", limit=9)
