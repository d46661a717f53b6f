"""Retry, fork and discard on SQLite; the promises are those of `agency.ports.lineage`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.core.records import dataclass
from agency.domain.entry import EntryKind
from agency.domain.lineage import (
    EntryLine,
    ForkPlan,
    Kin,
    Outline,
    Relation,
    Retried,
    RetryPlan,
    WaitLine,
)
from agency.domain.run import RETRYABLE, NewRun, Run, RunError, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import NameTaken, NotADeadLetter, RunChanged, RunHasParent, RunNotFound
from agency.storage.sqlite import forms, holds, rows, session_forks, starts
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.starts import RUN_INLINE_BYTES_MAX
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Retry:
    """A retry, encoded."""

    seen: Run
    numbers: str
    waits: str
    reopened: str
    columns: dict[str, Any]
    principal: str
    now: int
    input: bytes | None = None


class SqliteLineage:
    """Lineage in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def outline(self, run_id: str) -> Outline:
        """Read a run and what its journal has; see `LineageStore.outline`."""
        row = await self._readers.one("find_run_by_id", (run_id,))
        if row is None:
            raise RunNotFound(run_id)
        run = rows.run_of(row)
        found = await self._readers.all("load_outline", (run.number,))
        found.sort(key=lambda line: (line[0], line[1]))
        entries = [_entry_line(line) for line in found if line[0] == 0]
        return Outline(run, entries, [_wait_line(line) for line in found if line[0] == 1])

    async def retry(
        self,
        seen: Run,
        plan: RetryPlan,
        *,
        deadline_at: datetime | None,
        max_attempts: int | None,
        provider: str | None,
        principal: str,
        now: datetime,
        dry_run: bool = False,
    ) -> Run:
        """Let an ended run go on; see `LineageStore.retry`."""
        self._space.check()
        wish = _Retry(
            seen=seen,
            numbers=_text(plan.entries),
            waits=_text(plan.waits),
            reopened=_text(plan.reopened),
            columns={
                "deadline_at": None if deadline_at is None else to_micros(deadline_at),
                "max_attempts": max_attempts,
                "provider": provider,
            },
            principal=principal,
            now=to_micros(now),
            input=encode(plan.input) if plan.has_input else None,
        )
        work = partial(_retry, wish=wish)
        return rows.run_of(await self._writer.submit(partial(_undone, work) if dry_run else work))

    async def fork(
        self, new: NewRun, source: Run, plan: ForkPlan, *, dry_run: bool = False
    ) -> tuple[Run, bool]:
        """Start a run with a copy of another's journal; see `LineageStore.fork`."""
        self._space.check()
        work = partial(_fork, form=forms.start_form(new), source=source, plan=plan)
        row, is_new = await self._writer.submit(partial(_undone, work) if dry_run else work)
        return rows.run_of(row), is_new

    async def discard(self, run_id: str, *, principal: str, now: datetime) -> RunError:
        """Give up a dead letter; see `LineageStore.discard`."""
        work = partial(_discard, run_id=run_id, principal=principal, now=to_micros(now))
        return await self._writer.submit(work)

    async def kin(self, run_id: str, *, limit: int) -> tuple[Sequence[Kin], bool]:
        """Read the family of a run; see `LineageStore.kin`."""
        found: dict[str, tuple[Relation | None, str, bool]] = {run_id: (None, "", False)}
        is_whole = True
        for statement, is_ancestor in (("list_origins", True), ("list_offspring", False)):
            level = [run_id]
            while level and len(found) <= limit + 1:
                following = []
                for relation, one, other in await self._relatives(statement, level, limit + 2):
                    near, far = (one, other) if is_ancestor else (other, one)
                    if far not in found:
                        found[far] = (Relation(relation), near, is_ancestor)
                        following.append(far)
                level = following
        if len(found) > limit + 1:
            is_whole = False
        wanted = list(found)[: limit + 1]
        known = {row[0]: row for row in await self._readers.all("list_kin", (_text(wanted),))}
        if run_id not in known:
            raise RunNotFound(run_id)
        kin = [_kin(known[one], *found[one]) for one in wanted if one in known]
        return kin, not is_whole

    async def _relatives(self, statement: str, level: Sequence[str], limit: int) -> list[Row]:
        if statement == "list_origins":
            return await self._readers.all("list_origins", (_text(level),))
        return await self._readers.all("list_offspring", {"ids": _text(level), "limit": limit})

    async def retries(self, run_id: str, *, limit: int) -> Sequence[Retried]:
        """Read the newest retries of a run; see `LineageStore.retries`."""
        found = await self._readers.all("list_retries", (run_id, limit))
        return [
            Retried(
                generation=generation,
                at=from_micros(at),
                principal=principal,
                status=RunStatus(status),
                error=rows.error_of(error),
            )
            for generation, at, principal, status, error in reversed(found)
        ]


