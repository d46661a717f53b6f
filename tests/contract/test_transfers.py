"""Runs on their way out and in: what every store keeps to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.domain.entry import Entry, EntryKind
from agency.domain.lineage import Outline
from agency.domain.message import NewMessage
from agency.domain.run import RunStatus
from agency.domain.transfer import (
    Arrival,
    EntryPart,
    EventPart,
    ExportForm,
    MessagePart,
    Part,
    Receipt,
    WaitPart,
)
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.errors import (
    ExportTaken,
    NameTaken,
    ReceiptNotFound,
    RunChanged,
    RunEnded,
    RunIdTaken,
    RunNotFound,
    SnapshotSpent,
)
from agency.ports.store import Store
from tests.contract.making import (
    T0,
    answer,
    at,
    claim,
    deliver,
    end,
    hold,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for_event,
    wait_until,
)

COPY = Arrival(hash="h1", is_move=False, again=False, generation=2, attempt=1, phase="forward")
MOVE = replace(COPY, is_move=True, attempt=3)


def make_receipt(outline: Outline, snapshot_id: str, **changes: Any) -> Receipt:
    form = ExportForm(
        exported_at=T0,
        snapshot_id=snapshot_id,
        receipt_id=new_id(),
        at=7,
        dropped=[1, 2],
        waits=["a"],
        open_waits=["a"],
        messages_until=at(5),
        events_to=changes.pop("events_to", 0),
    )
    plain = Receipt(
        id=form.receipt_id or "",
        run_id=outline.run.id,
        snapshot_id=snapshot_id,
        hash="ab",
        size_bytes=12,
        form=form,
        created_at=T0,
    )
    return replace(plain, **changes)


def parts() -> list[Part]:
    wait = Wait(
        key="e#1",
        kind=WaitKind.EVENT,
        name="e",
        due_at=None,
        show=None,
        target="",
        opened_at=T0,
        outcome=WaitOutcome.ANSWERED,
        payload={"n": 1},
        resolved_at=at(1),
        resolved_number=0,
    )
    timer = replace(
        wait,
        key="t#1",
        kind=WaitKind.TIMER,
        due_at=at(9),
        outcome=None,
        payload=None,
        resolved_at=None,
    )
    return [
        EntryPart(make_step("a#1", "x" * 100_000), False),
        EntryPart(Entry("b#1^9", EntryKind.FAILURE, b"{}", T0), True),
        EntryPart(make_step("e#1", {}, EntryKind.WAIT), False),
        EntryPart(make_step("end#1", None, EntryKind.AT_END), False),
        WaitPart(wait),
        WaitPart(timer),
        MessagePart(role="user", content={"text": "old"}, created_at=T0, is_own=False),
        MessagePart(role="assistant", content={"text": "own"}, created_at=T0, is_own=True),
        EventPart(id="event-9", name="later", payload=[1], created_at=T0),
    ]


# --- out -----------------------------------------------------------------------------------


async def test_entries_are_read_by_number_with_those_that_are_void(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(
        store, claimed, entries=[make_step("a#1"), make_step("b#1", {}, EntryKind.FAILURE)]
    )
    await record(store, claimed, superseded=["b#1"], entries=[make_step("c#1")])
    numbers = [e.number for e in (await store.lineage.outline(claimed.run_id)).entries]

    found = await store.transfers.entries(claimed.number, numbers[:2])

    assert [("a#1", False), (f"b#1^{numbers[1]}", True)] == [
        (part.entry.key, part.is_void) for part in found
    ]


async def test_messages_and_events_come_in_pages(store: Store) -> None:
    claimed = await start_claimed(store, session_id="s")
    said = [NewMessage(session_id="s", role="user", content={"n": n}) for n in range(3)]
    await record(store, claimed, messages=said)
    for n in range(3):
        await deliver(store, claimed.run_id, "x", n)
    await suspend(store, claimed, wait_for_event("w", "x"))  # takes the first
    run = (await store.runs.get(claimed.run_id)).run
    newest = await store.transfers.newest_event(run.number)

    first = await store.transfers.messages(run, after=0, until=at(9), limit=2)
    rest = await store.transfers.messages(run, after=first[-1][0], until=at(9), limit=2)
    early = await store.transfers.messages(run, after=0, until=at(-1), limit=2)
    events = await store.transfers.events(run.number, after=0, to=newest, limit=9)

    assert [0, 1, 2] == [part.content["n"] for _, part in (*first, *rest)]
    assert all(part.is_own for _, part in first)
    assert [] == list(early)
    assert [1, 2] == [part.payload for _, part in events]


async def test_moved_run_ends_with_its_receipt(store: Store) -> None:
    parent, snapshot_id, child = await _with_child(store)
    outline = await store.lineage.outline(parent)
    receipt = make_receipt(outline, snapshot_id)

    ending = await store.transfers.move(outline, receipt, now=T0)

    run = (await store.runs.get(parent)).run
    assert (RunStatus.CANCELLED, "moved") == (run.status, run.error and run.error.code)
    assert RunStatus.CANCELLED == await status_of(store, child)
    assert [parent] == list(ending.ended)
    assert receipt == await store.transfers.receipt(receipt.id)
    assert receipt == await store.transfers.find_receipt(parent)
    assert at(1) == (await store.transfers.confirm(receipt.id, now=at(1))).confirmed_at
    assert at(1) == (await store.transfers.confirm(receipt.id, now=at(2))).confirmed_at
    with pytest.raises(RunEnded):
        await store.transfers.move(outline, make_receipt(outline, snapshot_id), now=T0)


async def _with_child(store: Store) -> tuple[str, str, str]:
    claimed = await start_claimed(store)
    child = make_run()
    await record(store, claimed, children=[child])
    snapshot_id = await suspend(store, claimed, wait_for_event("w"))
    assert snapshot_id is not None
    return claimed.run_id, snapshot_id, child.id


async def test_run_that_has_changed_is_not_moved(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for_event("w"), wait_for_event("v"))
    outline = await store.lineage.outline(claimed.run_id)
    await deliver(store, claimed.run_id, "other")
    with pytest.raises(RunChanged):
        await store.transfers.move(outline, make_receipt(outline, snapshot_id), now=T0)
    await answer(store, claimed.run_id, "w")
    with pytest.raises(SnapshotSpent):
        await store.transfers.move(outline, make_receipt(outline, snapshot_id), now=T0)
    assert RunStatus.PENDING == await status_of(store, claimed.run_id)
    assert await store.transfers.find_receipt(claimed.run_id) is None


async def test_held_run_that_was_answered_meanwhile_is_not_moved_without_the_answer(
    store: Store,
) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_until("t", 5), wait_for_event("w"))
    await hold(store, claimed.run_id)
    outline = await store.lineage.outline(claimed.run_id)

    await store.runs.fire_due(now=at(5), limit=9)

    with pytest.raises(RunChanged):
        await store.transfers.move(outline, make_receipt(outline, snapshot_id), now=at(5))
    outline = await store.lineage.outline(claimed.run_id)
    await store.transfers.move(outline, make_receipt(outline, snapshot_id), now=at(5))


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(ReceiptNotFound):
        await store.transfers.receipt("none")
    with pytest.raises(ReceiptNotFound):
        await store.transfers.confirm("none", now=T0)
    with pytest.raises(RunNotFound):
        await store.transfers.request_hash("none")
    run = await start(store, idempotency_key="k", request_hash="h")
    assert "h" == await store.transfers.request_hash(run.id)


# --- in ------------------------------------------------------------------------------------


async def test_run_is_taken_in_with_all_its_parts(store: Store) -> None:
    new = make_run(session_id="s")

    run, is_new = await store.transfers.take_in(new, MOVE, parts())

    assert (True, new.id, 2, 3) == (is_new, run.id, run.generation, run.attempt)
    journal = await store.journal.load(run.number)
    assert ["a#1", "e#1", "end#1"] == [entry.key for entry in journal.entries]
    assert ["b#1^9"] == [void.key for void in journal.voids]
    waits = {wait.key: wait for wait in journal.waits}
    assert ({"n": 1}, None) == (waits["e#1"].payload, waits["t#1"].outcome)
    messages = await store.sessions.messages("s", limit=9)
    assert [("old", None), ("own", run.id)] == [(m.content["text"], m.run_id) for m in messages]
    (event,) = await store.mail.events(run.id, limit=9)
    assert ("later", [1], False) == (event.name, event.payload, event.taken)
    assert 1 == (await store.runs.get(run.id)).steps_executed
    assert 2 <= (await claim(store, run.id)).epoch
    due = await store.runs.fire_due(now=at(10), limit=9)
    assert [run.id] == [wake.run_id for wake in due.wakes]
    ending = await end(store, run.id)
    assert [run.id] == list(ending.asked)  # its work for the end is known


async def test_copy_of_one_file_is_one_run(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.transfers.take_in(make_run(), COPY, parts()) for _ in range(5))
    )
    other, is_new = await store.transfers.take_in(make_run(), replace(COPY, again=True), parts())

    assert 1 == len({run.id for run, _ in outcomes})
    assert (True, False) == (is_new, other.id in {run.id for run, _ in outcomes})


async def test_moved_run_is_taken_in_once(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.transfers.take_in(make_run(), MOVE, parts()) for _ in range(5)),
        return_exceptions=True,
    )

    assert 4 == sum(isinstance(outcome, ExportTaken) for outcome in outcomes)
    copy, is_new = await store.transfers.take_in(make_run(), COPY, parts())
    assert is_new
    assert 2 == sum((await store.runs.count_by_status()).values())
    assert copy.id


async def test_what_is_taken_here_refuses_the_whole_file(store: Store) -> None:
    known = await start(store, name="n", idempotency_key="k", request_hash="h", principal="p")
    taken = {"idempotency_key": "k", "request_hash": "h", "principal": "p"}

    with pytest.raises(RunIdTaken):
        await store.transfers.take_in(make_run(id=known.id), MOVE, parts())
    with pytest.raises(RunIdTaken):
        await store.transfers.take_in(make_run(**taken), MOVE, parts())
    with pytest.raises(NameTaken):
        await store.transfers.take_in(make_run(name="n"), MOVE, parts())

    assert 1 == sum((await store.runs.count_by_status()).values())
    await store.transfers.take_in(make_run(), MOVE, parts())
