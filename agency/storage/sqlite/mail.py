"""What reaches runs, on SQLite; the promises are those of `agency.ports.store.MailStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import to_micros
from agency.core.json import encode
from agency.core.records import dataclass
from agency.domain.event import Event
from agency.domain.run import ENDED, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import RunEnded, RunNotFound, SnapshotSpent, WaitNotFound, WaitTaken
from agency.ports.store import Delivery, Wake
from agency.storage.sqlite import waits
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import event_of
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to a wait, encoded."""

    wait: str
    outcome: WaitOutcome
    payload: bytes | None
    snapshot_id: str | None
    by: str


class SqliteMail:
    """Mailboxes and answers in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def deliver(
        self,
        run_id: str,
        *,
        event_id: str,
        name: str,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Delivery:
        """Put an event into a run's mailbox; see `MailStore.deliver`."""
        self._space.check()
        wakes = await self._writer.submit(
            partial(
                _deliver,
                run_id=run_id,
                event_id=event_id,
                name=name,
                payload=encode(payload),
                now=to_micros(now),
            )
        )
        return Delivery(event_id=event_id, wakes=wakes)

    async def answer(
        self,
        run_id: str,
        *,
        wait: str,
        outcome: WaitOutcome,
        payload: Any,  # noqa: ANN401  JSON value
        snapshot_id: str | None,
        now: datetime,
        by: str = "",
    ) -> Sequence[Wake]:
        """Resolve one open wait, and wake the run; see `MailStore.answer`."""
        body = None if payload is None else encode(payload)
        answer = _Answer(wait, outcome, body, snapshot_id, by)
        return await self._writer.submit(
            partial(_answer, run_id=run_id, answer=answer, now=to_micros(now))
        )

    async def wake_waiting_for(self, resource: str, *, limit: int, now: datetime) -> Sequence[Wake]:
        """Answer waits for a resource; see `MailStore.wake_waiting_for`."""
        return await self._writer.submit(
            partial(_wake_waiting_for, resource=resource, limit=limit, now=to_micros(now))
        )

    async def resources(self) -> Sequence[str]:
        """Tell which resources are waited for; see `MailStore.resources`."""
        return [target for (target,) in await self._readers.all("list_resources")]

    async def events(self, run_id: str, *, limit: int) -> Sequence[Event]:
        """Read the newest events of a mailbox; see `MailStore.events`."""
        found = await self._readers.all("list_events", {"run_id": run_id, "limit": limit})
        if not found:
            raise RunNotFound(run_id)
        return [event_of(row) for row in found if row[0] is not None]


def _deliver(
    tx: Transaction, *, run_id: str, event_id: str, name: str, payload: bytes, now: int
) -> list[Wake]:
    state = tx.one("find_state", (run_id,))
    if state is None:
        raise RunNotFound(run_id)
    run, _, status, _, _ = state
    if status in ENDED:
        # Sent again because the answer was lost, while the run has ended by the first one.
        if tx.one("find_event", (run, event_id)) is not None:
            return []
        raise RunEnded(run_id, status)
    stored = tx.keep(payload)
    inserted = tx.one("insert_event", (event_id, run, name, now, stored))
    if inserted is None:
        return []
    if waits.take_open_event(tx, run, inserted[0], name, stored, now=now) is None:
        return []
    woken = waits.wake(tx, state, now=now)
    return [] if woken is None else [woken]


def _answer(tx: Transaction, *, run_id: str, answer: _Answer, now: int) -> list[Wake]:
    state = tx.one("find_state", (run_id,))
    if state is None:
        raise RunNotFound(run_id)
    run, _, status, _, newest = state
    if status in ENDED:
        raise RunEnded(run_id, status)
    if answer.snapshot_id is not None and (
        status != RunStatus.SUSPENDED or answer.snapshot_id != newest
    ):
        raise SnapshotSpent(answer.snapshot_id, run_id, newest)
    wait = tx.one("find_wait", (run, answer.wait))
    if wait is None:
        keys = [key for (key,) in tx.all("list_open_keys", (run,))]
        raise WaitNotFound(run_id, answer.wait, keys)
    number, kind, outcome = wait
    if outcome is not None:
        raise WaitTaken(run_id, answer.wait)
    stored = None if answer.payload is None else tx.keep(answer.payload)
    if kind == WaitKind.INPUT:
        given = {"wait": number, "now": now, "by": answer.by or None, "value": stored}
        tx.change("answer_approval", given)
    waits.resolve(tx, number, answer.outcome, stored, now=now)
    if kind == WaitKind.OPERATOR:
        state = _lift_hold(tx, run)
    woken = waits.wake(tx, state, now=now)
    return [] if woken is None else [woken]


def _lift_hold(tx: Transaction, run: int) -> Row:
    tx.change("lift_hold", (run,))
    state = tx.one("get_state", (run,))
    assert state is not None
    return state


def _wake_waiting_for(tx: Transaction, *, resource: str, limit: int, now: int) -> list[Wake]:
    found = tx.all("list_waiting_for_resource", (resource, limit))
    for wait, _ in found:
        waits.resolve(tx, wait, WaitOutcome.ANSWERED, None, now=now)
    return waits.wake_all(tx, [run for _, run in found], now=now)
