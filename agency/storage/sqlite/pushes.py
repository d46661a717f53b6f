"""Pushes on SQLite; the promises are those of `agency.ports.push.PushStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.domain.push import NewPush, Push, PushProtocol, PushState
from agency.errors import PushNotFound, TaskNotFound, TooManyPushes
from agency.ports.push import ChangedPushes
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqlitePushes:
    """Pushes in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def put(self, new: NewPush, *, per_task_max: int) -> Push:
        """Keep a push; see `PushStore.put`."""
        self._space.check()
        work = partial(_put, new=new, created_at=to_micros(new.created_at), most=per_task_max)
        return _push_of(await self._writer.submit(work))

    async def get(self, task_id: str, push_id: str) -> Push:
        """Read a push of a task; see `PushStore.get`."""
        row = await self._readers.one("find_push_of", {"task_id": task_id, "id": push_id})
        if row is None:
            raise PushNotFound(task_id, push_id)
        return _push_of(row)

    async def list(self, task_id: str, *, after: int, limit: int) -> Sequence[Push]:
        """Read a task's pushes; see `PushStore.list`."""
        parameters = {"task_id": task_id, "after": after, "limit": limit}
        return [_push_of(row) for row in await self._readers.all("list_pushes_of", parameters)]

    async def delete(self, task_id: str, push_id: str) -> bool:
        """Forget a push; see `PushStore.delete`."""
        return await self._writer.submit(partial(_delete, task_id=task_id, push_id=push_id))

    async def find(self, number: int) -> Push | None:
        """Read a push by its number; see `PushStore.find`."""
        row = await self._readers.one("find_push", (number,))
        return None if row is None else _push_of(row)

    async def unfinished(self, *, after: int, limit: int) -> Sequence[int]:
        """List those that have something left to tell; see `PushStore.unfinished`."""
        parameters = {"after": after, "limit": limit}
        rows = await self._readers.all("list_unfinished_pushes", parameters)
        return [number for (number,) in rows]

    async def changed(self, *, after: int, limit: int) -> ChangedPushes:
        """Look whom new entries concern; see `PushStore.changed`."""
        parameters = {"after": after, "limit": limit}
        rows = await self._readers.all("list_changed_pushes", parameters)
        seen, any_active = rows[0]
        return ChangedPushes(
            numbers=[number for number, _ in rows[1:]], seen=seen, any_active=bool(any_active)
        )

    async def note(self, push: Push) -> bool:
        """Write down how far a push has come; see `PushStore.note`."""
        columns = {
            "number": push.number,
            "revision": push.revision,
            "state": push.state.value,
            "position": push.position,
            "tries": push.tries,
            "due_at": _micros(push.due_at),
            "sent": push.sent,
            "skipped": push.skipped,
            "error": push.error,
            "error_at": _micros(push.error_at),
            "sent_at": _micros(push.sent_at),
        }
        return await self._writer.submit(partial(_note, columns=columns))

    async def give_up(self) -> int:
        """Give up all that are active; see `PushStore.give_up`."""
        return await self._writer.submit(_give_up)


def _put(tx: Transaction, new: NewPush, created_at: int, most: int) -> Row:
    task = tx.one("find_pushed_task", (new.task_id,))
    if task is None:
        raise TaskNotFound(new.task_id)
    number, before_status = task
    counted = tx.one("count_other_pushes", {"task": number, "id": new.id})
    assert counted is not None
    if counted[0] >= most:
        raise TooManyPushes(new.task_id, most)
    tx.change(
        "put_push",
        {
            "task": number,
            "id": new.id,
            "url": new.url,
            "protocol": new.protocol.value,
            "address": new.address,
            "scheme": new.scheme,
            "sealed": new.sealed,
            "position": 0 if new.whole_task else before_status,
            "created_at": created_at,
        },
    )
    row = tx.one("find_push_of", {"task_id": new.task_id, "id": new.id})
    assert row is not None, new.id
    return row


def _delete(tx: Transaction, task_id: str, push_id: str) -> bool:
    return tx.change("delete_push", {"task_id": task_id, "id": push_id}) > 0


def _note(tx: Transaction, columns: Mapping[str, object]) -> bool:
    return tx.change("note_push", columns) > 0


def _give_up(tx: Transaction) -> int:
    return tx.change("give_up_pushes")


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _push_of(row: Row) -> Push:
    """Read ``push_columns``."""
    number, revision, push_id, task_id, run_id, url, protocol, address, scheme, sealed = row[:10]
    state, position, tries, due_at, sent, skipped, error, error_at, sent_at, created_at = row[10:]
    return Push(
        number=number,
        revision=revision,
        id=push_id,
        task_id=task_id,
        run_id=run_id,
        url=url,
        protocol=PushProtocol(protocol),
        address=address,
        scheme=scheme,
        sealed=sealed,
        state=PushState(state),
        position=position,
        tries=tries,
        due_at=_moment(due_at),
        sent=sent,
        skipped=skipped,
        error=error,
        error_at=_moment(error_at),
        sent_at=_moment(sent_at),
        created_at=from_micros(created_at),
    )
