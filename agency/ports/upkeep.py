"""The store as a whole: how large it is, whether it is sound, and what may be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.retention import Bound
from agency.domain.run import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """How many rows a table has; ``is_exact`` is False when there are at least so many."""

    name: str
    rows: int
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """How large the store is.

    Attributes:
        path: The database file.
        size_bytes: Of the file.
        log_bytes: Of the write-ahead log beside it.
        free_bytes: Of the file, to be used again or given back to the disk.
        page_bytes: Of one page.
        blocked_s: For how long a reader has kept the log from being copied, or 0.
        oldest_at: When the oldest run was accepted, or None.
        oldest_live_at: The same of those that have not ended.
    """

    path: str
    size_bytes: int
    log_bytes: int
    free_bytes: int
    page_bytes: int
    blocked_s: float
    runs: Mapping[RunStatus, int]
    tables: Sequence[TableSize]
    oldest_at: datetime | None
    oldest_live_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check has found.

    Attributes:
        faults: What is wrong, in the words of the database; empty when it is sound.
        checked: Tables that were looked through.
        unchecked: Those for which there was no time.
    """

    faults: Sequence[str]
    checked: Sequence[str]
    unchecked: Sequence[str]
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """Space that was given back to the disk, and what is free in the file still."""

    bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredPage:
    """Runs that have expired, by number; ``after`` is where to go on, None at the end."""

    numbers: Sequence[int]
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What a transaction has deleted.

    Attributes:
        runs: How many runs, children included.
        rows: How many rows in all, as far as they were counted one by one.
        kept: Runs that had expired and are needed: by a live child, fork, rerun or successor, by
            a file whose arrival was not confirmed, by a child that has not expired, or because not
            all have been told of it.
        left: Numbers for which there was no place in the transaction.
    """

    runs: int
    rows: int
    kept: int
    left: Sequence[int]


class UpkeepStore(Protocol):
    """Keeping the store small and sound. Each transaction is bounded, so that none is in the way.

    What is deleted is deleted for good. Numbers that watchers go by never come twice: the newest
    row of the journal stays until there is a newer one.
    """

    async def stats(self) -> StoreStats:
        """Tell how large the store is; costs the same however large it is."""
        ...

    async def integrity(self, *, timeout_s: float) -> CheckResult:
        """Look through the tables for damage, one after another, ``timeout_s`` in all."""
        ...

    async def give_back(self, *, bytes_max: int) -> GivenBack:
        """Give up to ``bytes_max`` of free space back to the disk; only what is not soon reused."""
        ...

    async def bound_by_runs(self, statuses: Sequence[RunStatus], *, runs_max: int) -> int:
        """Tell the number up to which runs are more than the newest ``runs_max``; 0 if none are."""
        ...

    async def bound_by_bytes(self, statuses: Sequence[RunStatus], *, bytes_max: int) -> int:
        """Tell the number up to which runs are more than the newest ``bytes_max`` bytes, or 0.

        A run has the bytes of its input, output, error, journal, waits and events. It is measured
        once after each of its ends, and its size kept. Bodies that several runs share count for
        each.
        """
        ...

    async def expired(
        self, status: RunStatus, bound: Bound, *, after: int, limit: int
    ) -> ExpiredPage:
        """Read the next runs that have expired and that nobody has started as a child.

        Up to ``limit`` runs of the status are looked at, from number ``after`` on.
        """
        ...

    async def retire(
        self,
        numbers: Sequence[int],
        bounds: Mapping[RunStatus, Bound],
        *,
        rows_max: int,
        told: int | None = None,
    ) -> Retired:
        """Delete ended runs with all that belongs to them: their children first.

        Of each run its journal, waits, events, snapshots and approvals go with it, and so do
        bodies that nothing refers to any more. What it has said stays in its session.

        A run is kept that is live, that has not expired by the bound of its status, or that is
        needed (see `Retired`); so are its ancestors. Beyond ``rows_max`` rows nothing more is
        begun; of a long journal the rest is deleted by `sweep`.

        Args:
            numbers: Which runs.
            bounds: Which runs have expired, by their status.
            rows_max: As above.
            told: Newest number of an update of which all hooks were told: a run whose status has
                changed since is kept. None: there is no hook.
        """
        ...

    async def sweep(self, *, rows_max: int) -> int:
        """Delete up to ``rows_max`` rows of journals whose runs are gone, and tell how many."""
        ...

    async def retire_snapshots(
        self,
        *,
        before: datetime | None,
        per_run_max: int,
        after: int,
        limit: int,
    ) -> tuple[int, int | None]:
        """Delete snapshots made ``before``, and those beyond the newest ``per_run_max`` of a run.

        Up to ``limit`` snapshots are looked at, from number ``after`` on; 0 for ``per_run_max`` is
        no bound. The newest one of a live run is kept.

        Returns:
            How many were deleted, and where to go on, None at the end.
        """
        ...

    async def retire_sessions(
        self, *, before: datetime, after: int, limit: int, rows_max: int
    ) -> tuple[int, int | None]:
        """Delete sessions that have no run and whose newest message was said ``before``.

        Up to ``limit`` sessions are looked at, from number ``after`` on, and up to ``rows_max``
        messages deleted; a session with more is gone through again.

        Returns:
            How many sessions were deleted, and where to go on, None at the end.
        """
        ...