class _Undo(Exception):
    """Carries the result of a transaction out of it, and leaves nothing of it behind."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


def _undone(work: Callable[[Transaction], T], tx: Transaction) -> T:
    """Do it, give what it gives, and undo it."""
    try:
        with tx.protected():
            raise _Undo(work(tx))  # noqa: TRY301  the way out that undoes
    except _Undo as undo:
        return cast("T", undo.result)


def _retry(tx: Transaction, *, wish: _Retry) -> Row:
    seen, now = wish.seen, wish.now
    state = _source(tx, seen.id)
    number, status, generation, session_id, key, name, parent_id, blob, error = state
    if (status, generation) != (seen.status.value, seen.generation):
        raise RunChanged(seen.id, status)
    if parent_id is not None:
        _refuse_child(tx, seen.id, parent_id)
    if name is not None:
        holder = tx.one("find_live_name", (name,))
        if holder is not None:
            raise NameTaken(name, holder[0])
    if session_id is not None:
        starts.refuse_busy(tx, session_id)
    tx.change("void_entries", {"run": number, "numbers": wish.numbers})
    tx.change("void_waits", {"run": number, "keys": wish.waits})
    tx.change("reopen_waits", {"run": number, "keys": wish.reopened})
    counted = tx.one("count_steps", (number,))
    assert counted is not None
    tx.change("add_retry", (number, generation + 1, now, wish.principal, status, error))
    before = tx.one("find_input_blob", {"number": number}) if wish.input is not None else None
    changed = tx.change(
        "retry_run",
        {
            **wish.columns,
            "input": None if wish.input is None else tx.keep(wish.input, RUN_INLINE_BYTES_MAX),
            "number": number,
            "status": status,
            "generation": generation,
            "steps": counted[0],
            "now": now,
        },
    )
    assert changed == 1, seen.id
    if blob is not None:
        tx.change("delete_lonely_blob", {"hash": blob})
    if before is not None:
        tx.change("delete_lonely_blob", {"hash": before[0]})
    holds.take_again(tx, number, holds.wanted_by(session_id, key), parent_id=parent_id)
    return _run(tx, seen.id)


def _refuse_child(tx: Transaction, run_id: str, parent_id: str) -> None:
    parent = tx.one("find_state", (parent_id,))
    if parent is not None and parent[2] in RETRYABLE:
        raise RunHasParent(run_id, parent_id, parent[2])


def _fork(
    tx: Transaction, *, form: forms.StartForm, source: Run, plan: ForkPlan
) -> tuple[Row, bool]:
    number, _, generation, session_id, *_ = _source(tx, source.id)
    if generation != source.generation:
        raise RunChanged(source.id, "retried")
    started = starts.start(tx, form)
    if not isinstance(started, int):
        return started, False
    copied = {"run": number, "fork": started}
    if plan.at > 0:
        tx.change("copy_entries", {**copied, "at": plan.at, "dropped": _text(plan.dropped)})
        for key in plan.waits:
            tx.change("copy_wait", {**copied, "key": key, "number": tx.next_resolution()})
        tx.change("begin_with_journal", {"number": started, "generation": generation})
        tx.change("copy_versions", copied)
    new = form.new
    if session_id is not None and new.session_id is not None and new.session_id != session_id:
        created_at = to_micros(new.created_at)
        session_forks.fork_for_run(
            tx,
            session_id,
            new_id=new.session_id,
            run=number,
            fork=started,
            moment=created_at if plan.moment is None else to_micros(plan.moment),
            now=created_at,
        )
    return _run(tx, new.id), True


def _discard(tx: Transaction, *, run_id: str, principal: str, now: int) -> RunError:
    number, status, *_, body = _source(tx, run_id)
    if status != RunStatus.DEAD_LETTER:
        raise NotADeadLetter(run_id, status)
    before = rows.error_of(body)
    error = RunError(
        code="discarded",
        message=f"Discarded by {principal}: it was a dead letter.",
        step=before.step if before is not None else "",
        details={"error": decode(body) if body is not None else None},
    )
    changed = tx.change(
        "discard_run", {"number": number, "error": forms.error_form(error), "now": now}
    )
    assert changed == 1, run_id
    return error


def _source(tx: Transaction, run_id: str) -> Row:
    state = tx.one("find_fork_source", (run_id,))
    if state is None:
        raise RunNotFound(run_id)
    return state


def _run(tx: Transaction, run_id: str) -> Row:
    row = tx.one("find_run_by_id", (run_id,))
    assert row is not None, run_id
    return row


def _entry_line(row: Row) -> EntryLine:
    _, number, key, kind, at, superseded, winner, size_bytes = row
    return EntryLine(
        number=number,
        key=key,
        kind=EntryKind(kind),
        at=from_micros(at),
        is_void=bool(superseded),
        size_bytes=size_bytes,
        winner="" if winner is None else decode(winner)["name"],
    )


def _wait_line(row: Row) -> WaitLine:
    _, _, key, kind, resolved_at, _, outcome, size_bytes = row
    return WaitLine(
        key=key,
        kind=WaitKind(kind),
        outcome=None if outcome is None else WaitOutcome(outcome),
        resolved_at=None if resolved_at is None else from_micros(resolved_at),
        size_bytes=size_bytes,
    )


def _kin(row: Row, relation: Relation | None, of: str, is_ancestor: bool) -> Kin:  # noqa: FBT001
    run_id, name, workflow, status, created_at, generation = row
    return Kin(
        run_id=run_id,
        name=name,
        workflow=workflow,
        status=RunStatus(status),
        created_at=from_micros(created_at),
        generation=generation,
        relation=relation,
        of=of,
        is_ancestor=is_ancestor,
    )


def _text(values: Sequence[object]) -> str:
    return encode(list(values)).decode()
