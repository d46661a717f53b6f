"""The tail of the journal on SQLite; the promises are those of `agency.ports.updates`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.core.limits import UPDATE_BYTES_MAX
from agency.domain.entry import EntryKind
from agency.domain.run import RunStatus
from agency.domain.update import KINDS, TYPES, HookState, Update, UpdateType
from agency.errors import RunNotFound
from agency.ports.updates import HookStep, UpdatePage
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_TYPES = {kind.value: seen for kind, seen in TYPES.items()}
_STATUSES = {status.value: status for status in RunStatus}
_ID, _KIND = 0, 1
_COLUMNS = 14


class SqliteUpdates:
    """Updates in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Hear of commits; see `UpdateStore.listen`."""
        return self._writer.listen(listener)

    async def newest(self) -> int:
        """Tell the highest number; see `UpdateStore.newest`."""
        row = await self._readers.one("newest_update")
        assert row is not None
        number: int = row[0]
        return number

    async def tail(
        self, *, after: int, types: frozenset[UpdateType], runs: frozenset[int], limit: int
    ) -> UpdatePage:
        """Read what is wanted of the next entries; see `UpdateStore.tail`."""
        found = await self._readers.all(
            "list_updates",
            {
                "after": after,
                "limit": limit,
                "kinds": encode(sorted(KINDS[wanted] for wanted in types)).decode(),
                "runs": encode(sorted(runs)).decode(),
                "bytes_max": UPDATE_BYTES_MAX,
            },
        )
        return UpdatePage(_updates_of(found[1:]), found[0][_ID])

    async def of_run(self, run_id: str, *, after: int, limit: int) -> UpdatePage:
        """Read a page of one run's updates; see `UpdateStore.of_run`."""
        parameters = {
            "run_id": run_id,
            "after": after,
            "limit": limit,
            "bytes_max": UPDATE_BYTES_MAX,
        }
        found = await self._readers.all("page_run_updates", parameters)
        if not found:
            raise RunNotFound(run_id)
        newest = found[0][_COLUMNS]
        if found[0][_ID] is None:
            return UpdatePage([], max(after, newest or 0))
        seen = found[-1][_ID] if len(found) >= limit else newest
        return UpdatePage(_updates_of([row[:_COLUMNS] for row in found]), max(after, seen))

    async def last_status(self, run_id: str) -> Update:
        """Read the newest change of status of a run; see `UpdateStore.last_status`."""
        parameters = {"run_id": run_id, "bytes_max": UPDATE_BYTES_MAX}
        row = await self._readers.one("last_status", parameters)
        if row is None:
            raise RunNotFound(run_id)
        return _update_of(row)

    async def open_hook(self, name: str, *, now: datetime) -> int:
        """Tell how far a hook has come; see `UpdateStore.open_hook`."""
        return await self._writer.submit(partial(_open_hook, name=name, now=to_micros(now)))

    async def save_hooks(self, steps: Sequence[HookStep], *, now: datetime) -> None:
        """Write down how far hooks have come; see `UpdateStore.save_hooks`."""
        await self._writer.submit(partial(_save_hooks, steps=tuple(steps), now=to_micros(now)))

    async def hooks(self) -> Sequence[HookState]:
        """Read how far all hooks have come; see `UpdateStore.hooks`."""
        return [
            HookState(
                name=name,
                position=position,
                calls=calls,
                skipped=skipped,
                changed_at=from_micros(changed_at),
            )
            for name, position, calls, skipped, changed_at in await self._readers.all("list_hooks")
        ]


def _open_hook(tx: Transaction, name: str, now: int) -> int:
    tx.change("open_hook", {"name": name, "now": now})
    row = tx.one("get_hook", (name,))
    assert row is not None, name
    position: int = row[1]
    return position


def _save_hooks(tx: Transaction, steps: Sequence[HookStep], now: int) -> None:
    tx.many(
        "save_hook",
        [
            {
                "name": step.name,
                "position": step.position,
                "calls": step.calls,
                "skipped": step.skipped,
                "now": now,
            }
            for step in steps
        ],
    )


def _updates_of(found: Sequence[Row]) -> list[Update]:
    """Read rows in the order of their numbers, what is not to be seen left out."""
    seen = [row for row in found if row[_KIND] in _TYPES]
    # In order already, as the statements are planned; SQL promises it only for a sort.
    seen.sort(key=lambda row: row[_ID])
    return [_update_of(row) for row in seen]


def _update_of(row: Row) -> Update:
    """Read ``update_columns``."""
    number, kind, superseded, key, at, body, length, run, run_id, name, workflow, queue = row[:12]
    session_id, tags = row[12:]
    status = RunStatus.RUNNING
    if kind == EntryKind.STATUS:
        told = decode(body)
        status = _STATUSES[told.pop("status")]
        key, body = "", encode(told)
        length = len(body)
    elif kind == EntryKind.PROGRESS:
        key = ""
    elif superseded:
        # What a retry has made void stays readable under another key.
        key = key.removesuffix(f"^{number}")
    return Update(
        id=number,
        type=_TYPES[kind],
        run_id=run_id,
        run_number=run,
        workflow=workflow,
        status=status,
        at=from_micros(at),
        name=name,
        queue=queue,
        session_id=session_id,
        tags={} if tags is None else decode(tags),
        key=key,
        data=body,
        data_bytes=length,
    )
