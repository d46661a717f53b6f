"""`RunStore.record` and the reading of journals."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from agency.core import limits
from agency.core.ids import new_id
from agency.domain.entry import Entry, EntryKind
from agency.domain.message import NewMessage
from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import Fenced, JournalKeyTaken, NameTaken, RunNotFound
from agency.ports.store import NOTHING, Claim, Store, Writes
from tests.contract.making import (
    BROKE,
    T0,
    at,
    claim,
    deliver,
    finish,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    status_of,
    suspend,
    wait_for,
    wait_for_event,
    wait_until,
    waits_of,
)


async def test_recorded_entry_is_read_as_it_was_handed_in(store: Store) -> None:
    claimed = await start_claimed(store)
    entry = Entry("quote#1", EntryKind.STEP, b'{"price":1}', at(1.000001), b'{"args":[]}')

    await record(store, claimed, entries=[entry])
    (read,) = (await store.journal.load(claimed.number)).entries

    assert (entry.key, entry.kind, entry.body, entry.at, entry.meta) == (
        read.key,
        read.kind,
        read.body,
        read.at,
        read.meta,
    )
    assert (claimed.epoch, True) == (read.epoch, read.number > 0)


async def test_entries_are_read_in_the_order_of_recording(store: Store) -> None:
    claimed, other = await start_claimed(store), await start_claimed(store)
    for i in (3, 1, 2):
        await record(store, claimed, entries=[make_step(f"s#{i}", i)])
        await record(store, other, entries=[make_step(f"s#{i}", i)])
    await record(store, claimed, entries=[make_step("b", 1), make_step("a", 2)])

    entries = (await store.journal.load(claimed.number)).entries

    assert ["s#3", "s#1", "s#2", "b", "a"] == [entry.key for entry in entries]
    numbers = [entry.number for entry in entries]
    assert sorted(numbers) == numbers


@pytest.mark.parametrize("size", [limits.BLOB_BYTES_MIN, limits.BLOB_BYTES_MIN + 1, 1_000_000])
async def test_large_bodies_come_back_whole(store: Store, size: int) -> None:
    claimed = await start_claimed(store, input={"big": "i" * size})
    body = b'"' + b"b" * (size - 2) + b'"'

    await record(store, claimed, entries=[Entry("a", EntryKind.STEP, body, T0)])
    await record(store, claimed, entries=[Entry("b", EntryKind.STEP, body, T0)])
    await finish(store, claimed, output="o" * size)

    entries = (await store.journal.load(claimed.number)).entries
    assert [body, body] == [entry.body for entry in entries]
    run = (await store.runs.get(claimed.run_id)).run
    assert ({"big": "i" * size}, "o" * size) == (run.input, run.output)


async def test_many_records_at_once_are_all_kept(store: Store) -> None:
    claims = [await start_claimed(store) for _ in range(40)]

    await asyncio.gather(
        *(record(store, one, entries=[make_step(f"s#{i}", i)]) for i in range(20) for one in claims)
    )

    for one in claims:
        entries = (await store.journal.load(one.number)).entries
        assert [f"s#{i}" for i in range(20)] == [entry.key for entry in entries]
        assert 20 == (await store.runs.get(one.run_id)).steps_executed


async def test_record_of_many_entries_is_kept_whole(store: Store) -> None:
    claimed = await start_claimed(store)

    await record(store, claimed, entries=[make_step(f"s#{i}", i) for i in range(300)])

    assert 300 == len((await store.journal.load(claimed.number)).entries)


async def test_old_claim_cannot_record(store: Store) -> None:
    old = await start_claimed(store)
    await store.runs.recover(owner="boot-2", now=T0)
    new = await claim(store, old.run_id, owner="boot-2")

    with pytest.raises(Fenced):
        await record(store, old, entries=[make_step("late")])
    with pytest.raises(Fenced):
        await record(store, old, waits=[wait_for_event("late")])

    journal = await store.journal.load(new.number)
    assert ([], []) == (list(journal.entries), list(journal.waits))


async def test_claim_of_a_suspended_or_ended_run_cannot_record(store: Store) -> None:
    suspended, ended = await start_claimed(store), await start_claimed(store)
    await suspend(store, suspended, wait_for_event("x"))
    await finish(store, ended)

    for claimed in (suspended, ended):
        with pytest.raises(Fenced):
            await record(store, claimed, entries=[make_step("late")])
        with pytest.raises(Fenced):
            await store.runs.record(claimed, NOTHING, now=T0)


async def test_fenced_records_touch_no_neighbour(store: Store) -> None:
    claims = [await start_claimed(store) for _ in range(20)]
    for one in claims[::4]:
        await finish(store, one)

    results = await asyncio.gather(
        *(record(store, one, entries=[make_step("s"), make_step("t")]) for one in claims),
        return_exceptions=True,
    )

    assert [i % 4 == 0 for i in range(20)] == [isinstance(r, Fenced) for r in results]
    for i, one in enumerate(claims):
        count = len((await store.journal.load(one.number)).entries)
        assert (0 if i % 4 == 0 else 2) == count


async def test_key_that_is_there_is_refused_and_touches_no_neighbour(store: Store) -> None:
    claims = [await start_claimed(store) for _ in range(10)]
    await record(store, claims[3], entries=[make_step("s", "first")])

    results = await asyncio.gather(
        *(
            record(store, one, entries=[make_step("new"), make_step("s", "second")])
            for one in claims
        ),
        return_exceptions=True,
    )

    assert [i == 3 for i in range(10)] == [isinstance(r, JournalKeyTaken) for r in results]
    (kept,) = (await store.journal.load(claims[3].number)).entries
    assert b'"first"' == kept.body
    assert 2 == len((await store.journal.load(claims[4].number)).entries)


async def test_refused_record_leaves_no_trace(store: Store) -> None:
    claimed = await start_claimed(store)
    await start(store, name="taken")
    writes = {
        "entries": [make_step("s")],
        "waits": [wait_for_event("w")],
        "messages": [NewMessage(session_id="s", role="user", content="hello")],
        "children": [make_run(), make_run(name="taken")],
        "progress": 1,
        "has_progress": True,
    }

    with pytest.raises(NameTaken):
        await record(store, claimed, **writes)

    journal = await store.journal.load(claimed.number)
    detail = await store.runs.get(claimed.run_id)
    assert ([], [], 0) == (list(journal.entries), list(journal.waits), detail.steps_executed)
    assert detail.run.progress is None
    assert [] == list(await store.sessions.messages("s", limit=10))
    assert {RunStatus.PENDING: 1, RunStatus.RUNNING: 1} == await store.runs.count_by_status()


async def test_wait_for_an_event_that_came_before_is_answered_at_once(store: Store) -> None:
    claimed = await start_claimed(store)
    await deliver(store, claimed.run_id, "paid", {"n": 1})
    await deliver(store, claimed.run_id, "paid", {"n": 2})

    first = await record(store, claimed, waits=[wait_for_event("w#1", "paid")])
    second = await record(store, claimed, waits=[wait_for_event("w#2", "paid")])
    third = await record(store, claimed, waits=[wait_for_event("w#3", "paid")])

    assert [("w#1", WaitOutcome.ANSWERED, {"n": 1}), ("w#2", WaitOutcome.ANSWERED, {"n": 2})] == [
        (wait.key, wait.outcome, wait.payload) for wait in [*first, *second]
    ]
    assert [] == third
    assert second[0].resolved_number > first[0].resolved_number


async def test_wait_for_a_child_that_has_ended_is_answered_at_once(store: Store) -> None:
    claimed = await start_claimed(store)
    child = await start_claimed(store)
    await finish(store, child, output=[1, 2])

    (wait,) = await record(
        store, claimed, waits=[wait_for("c", WaitKind.CHILD, target=child.run_id)]
    )

    assert {"status": "completed", "output": [1, 2], "error": None} == wait.payload


async def test_wait_that_is_due_already_is_resolved_at_once(store: Store) -> None:
    claimed = await start_claimed(store)

    resolved = await record(
        store,
        claimed,
        waits=[wait_until("timer", 0), wait_for_event("event", due_at=T0), wait_until("later", 1)],
    )

    outcomes = {wait.key: wait.outcome for wait in resolved}
    assert {"timer": WaitOutcome.FIRED, "event": WaitOutcome.TIMED_OUT} == outcomes


async def test_wait_of_a_known_key_is_refused(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("w")])

    with pytest.raises(JournalKeyTaken):
        await record(store, claimed, waits=[wait_for_event("w")])


async def test_wait_shows_what_it_was_opened_with(store: Store) -> None:
    claimed = await start_claimed(store)
    new = wait_for("ask", WaitKind.INPUT, due_at=at(60), show={"prompt": "Where to?"})

    await store.runs.record(claimed, Writes(waits=[new]), now=at(1))

    (wait,) = (await store.runs.get(claimed.run_id)).waits
    assert (new.key, new.kind, new.name) == (wait.key, wait.kind, wait.name)
    assert (new.show, at(60), at(1)) == (wait.show, wait.due_at, wait.opened_at)
    assert (None, None, 0) == (wait.outcome, wait.resolved_at, wait.resolved_number)
    assert [wait] == list(await store.journal.waits(claimed.number, ["ask", "unknown"]))


async def test_closed_waits_are_cancelled_and_give_their_event_back(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("lost", "paid"), wait_for_event("open")])
    await deliver(store, claimed.run_id, "paid", 5)

    await record(store, claimed, closed_waits=["lost", "open", "unknown"])
    waits = await waits_of(store, claimed)
    (event,) = await store.mail.events(claimed.run_id, limit=10)
    (taken,) = await record(store, claimed, waits=[wait_for_event("next", "paid")])

    assert [WaitOutcome.CANCELLED] * 2 == [waits["lost"].outcome, waits["open"].outcome]
    assert waits["lost"].payload is None
    assert not event.taken
    assert ("next", 5) == (taken.key, taken.payload)


async def test_event_that_is_given_back_goes_to_the_next_open_wait(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("a", "paid"), wait_for_event("b", "paid")])
    await deliver(store, claimed.run_id, "paid", 5)

    resolved = await record(store, claimed, closed_waits=["a"])

    assert [("b", 5)] == [(wait.key, wait.payload) for wait in resolved]
    (event,) = await store.mail.events(claimed.run_id, limit=10)
    assert event.taken


async def test_event_that_is_given_back_can_be_taken_in_the_same_commit(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("a", "paid")])
    await deliver(store, claimed.run_id, "paid", 5)

    resolved = await record(store, claimed, closed_waits=["a"], waits=[wait_for_event("b", "paid")])

    assert [("b", 5)] == [(wait.key, wait.payload) for wait in resolved]


async def test_child_is_started_once(store: Store) -> None:
    claimed = await start_claimed(store)
    child = make_run()

    await record(store, claimed, children=[child], entries=[make_step("c", kind=EntryKind.CHILD)])
    await record(store, claimed, children=[child])

    run = (await store.runs.get(child.id)).run
    assert (claimed.run_id, RunStatus.PENDING) == (run.parent_id, run.status)
    assert {RunStatus.PENDING: 1, RunStatus.RUNNING: 1} == await store.runs.count_by_status()


async def test_child_does_not_queue_behind_its_own_ancestors(store: Store) -> None:
    parent = await start_claimed(store, session_id="s")
    waiting = await start(store, session_id="s")
    child = make_run(session_id="s")
    await record(store, parent, children=[child])
    child_claim = await claim(store, child.id)
    grandchild = make_run(session_id="s")
    await record(store, child_claim, children=[grandchild])

    await claim(store, grandchild.id)

    assert [] == list(await store.runs.claim(limit=9, owner="boot-1", now=T0, only=waiting.id))


async def test_messages_are_appended_in_order(store: Store) -> None:
    claimed = await start_claimed(store)
    texts = [NewMessage(session_id="s", role="user", content={"text": str(i)}) for i in range(5)]

    await store.runs.record(claimed, Writes(messages=texts[:2]), now=at(1))
    await store.runs.record(
        claimed,
        Writes(messages=[*texts[2:], NewMessage(session_id="t", role="system", content="x")]),
        now=at(2),
    )

    messages = await store.sessions.messages("s", limit=3)
    assert [(i, {"text": str(i - 1)}) for i in (3, 4, 5)] == [
        (message.position, message.content) for message in messages
    ]
    assert (claimed.run_id, "user", at(2)) == (
        messages[0].run_id,
        messages[0].role,
        messages[0].created_at,
    )
    assert 1 == len(await store.sessions.messages("t", limit=3))
    assert [] == list(await store.sessions.messages("unknown", limit=3))


async def test_superseded_failure_counts_no_more_but_stays_readable(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(
        store,
        claimed,
        entries=[
            make_step("s~1", kind=EntryKind.ATTEMPT),
            make_step("s", "broke", EntryKind.FAILURE),
            make_step("kept", "result"),
        ],
    )

    await record(
        store, claimed, superseded=["s", "s~1", "kept"], entries=[make_step("s", "mended")]
    )

    journal = await store.journal.load(claimed.number)
    assert [("kept", b'"result"'), ("s", b'"mended"')] == [
        (entry.key, entry.body) for entry in journal.entries
    ]
    page = await store.journal.entries(claimed.run_id, after=0, limit=10)
    assert 4 == len(page)
    assert b'"broke"' == page[1].body
    assert "s" != page[1].key
    assert 2 == (await store.runs.get(claimed.run_id)).steps_executed


async def test_retry_of_a_run_renews_the_budget_of_a_step(store: Store) -> None:
    """Time after time: its tries and intents are superseded with its failure."""
    claimed = await start_claimed(store, max_attempts=4)
    await record(store, claimed, entries=[make_step("kept#1")])
    keys = {
        "s#1!1": EntryKind.INTENT,
        "s#1~1": EntryKind.ATTEMPT,
        "s#1!2": EntryKind.INTENT,
        "s#1": EntryKind.FAILURE,
    }
    void = [*keys, "s#1~2", "never#1", "never#1~1", "never#1!1"]
    for attempt in range(1, 4):
        for key, kind in keys.items():
            await record(store, claimed, entries=[make_step(key, attempt, kind)])
        journal = await store.journal.load(claimed.number)
        assert ["kept#1", *keys] == [entry.key for entry in journal.entries]

        await store.runs.release(
            claimed, Writes(superseded=void), available_at=T0, failed=BROKE, now=T0
        )

        journal = await store.journal.load(claimed.number)
        assert ["kept#1"] == [entry.key for entry in journal.entries]
        page = await store.journal.entries(claimed.run_id, after=0, limit=99)
        assert 1 + attempt * len(keys) == len(page) == len({entry.key for entry in page})
        claimed = await claim(store, claimed.run_id)

    assert 1 == (await store.runs.get(claimed.run_id)).steps_executed


@pytest.mark.parametrize("key", ["s~1", "s!1"])
async def test_superseded_key_is_free_in_the_same_commit(store: Store, key: str) -> None:
    kind = EntryKind.ATTEMPT if "~" in key else EntryKind.INTENT
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step(key, "old", kind)])

    await record(store, claimed, superseded=[key], entries=[make_step(key, "new", kind)])

    (entry,) = (await store.journal.load(claimed.number)).entries
    assert (key, b'"new"') == (entry.key, entry.body)


async def test_progress_is_replaced(store: Store) -> None:
    claimed = await start_claimed(store)

    await record(store, claimed, progress={"done": 1}, has_progress=True)
    await record(store, claimed, progress={"done": 2}, has_progress=True)

    assert {"done": 2} == (await store.runs.get(claimed.run_id)).run.progress


async def test_steps_are_counted_over_claims(store: Store) -> None:
    claimed = await start_claimed(store)
    counts = []

    await record(store, claimed, entries=[make_step("a"), make_step("f", kind=EntryKind.FAILURE)])
    counts.append((await store.runs.get(claimed.run_id)).steps_executed)
    await store.runs.release(claimed, Writes(entries=[make_step("b")]), available_at=T0, now=T0)
    counts.append((await store.runs.get(claimed.run_id)).steps_executed)
    claimed = await claim(store, claimed.run_id)
    await record(store, claimed, entries=[make_step("c")], progress=1, has_progress=True)
    await record(store, claimed, entries=[make_step("d")])
    counts.append((await store.runs.get(claimed.run_id)).steps_executed)
    await suspend(store, claimed, wait_until("t", 60))
    counts.append((await store.runs.get(claimed.run_id)).steps_executed)
    await deliver(store, claimed.run_id, "x")
    await store.runs.fire_due(now=at(60), limit=9)
    claimed = await claim(store, claimed.run_id, now=at(60))
    await finish(store, claimed)
    counts.append((await store.runs.get(claimed.run_id)).steps_executed)

    assert [1, 2, 4, 4, 4] == counts


async def test_entries_are_paged(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step(f"s#{i}") for i in range(7)])

    first = await store.journal.entries(claimed.run_id, after=0, limit=4)
    rest = await store.journal.entries(claimed.run_id, after=first[-1].number, limit=4)
    nothing = await store.journal.entries(claimed.run_id, after=rest[-1].number, limit=4)

    assert [f"s#{i}" for i in range(7)] == [entry.key for entry in [*first, *rest]]
    assert [] == list(nothing)


async def test_entries_of_an_unknown_run_are_not_found(store: Store) -> None:
    run = await start(store)

    assert [] == list(await store.journal.entries(run.id, after=0, limit=1))
    with pytest.raises(RunNotFound):
        await store.journal.entries(new_id(), after=0, limit=1)


async def test_cancelled_call_does_not_disturb_the_next(store: Store) -> None:
    claimed = await start_claimed(store)
    task = asyncio.ensure_future(record(store, claimed, entries=[make_step("a")]))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await record(store, claimed, entries=[make_step("b")])

    keys = {entry.key for entry in (await store.journal.load(claimed.number)).entries}
    assert keys in ({"b"}, {"a", "b"})


async def test_moments_keep_their_microseconds(store: Store) -> None:
    moment = T0 + timedelta(microseconds=123_457)
    claimed = await start_claimed(store)

    await store.runs.suspend(
        claimed,
        Writes(waits=[wait_for("t", WaitKind.TIMER, due_at=moment)]),
        blocked_on=["t"],
        snapshot_id="s",
        reason="timer",
        now=T0,
    )

    (wait,) = (await store.runs.get(claimed.run_id)).waits
    assert moment == wait.due_at
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)


async def test_claim_of_another_run_cannot_be_guessed(store: Store) -> None:
    claimed = await start_claimed(store)

    with pytest.raises(Fenced):
        await record(store, Claim(claimed.number + 1, "x", 1), entries=[make_step("a")])
