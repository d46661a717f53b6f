"""Tasks on SQLite; the promises are those of `agency.ports.task.TaskStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.approval import ApprovalStatus
from agency.domain.content import content_of
from agency.domain.run import ENDED
from agency.domain.task import (
    MESSAGE_EVENT,
    TASK_MESSAGES_BYTES_MAX,
    TASK_MESSAGES_MAX,
    NewTaskMessage,
    Question,
    Task,
    TaskMessage,
    TaskState,
)
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import (
    MessageIdTaken,
    MessageUnwanted,
    RunEnded,
    TaskNotFound,
    TooManyMessages,
    WaitNotFound,
    WaitTaken,
)
from agency.ports.store import Wake
from agency.ports.task import (
    CONTENTS_BYTES_MAX,
    TASKS_BYTES_MAX,
    HandedOut,
    Said,
    TaskFilter,
    TaskPage,
    TaskPlace,
)
from agency.storage.sqlite import questions, task_starts, waits
from agency.storage.sqlite.forms import MORE, TaskMessageForm, task_message_form
from agency.storage.sqlite.point_reads import PointReads
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import RUN_COLUMNS, detail_of, wait_of
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_LATEST = (1 << 63) - 1
_DETAIL_COLUMNS = RUN_COLUMNS + 4
_STATE_COLUMNS = 5


class SqliteTasks:
    """Tasks in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space
        self._found = PointReads(self._load)

    async def find(self, task_id: str) -> Task | None:
        """Read a task as it is; see `TaskStore.find`."""
        return await self._found.find(task_id)

    async def _load(self, task_ids: Sequence[str]) -> Mapping[str, Task]:
        found = await self._readers.all("get_tasks", (encode(task_ids).decode(),))
        return {task.id: task for task in map(_task_of, found)}

    async def find_said(self, message: NewTaskMessage, *, owner: str, target: str) -> str | None:
        """Find the task that a message was stored for; see `TaskStore.find_said`."""
        form = task_message_form(message, owner=owner, target=target)
        if form.once is None:
            return None
        row = await self._readers.one("find_task_message", (form.once,))
        if row is None:
            return None
        digest, task_id = row
        if digest != message.digest:
            raise MessageIdTaken(message.id, task_id)
        return str(task_id)

    async def list(self, which: TaskFilter, *, after: TaskPlace | None, limit: int) -> TaskPage:
        """Read tasks by change; see `TaskStore.list`."""
        parameters = {
            "asker": which.owner,
            "target": which.target,
            "context_id": which.context_id,
            "state": None if which.state is None else which.state.value,
            "since": 0 if which.changed_since is None else to_micros(which.changed_since),
        }
        page_statement, count_statement = _statements(which)
        place = after or TaskPlace(_LATEST, _LATEST)
        page = {"before": place.changed_at, "before_task": place.number, "limit": limit + 1}
        rows = await self._readers.all(page_statement, parameters | page)
        counted = await self._readers.one(count_statement, parameters)
        assert counted is not None
        shown = _within(rows[:limit])
        found = await self._load([task_id for task_id, *_ in shown])
        return TaskPage(
            # One that was deleted meanwhile is left out.
            tasks=[found[task_id] for task_id, *_ in shown if task_id in found],
            total=counted[0],
            next=TaskPlace(*shown[-1][1:3]) if len(rows) > len(shown) else None,
        )

    async def contents(self, run: int, *, after: int, through: int) -> Sequence[HandedOut]:
        """Read what a run has handed out; see `TaskStore.contents`."""
        parameters = {
            "run": run,
            "after": after,
            "through": through,
            "bytes_max": CONTENTS_BYTES_MAX,
        }
        return [
            HandedOut(number, key, None if body is None else content_of(decode(body)))
            for number, key, body in await self._readers.all("page_contents", parameters)
        ]

    async def answer(
        self,
        task_id: str,
        message: NewTaskMessage,
        *,
        wait: str,
        outcome: WaitOutcome,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Said:
        """Store a message and resolve a wait with it; see `TaskStore.answer`."""
        self._space.check()
        work = partial(
            _answer,
            task_id=task_id,
            message=message,
            wait=wait,
            outcome=outcome,
            payload=payload,
            now=to_micros(now),
        )
        return await self._writer.submit(work)

    async def deliver(
        self,
        task_id: str,
        message: NewTaskMessage,
        *,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Said:
        """Store a message and put it into the mailbox; see `TaskStore.deliver`."""
        self._space.check()
        work = partial(
            _deliver,
            task_id=task_id,
            message=message,
            payload=encode(payload),
            now=to_micros(now),
        )
        return await self._writer.submit(work)


def _within(rows: Sequence[Row]) -> Sequence[Row]:
    """Cut a page before it is too large to be read at once."""
    total = 0
    for place, (*_, size_bytes) in enumerate(rows):
        total += size_bytes
        if total > TASKS_BYTES_MAX and place:
            return rows[:place]
    return rows


def _statements(which: TaskFilter) -> tuple[str, str]:
    """Choose the statements whose index finds what is wanted: of a page, and of the number."""
    if which.context_id is not None:
        return "page_tasks_of_context", "count_tasks_of_context"
    if which.state not in {None, TaskState.COMPLETED}:
        return "page_tasks_of_state", "count_tasks_of_state"
    return "page_tasks", "count_tasks"


def _said(
    tx: Transaction, task_id: str, message: NewTaskMessage
) -> tuple[Row, TaskMessageForm] | None:
    """Look what a message is for; None when it was stored before.

    Returns:
        ``get_task_state`` of the task, and the message encoded.

    Raises:
        TaskNotFound, MessageIdTaken, RunEnded, TooManyMessages.
    """
    row = tx.one("get_task_state", (task_id,))
    if row is None:
        raise TaskNotFound(task_id)
    _, run_id, status, _, _, _, asker, target, messages, size_bytes = row
    form = task_message_form(message, owner=asker, target=target)
    if form.once is not None:
        known = tx.one("find_task_message", (form.once,))
        if known is not None and known[0] != message.digest:
            raise MessageIdTaken(message.id, known[1])
        if known is not None:
            return None
    if status in ENDED:
        raise RunEnded(run_id, status)
    is_full = size_bytes + len(form.content) > TASK_MESSAGES_BYTES_MAX
    if is_full or messages >= TASK_MESSAGES_MAX:
        raise TooManyMessages(task_id, TASK_MESSAGES_MAX, TASK_MESSAGES_BYTES_MAX)
    return row, form


def _answer(
    tx: Transaction,
    *,
    task_id: str,
    message: NewTaskMessage,
    wait: str,
    outcome: WaitOutcome,
    payload: Any,  # noqa: ANN401  JSON value
    now: int,
) -> Said:
    said = _said(tx, task_id, message)
    if said is None:
        return Said(is_new=False)
    row, form = said
    run, run_id = row[0], row[1]
    found = tx.one("find_wait", (run, wait))
    if found is None:
        raise WaitNotFound(run_id, wait, [key for (key,) in tx.all("list_open_keys", (run,))])
    number, kind, known_outcome = found
    if known_outcome is not None:
        raise WaitTaken(run_id, wait)
    task_starts.add_message(tx, form, row[5], now=now)
    by: str = row[6]
    stored = None if payload is None else tx.keep(encode(payload))
    if kind == WaitKind.APPROVAL:
        stored = tx.keep(_decide(tx, number, payload, by=by, now=now))
    elif kind == WaitKind.INPUT:
        given = {"wait": number, "now": now, "by": by or None, "value": stored}
        tx.change("answer_approval", given)
    waits.resolve(tx, number, outcome, stored, now=now)
    woken = waits.wake(tx, row[:_STATE_COLUMNS], now=now)
    return Said(is_new=True, wakes=_wakes(woken))


def _decide(tx: Transaction, wait: int, payload: dict[str, Any], *, by: str, now: int) -> bytes:
    """Decide the approval of a wait, and give what the wait is answered with."""
    status = ApprovalStatus.APPROVED if payload["approved"] else ApprovalStatus.DENIED
    value = payload["value"]
    comment = str(payload["comment"])
    row = tx.one("find_approval_of_wait", (wait,))
    if row is not None:
        decided = {
            "number": row[0],
            "status": status.value,
            "now": now,
            "by": by,
            "rule": None,
            "comment": comment,
            "value": None if value is None else tx.keep(encode(value)),
        }
        tx.change("decide_approval", decided)
    return questions.answer_body(status=status, value=encode(value), comment=comment, by=by)


def _deliver(
    tx: Transaction, *, task_id: str, message: NewTaskMessage, payload: bytes, now: int
) -> Said:
    said = _said(tx, task_id, message)
    if said is None:
        return Said(is_new=False)
    row, form = said
    run = row[0]
    if tx.one("takes_messages", {"run": run, "name": MESSAGE_EVENT}) is None:
        raise MessageUnwanted(task_id)
    task_starts.add_message(tx, form, row[5], now=now)
    stored = tx.keep(payload)
    # Of a message that may come again the digest alone does not tell one from the other.
    event_id = f"message:{message.id}" if form.once else f"message:{message.id}:{row[8]}"
    inserted = tx.one("insert_event", (event_id, run, MESSAGE_EVENT, now, stored))
    if inserted is None:
        return Said(is_new=True)
    if waits.take_open_event(tx, run, inserted[0], MESSAGE_EVENT, stored, now=now) is None:
        return Said(is_new=True)
    return Said(is_new=True, wakes=_wakes(waits.wake(tx, row[:_STATE_COLUMNS], now=now)))


def _wakes(woken: Wake | None) -> Sequence[Wake]:
    return () if woken is None else (woken,)


def _message_of(_: int, message_id: str, at: int, place: int, stored: str) -> TaskMessage:
    body = decode(stored)
    return TaskMessage(
        id=message_id,
        content=content_of(body),
        at=from_micros(at),
        place=place,
        more=body.get(MORE, {}),
    )


def _task_of(row: Row) -> Task:
    # Steps are nobody's concern here.
    detail = detail_of(row[:_DETAIL_COLUMNS], claimed_steps=(0, 0))
    (
        task_id,
        _,
        target,
        context_id,
        asker,
        state_at,
        seen,
        told,
        has_contents,
        messages,
        asked,
    ) = row[_DETAIL_COLUMNS:]
    return Task(
        id=task_id,
        run=detail.run,
        target=target,
        context_id=context_id,
        owner=asker,
        changed_at=from_micros(state_at),
        seen=seen,
        told=told,
        messages=[_message_of(*message) for message in sorted(decode(messages))],
        questions=[
            Question(wait=wait_of(tuple(wait)), place=place)
            for *wait, place in sorted(decode(asked))
        ],
        waits=detail.waits,
        has_contents=bool(has_contents),
    )
