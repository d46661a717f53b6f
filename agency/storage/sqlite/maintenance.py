"""The store as a whole on SQLite; the promises are those of `agency.ports.upkeep.UpkeepStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from pathlib import Path

from agency.core.clock import to_micros
from agency.core.json import encode
from agency.domain.retention import Bound
from agency.domain.run import RunStatus
from agency.ports.upkeep import (
    CheckResult,
    ExpiredPage,
    GivenBack,
    Retired,
    StoreStats,
    TableSize,
)
from agency.storage.sqlite import retention, soundness
from agency.storage.sqlite.log import Log
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.retention import BoundForm
from agency.storage.sqlite.schedule_rows import micros_of, moment_of
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

COUNT_ROWS_MAX = 100_000
"""Rows of a table that are counted: more would take longer than anybody wants to wait."""

_COUNTS = {
    "runs": "count_runs_rows",
    "journal": "count_journal_rows",
    "waits": "count_waits_rows",
    "events": "count_events_rows",
    "snapshots": "count_snapshots_rows",
    "messages": "count_messages_rows",
    "sessions": "count_sessions_rows",
    "blobs": "count_blobs_rows",
}
"""Of the tables that grow with work; the others are small."""

_GIVE_BACK_PAGES = 256
"""Pages given back in one transaction: some milliseconds."""
_RESERVE_PAGES = 1024
"""Free pages that stay in the file: they are used again soon."""
_SIZES_PAGE_ROWS = 500
"""Runs that are measured at once."""
_NUMBER_MAX = (1 << 63) - 1


class SqliteUpkeep:
    """Keeping a SQLite database small and sound."""

    def __init__(self, writer: Writer, readers: Readers, path: Path, log: Log) -> None:
        self._writer = writer
        self._readers = readers
        self._path = path
        self._log = log

    async def stats(self) -> StoreStats:
        """Tell how large the store is; see `UpkeepStore.stats`."""
        page_bytes, pages, free_pages = [
            (await self._readers.all(name))[0][0]
            for name in ("show_page_size", "count_pages", "count_free_pages")
        ]
        counted = await self._readers.all("count_by_status")
        tables = [await self._count(name) for name in _COUNTS]
        oldest = await self._readers.one("find_oldest_run")
        live = await self._readers.one("find_oldest_live_run")
        assert oldest is not None
        assert live is not None
        return StoreStats(
            path=str(self._path),
            size_bytes=page_bytes * pages,
            log_bytes=self._log.size(),
            free_bytes=page_bytes * free_pages,
            page_bytes=page_bytes,
            blocked_s=self._log.blocked_s,
            runs={RunStatus(status): runs for status, runs in counted},
            tables=tables,
            oldest_at=moment_of(oldest[0]),
            oldest_live_at=moment_of(live[0]),
        )

    async def _count(self, table: str) -> TableSize:
        row = await self._readers.one(_COUNTS[table], (COUNT_ROWS_MAX + 1,))
        assert row is not None
        return TableSize(
            name=table, rows=min(row[0], COUNT_ROWS_MAX), is_exact=row[0] <= COUNT_ROWS_MAX
        )

    async def integrity(self, *, timeout_s: float) -> CheckResult:
        """Look through the tables for damage; see `UpkeepStore.integrity`."""
        return await soundness.check(self._path, timeout_s=timeout_s)

    async def give_back(self, *, bytes_max: int) -> GivenBack:
        """Give free space back to the disk; see `UpkeepStore.give_back`."""
        page_bytes = (await self._readers.all("show_page_size"))[0][0]
        given = 0
        while True:
            wanted = min(_GIVE_BACK_PAGES, bytes_max // page_bytes - given)
            if wanted <= 0:
                free = (await self._readers.all("count_free_pages"))[0][0]
                return GivenBack(bytes=given * page_bytes, free_bytes=free * page_bytes)
            before, after = await self._writer.submit(_give_back)
            given += before - after
            if before - after < _GIVE_BACK_PAGES:
                return GivenBack(bytes=given * page_bytes, free_bytes=after * page_bytes)

    async def bound_by_runs(self, statuses: Sequence[RunStatus], *, runs_max: int) -> int:
        """Tell which runs are more than the newest; see `UpkeepStore.bound_by_runs`."""
        places = ("first", "second", "third", "fourth")
        assert len(statuses) <= len(places), statuses
        parameters: dict[str, object] = {place: None for place in places}
        parameters.update(zip(places, statuses, strict=False))
        row = await self._readers.one("nth_newest", {**parameters, "newer": runs_max})
        return 0 if row is None else row[0]

    async def bound_by_bytes(self, statuses: Sequence[RunStatus], *, bytes_max: int) -> int:
        """Tell which runs are more than so many bytes; see `UpkeepStore.bound_by_bytes`."""
        total = 0
        lists = [_Sizes(self, status) for status in statuses]
        newest: list[tuple[int, int, int]] = []
        for place, sizes in enumerate(lists):
            await sizes.push(newest, place)
        while newest:
            number, size, place = heappop(newest)
            total += size
            if total > bytes_max:
                return -number
            await lists[place].push(newest, place)
        return 0

    async def page_sizes(self, status: RunStatus, *, before: int) -> Sequence[tuple[int, int]]:
        """Read number and bytes of the newest runs of a status; those not known are measured."""
        parameters = {"status": status.value, "before": before, "limit": _SIZES_PAGE_ROWS}
        rows = await self._readers.all("page_sizes", parameters)
        unknown = [number for number, size in rows if size is None]
        measured = await self._measure(unknown) if unknown else {}
        return [
            (number, measured.get(number, 0) if size is None else size) for number, size in rows
        ]

    async def _measure(self, numbers: Sequence[int]) -> dict[int, int]:
        found = await self._readers.all("measure_runs", (encode(numbers).decode(),))
        await self._writer.submit(partial(_keep_sizes, rows=found))
        return {number: size for number, _, size in found}

    async def expired(
        self, status: RunStatus, bound: Bound, *, after: int, limit: int
    ) -> ExpiredPage:
        """Read the next runs that have expired; see `UpkeepStore.expired`."""
        form = _bound_form(bound)
        parameters = {"status": status.value, "after": after, "limit": limit}
        rows = await self._readers.all("page_ended", parameters)
        numbers = [
            number
            for number, is_root, _, ended_at in rows
            if is_root and form.covers(number, ended_at)
        ]
        if len(rows) < limit:
            return ExpiredPage(numbers=numbers, after=None)
        last, _, created_at, _ = rows[-1]
        # Numbers follow the order of acceptance, and nothing has ended before it was accepted.
        is_old = form.ended_before is not None and created_at < form.ended_before
        return ExpiredPage(numbers=numbers, after=last if is_old or last < form.through else None)

    async def retire(
        self,
        numbers: Sequence[int],
        bounds: Mapping[RunStatus, Bound],
        *,
        rows_max: int,
        told: int | None = None,
    ) -> Retired:
        """Delete ended runs with all that belongs to them; see `UpkeepStore.retire`."""
        encoded = {status.value: _bound_form(bound) for status, bound in bounds.items()}
        work = await self._writer.submit(
            partial(retention.retire, numbers=numbers, bounds=encoded, rows_max=rows_max, told=told)
        )
        return Retired(runs=work.runs, rows=work.rows, kept=work.kept, left=work.left)

    async def sweep(self, *, rows_max: int) -> int:
        """Delete rows of journals whose runs are gone; see `UpkeepStore.sweep`."""
        return await self._writer.submit(partial(retention.sweep, rows_max=rows_max))

    async def retire_snapshots(
        self,
        *,
        before: datetime | None,
        per_run_max: int,
        after: int,
        limit: int,
    ) -> tuple[int, int | None]:
        """Delete snapshots that are old or too many; see `UpkeepStore.retire_snapshots`."""
        return await self._writer.submit(
            partial(
                retention.retire_snapshots,
                before=micros_of(before),
                per_run_max=per_run_max,
                after=after,
                limit=limit,
            )
        )

    async def retire_sessions(
        self, *, before: datetime, after: int, limit: int, rows_max: int
    ) -> tuple[int, int | None]:
        """Delete sessions that nobody uses; see `UpkeepStore.retire_sessions`."""
        return await self._writer.submit(
            partial(
                retention.retire_sessions,
                before=to_micros(before),
                after=after,
                limit=limit,
                rows_max=rows_max,
            )
        )


class _Sizes:
    """The runs of a status with their bytes, newest first, read page by page."""

    def __init__(self, upkeep: SqliteUpkeep, status: RunStatus) -> None:
        self._upkeep = upkeep
        self._status = status
        self._page: list[tuple[int, int]] = []
        self._before = _NUMBER_MAX

    async def push(self, newest: list[tuple[int, int, int]], place: int) -> None:
        """Put the next run on a heap of the newest; nothing if there is none any more."""
        if not self._page:
            found = await self._upkeep.page_sizes(self._status, before=self._before)
            if not found:
                return
            self._page = list(reversed(found))
            self._before = found[-1][0]
        number, size = self._page.pop()
        heappush(newest, (-number, size, place))


def _bound_form(bound: Bound) -> BoundForm:
    return BoundForm(micros_of(bound.ended_before), bound.through)


def _keep_sizes(tx: Transaction, rows: Sequence[Row]) -> None:
    tx.many("keep_size", rows)


def _give_back(tx: Transaction) -> tuple[int, int]:
    """Give pages back unless few are free; tell how many were free before and are now."""
    before = tx.one("count_free_pages")
    assert before is not None
    if before[0] < _RESERVE_PAGES + _GIVE_BACK_PAGES:
        return before[0], before[0]
    for _ in range(_GIVE_BACK_PAGES):
        tx.one("give_back_page")  # one for each call: it is not stepped to its end
    after = tx.one("count_free_pages")
    assert after is not None
    return before[0], after[0]
