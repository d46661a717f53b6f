"""Tasks: started with their runs, found as one, listed by change; messages that count once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.core import json
from agency.domain.approval import ApprovalKind, ApprovalStatus, NewApproval
from agency.domain.content import Content, text_part
from agency.domain.entry import EntryKind
from agency.domain.retention import Bound
from agency.domain.run import RunError, RunStatus
from agency.domain.task import NewTask, NewTaskMessage, TaskState
from agency.domain.wait import NewWait, WaitKind, WaitOutcome
from agency.errors import (
    MessageIdTaken,
    MessageUnwanted,
    RunEnded,
    TaskNotFound,
    TooManyMessages,
    WaitTaken,
)
from agency.ports.store import NOTHING, Started, Store
from agency.ports.task import TaskFilter, TaskPlace
from tests.contract import making
from tests.contract.conftest import Opener
from tests.contract.making import T0, at, claim, make_run, make_step, start

ANSWER: dict[str, Any] = {
    "wait": "a",
    "outcome": WaitOutcome.ANSWERED,
    "payload": 7,
    "now": at(3),
}


def message(message_id: str = "m1", text: str = "do it", **more: Any) -> NewTaskMessage:
    content = Content(parts=[text_part(text)])
    return NewTaskMessage(id=message_id, content=content, digest=text, **more)


def task(message_id: str = "m1", text: str = "do it", **changes: Any) -> NewTask:
    plain: dict[str, Any] = {"target": "order", "context_id": "c1"}
    return NewTask(**plain | changes, message=message(message_id, text))


async def start_task(store: Store, message_id: str = "m1", **changes: Any) -> str:
    wanted = {"task": task(message_id), "principal": "ann"} | changes
    return (await start(store, **wanted)).id


async def state_of(store: Store, task_id: str) -> TaskState:
    """The state, which the list and the record must agree about."""
    found = await store.tasks.find(task_id)
    assert found is not None
    which = TaskFilter(owner=found.owner, target=found.target, state=found.state)
    page = await store.tasks.list(which, after=None, limit=100)
    assert task_id in [one.id for one in page.tasks], found.state
    return found.state


def question(key: str, kind: WaitKind = WaitKind.INPUT, **show: Any) -> NewWait:
    approval = NewApproval(
        id=f"{key}-asked",
        kind=ApprovalKind.INPUT if kind is WaitKind.INPUT else ApprovalKind.QUESTION,
        question="Which?",
    )
    return NewWait(
        key=key, kind=kind, name=key, show={"prompt": "Which?"} | show, approval=approval
    )


async def suspend(store: Store, run_id: str, *waits: NewWait, now: float = 1.0) -> None:
    claimed = await claim(store, run_id)
    entries = [make_step(wait.key, {"kind": wait.kind}, kind=EntryKind.WAIT) for wait in waits]
    await making.record(store, claimed, entries=entries)
    assert await making.suspend(store, claimed, *waits, now=at(now)) is not None


async def finish(store: Store, run_id: str, status: RunStatus, code: str = "error") -> None:
    claimed = await claim(store, run_id)
    error = None if status is RunStatus.COMPLETED else RunError(code=code, message="It is so.")
    await store.runs.finish(claimed, NOTHING, status=status, output=1, error=error, now=at(2))


async def test_task_is_stored_with_its_run_and_message(opener: Opener) -> None:
    async with opener() as store:
        task_id = await start_task(store)

    async with opener() as store:
        found = await store.tasks.find(task_id)
        assert found is not None
        assert (task_id, "ann", "order", "c1") == (
            found.run.id,
            found.owner,
            found.target,
            found.context_id,
        )
        assert ["do it"] == [one.content.parts[0].text for one in found.messages]
        assert found.state is TaskState.SUBMITTED
        assert not found.has_contents
        assert 0 < found.told <= found.seen
        assert await store.tasks.find((await start(store)).id) is None


async def test_same_message_finds_the_task_also_after_a_restart(opener: Opener) -> None:
    async with opener() as store:
        task_id = await start_task(store)

    async with opener() as store:
        again = await store.runs.start(make_run(task=task(), principal="ann"))
        other = await store.runs.start(make_run(task=task(), principal="ben"))
        elsewhere = await store.runs.start(make_run(task=task(target="bill"), principal="ann"))

    assert (task_id, False) == (again.run.id, again.is_new)
    assert other.is_new
    assert elsewhere.is_new


async def test_same_message_from_many_at_once_starts_one_task(store: Store) -> None:
    news = [make_run(task=task(), principal="ann") for _ in range(20)]
    held = make_run(task=task(), principal="ann", session_id="s")
    started = await asyncio.gather(*(store.runs.start(new) for new in [*news, held]))
    bulk = await store.runs.start_many(news)

    ids = {one.run.id for one in [*started, *bulk] if isinstance(one, Started)}
    assert 1 == len(ids)
    assert 1 == sum(one.is_new for one in started)
    assert {RunStatus.PENDING: 1} == await store.runs.count_by_status()


async def test_another_message_under_the_id_is_refused_and_starts_nothing(store: Store) -> None:
    task_id = await start_task(store)
    other = make_run(task=task(text="do that"), principal="ann")

    with pytest.raises(MessageIdTaken) as refused:
        await store.runs.start(other)
    outcomes = await store.runs.start_many([other, make_run(), make_run(session_id="s")])

    assert task_id == refused.value.task_id
    assert [MessageIdTaken, Started, Started] == [type(one) for one in outcomes]
    assert {RunStatus.PENDING: 3} == await store.runs.count_by_status()


async def test_repeatable_message_starts_a_task_each_time(store: Store) -> None:
    again = NewTask(target="order", context_id="c1", message=message(is_repeatable=True))

    started = [await store.runs.start(make_run(task=again, principal="ann")) for _ in range(2)]

    assert [True, True] == [one.is_new for one in started]


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        pytest.param([question("a")], TaskState.INPUT_REQUIRED, id="input"),
        pytest.param([question("a", WaitKind.APPROVAL)], TaskState.INPUT_REQUIRED, id="approval"),
        pytest.param([question("a", authorization={})], TaskState.AUTH_REQUIRED, id="authorize"),
        pytest.param(
            [question("a", authorization=None), question("b")],
            TaskState.AUTH_REQUIRED,
            id="oldest",
        ),
        pytest.param(
            [making.wait_for_event("a", "message")], TaskState.INPUT_REQUIRED, id="message"
        ),
        pytest.param([making.wait_for_event("a", "paid")], TaskState.WORKING, id="event"),
        pytest.param([making.wait_until("a", 60)], TaskState.WORKING, id="timer"),
        pytest.param(
            [making.wait_until("a", 60), question("b")], TaskState.INPUT_REQUIRED, id="both"
        ),
    ],
)
async def test_suspended_task_says_whether_its_caller_is_asked(
    store: Store, waits: list[NewWait], expected: TaskState
) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, *waits)

    assert expected is await state_of(store, task_id)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(RunStatus.COMPLETED, "", TaskState.COMPLETED, id="completed"),
        pytest.param(RunStatus.FAILED, "error", TaskState.FAILED, id="failed"),
        pytest.param(RunStatus.FAILED, "rejected", TaskState.REJECTED, id="rejected"),
        pytest.param(RunStatus.LIMIT_REACHED, "", TaskState.FAILED, id="limit"),
        pytest.param(RunStatus.DEAD_LETTER, "rejected", TaskState.FAILED, id="dead"),
        pytest.param(RunStatus.CANCELLED, "", TaskState.CANCELLED, id="cancelled"),
        pytest.param(RunStatus.TIMED_OUT, "", TaskState.FAILED, id="late"),
        pytest.param(RunStatus.COMPENSATED, "", TaskState.FAILED, id="compensated"),
        pytest.param(RunStatus.COMPENSATION_FAILED, "", TaskState.FAILED, id="stuck"),
    ],
)
async def test_ended_task_says_how(
    store: Store, status: RunStatus, code: str, expected: TaskState
) -> None:
    task_id = await start_task(store)
    await finish(store, task_id, status, code)

    assert expected is await state_of(store, task_id)
    found = await store.tasks.find(task_id)
    assert found is not None
    assert at(2) == found.changed_at


async def test_message_answers_a_question_once(store: Store) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, question("a"))

    said = await store.tasks.answer(task_id, message("m2", "seven"), **ANSWER)
    again = await store.tasks.answer(task_id, message("m2", "seven"), **ANSWER)
    with pytest.raises(WaitTaken):
        await store.tasks.answer(task_id, message("m3", "eight"), **ANSWER)
    with pytest.raises(MessageIdTaken):
        await store.tasks.answer(task_id, message("m1", "eight"), **ANSWER)

    assert [(True, [task_id]), (False, [])] == [
        (one.is_new, [wake.run_id for wake in one.wakes]) for one in (said, again)
    ]
    found = await store.tasks.find(task_id)
    assert found is not None
    assert ["m1", "m2"] == [one.id for one in found.messages]
    assert [(7, "answered")] == [(q.wait.payload, q.wait.outcome) for q in found.questions]
    assert found.messages[0].place < found.questions[0].place <= found.messages[1].place
    assert found.questions[0].was_open(at(2))
    assert not found.questions[0].was_open(at(4))
    assert TaskState.WORKING is await state_of(store, task_id)


async def test_message_decides_an_approval(store: Store) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, question("a", WaitKind.APPROVAL))

    await store.tasks.answer(
        task_id,
        message("m2", "no"),
        wait="a",
        outcome=WaitOutcome.ANSWERED,
        payload={"approved": False, "comment": "too dear", "value": None},
        now=at(3),
    )

    approval = await store.approvals.get("a-asked")
    assert (ApprovalStatus.DENIED, "ann", "too dear") == (
        approval.status,
        approval.decided_by,
        approval.comment,
    )
    found = await store.tasks.find(task_id)
    assert found is not None
    assert found.questions[0].wait.payload["approved"] is False


async def test_message_reaches_only_a_run_that_takes_messages(store: Store) -> None:
    deaf, hearing = await start_task(store, "m1"), await start_task(store, "m2")
    await suspend(store, hearing, making.wait_for_event("a", "message"))

    with pytest.raises(MessageUnwanted):
        await store.tasks.deliver(deaf, message("m3"), payload="x", now=at(3))
    first = await store.tasks.deliver(hearing, message("m4"), payload="x", now=at(3))
    again = await store.tasks.deliver(hearing, message("m4"), payload="x", now=at(3))
    later = await store.tasks.deliver(hearing, message("m5"), payload="y", now=at(3))

    assert [hearing] == [wake.run_id for wake in first.wakes]
    assert [False, True] == [again.is_new, later.is_new]
    assert ["x", "y"] == [one.payload for one in await store.mail.events(hearing, limit=9)]


async def test_ended_task_takes_no_message_but_knows_the_ones_it_had(store: Store) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, question("a"))
    await store.tasks.answer(task_id, message("m2"), **ANSWER)
    await finish(store, task_id, RunStatus.COMPLETED)

    assert not (await store.tasks.answer(task_id, message("m2"), **ANSWER)).is_new
    with pytest.raises(RunEnded):
        await store.tasks.answer(task_id, message("m3"), **ANSWER)
    with pytest.raises(TaskNotFound):
        await store.tasks.answer("nobody", message("m4"), **ANSWER)


async def test_task_has_a_limit_of_messages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.storage.sqlite.tasks.TASK_MESSAGES_MAX", 2)
    task_id = await start_task(store)
    await suspend(store, task_id, making.wait_for_event("a", "message"))
    await store.tasks.deliver(task_id, message("m2"), payload=1, now=at(3))

    with pytest.raises(TooManyMessages):
        await store.tasks.deliver(task_id, message("m3"), payload=1, now=at(3))


async def test_task_has_a_limit_of_bytes_of_messages(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the long ones only a hash stands beside the task.
    monkeypatch.setattr("agency.storage.sqlite.tasks.TASK_MESSAGES_BYTES_MAX", 300_000)
    task_id = await start_task(store)
    await suspend(store, task_id, making.wait_for_event("a", "message"))
    for message_id in ("m2", "m3"):
        long = message(message_id, message_id * 70_000)
        await store.tasks.deliver(task_id, long, payload=1, now=at(3))

    with pytest.raises(TooManyMessages):
        await store.tasks.deliver(task_id, message("m4", "x" * 20_000), payload=1, now=at(3))
    assert (await store.tasks.deliver(task_id, message("m5"), payload=1, now=at(3))).is_new


async def test_task_is_found_by_what_was_said_to_it(store: Store) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, question("a"))
    await store.tasks.answer(task_id, message("m2", "seven"), **ANSWER)
    whose = {"owner": "ann", "target": "order"}

    assert task_id == await store.tasks.find_said(message(), **whose)
    assert task_id == await store.tasks.find_said(message("m2", "seven"), **whose)
    assert await store.tasks.find_said(message("m3"), **whose) is None
    assert await store.tasks.find_said(message(), owner="ben", target="order") is None
    assert await store.tasks.find_said(message(is_repeatable=True), **whose) is None
    with pytest.raises(MessageIdTaken):
        await store.tasks.find_said(message("m2", "eight"), **whose)


async def test_list_gives_those_changed_last_first_page_by_page(store: Store) -> None:
    ids = [
        await start_task(
            store, f"m{i}", created_at=at(i), task=task(f"m{i}", context_id=f"c{i % 2}")
        )
        for i in range(5)
    ]
    await start_task(store, principal="ben")
    await finish(store, ids[0], RunStatus.COMPLETED)  # at 2: with ids[2], which is newer
    which = TaskFilter(owner="ann", target="order")

    seen: list[str] = []
    after: TaskPlace | None = None
    while True:
        page = await store.tasks.list(which, after=after, limit=2)
        assert 5 == page.total
        seen += [one.id for one in page.tasks]
        after = page.next
        if after is None:
            break

    assert [ids[4], ids[3], ids[2], ids[0], ids[1]] == seen
    for changes, expected in (
        ({"context_id": "c1"}, [ids[3], ids[1]]),
        ({"state": TaskState.COMPLETED}, [ids[0]]),
        ({"state": TaskState.SUBMITTED, "changed_since": at(3)}, [ids[4], ids[3]]),
        ({"state": TaskState.SUBMITTED, "context_id": "c0"}, [ids[4], ids[2]]),
        ({"changed_since": at(4)}, [ids[4]]),
        ({"target": "bill"}, []),
    ):
        wanted = TaskFilter(**{"owner": "ann", "target": "order"} | changes)
        page = await store.tasks.list(wanted, after=None, limit=9)
        assert (expected, len(expected)) == ([one.id for one in page.tasks], page.total)


async def test_page_ends_before_it_is_too_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.storage.sqlite.tasks.TASKS_BYTES_MAX", 200_000)
    big = "x" * 70_000
    messages = [
        NewTaskMessage(id=f"m{i}", content=Content(parts=[text_part(big)]), digest="d")
        for i in range(3)
    ]
    ids = [
        await start_task(store, task=NewTask(target="order", context_id="c", message=one))
        for one in messages
    ]
    # Each has its message, its input and what it has handed out.
    claimed = await claim(store, ids[2])
    piece = Content(parts=[text_part(big)], name="log").to_json()
    await making.record(store, claimed, entries=[make_step("content/log#1", piece)])
    await start_task(store, "huge", input="y" * 300_000, created_at=at(9))
    which = TaskFilter(owner="ann", target="order")

    sizes = []
    after: TaskPlace | None = None
    while True:
        page = await store.tasks.list(which, after=after, limit=50)
        assert 4 == page.total
        sizes.append(len(page.tasks))
        after = page.next
        if after is None:
            break
    assert [1, 1, 2] == sizes


async def test_contents_are_read_between_two_numbers(store: Store) -> None:
    task_id = await start_task(store)
    claimed = await claim(store, task_id)
    pieces = [Content(parts=[text_part(text)], name="log") for text in ("a", "b" * 70_000)]
    for number, piece in enumerate(pieces, start=1):
        entry = make_step(f"content/log#{number}", piece.to_json())
        await making.record(store, claimed, entries=[entry, make_step(f"other#{number}")])

    found = await store.tasks.find(task_id)
    assert found is not None
    assert found.has_contents
    contents = await store.tasks.contents(found.run.number, after=0, through=found.seen)
    assert pieces == [one.content for one in contents]
    first = contents[0].number
    assert ["content/log#2"] == [
        one.key
        for one in await store.tasks.contents(found.run.number, after=first, through=found.seen)
    ]
    assert [] == list(await store.tasks.contents(found.run.number, after=0, through=first - 1))


async def test_contents_are_read_up_to_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.storage.sqlite.tasks.CONTENTS_BYTES_MAX", 150_000)
    task_id = await start_task(store)
    claimed = await claim(store, task_id)
    for number in range(1, 5):
        piece = Content(parts=[text_part("x" * 70_000)], name="log")
        await making.record(
            store, claimed, entries=[make_step(f"content/log#{number}", piece.to_json())]
        )
    found = await store.tasks.find(task_id)
    assert found is not None

    contents = await store.tasks.contents(found.run.number, after=0, through=found.seen)
    assert [False, False, True, True] == [one.content is None for one in contents]
    # The first is always read.
    monkeypatch.setattr("agency.storage.sqlite.tasks.CONTENTS_BYTES_MAX", 1)
    last = contents[2].number
    (alone,) = await store.tasks.contents(found.run.number, after=last, through=found.seen)
    assert alone.content is not None


async def test_task_goes_on_with_the_successor_of_its_run(store: Store) -> None:
    task_id = await start_task(store)
    claimed = await claim(store, task_id)
    await store.runs.finish(
        claimed,
        NOTHING,
        status=RunStatus.COMPLETED,
        output={},
        error=None,
        successor=make_run(id="next", principal="ann"),
        now=at(5),
    )

    found = await store.tasks.find(task_id)
    assert found is not None
    assert (task_id, "next") == (found.id, found.run.id)
    assert TaskState.WORKING is await state_of(store, task_id)
    await finish(store, "next", RunStatus.COMPLETED)
    assert TaskState.COMPLETED is await state_of(store, task_id)


async def test_task_goes_with_its_run(store: Store) -> None:
    big = NewTask(target="order", context_id="c", message=message("m0", "x" * 70_000))
    task_id = await start_task(store, task=big)
    await finish(store, task_id, RunStatus.COMPLETED)
    last = await start(store)
    run = (await store.runs.get(task_id)).run

    await store.upkeep.retire(
        [run.number],
        {RunStatus.COMPLETED: Bound(ended_before=at(100), through=last.number)},
        rows_max=1000,
        told=None,
    )

    assert await store.tasks.find(task_id) is None
    assert (await store.runs.start(make_run(task=big, principal="ann"))).is_new


async def test_task_that_has_gone_on_twice_is_kept_as_long_as_its_last_run(store: Store) -> None:
    first = await start_task(store)
    number = (await store.runs.get(first)).run.number
    for run_id, heir in ((first, "second"), ("second", "third")):
        await store.runs.finish(
            await claim(store, run_id),
            NOTHING,
            status=RunStatus.COMPLETED,
            output={},
            error=None,
            successor=make_run(id=heir, principal="ann"),
            now=at(5),
        )
    third = (await store.runs.get("third")).run
    last = await start(store)
    old = {RunStatus.COMPLETED: Bound(ended_before=at(100), through=last.number)}

    kept = await store.upkeep.retire([number], old, rows_max=1000, told=None)
    found = await store.tasks.find(first)
    await finish(store, "third", RunStatus.COMPLETED)
    gone = await store.upkeep.retire([third.number, number], old, rows_max=1000, told=None)

    assert (0, 2) == (kept.runs, gone.runs)
    assert found is not None
    assert "third" == found.run.id
    assert await store.tasks.find(first) is None


async def test_what_is_stored_of_a_message_is_what_was_said(store: Store) -> None:
    said = Content(parts=[text_part("ä" * 40_000, name="a.txt")], name="n")
    new = NewTaskMessage(id="m1", content=said, digest=str(json.encode(said.to_json())))
    task_id = await start_task(
        store, task=NewTask(target="order", context_id="c", message=new), created_at=T0
    )

    found = await store.tasks.find(task_id)
    assert found is not None
    assert said == found.messages[0].content
