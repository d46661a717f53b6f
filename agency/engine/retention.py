"""Retention: what has ended and expired is forgotten, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from agency.config.schema import Retention as RetentionSettings
from agency.core.clock import Clock, monotonic_s
from agency.domain.retention import OUTCOMES, Bound, Outcome, statuses_of
from agency.domain.run import RunStatus
from agency.errors import ReadTooLong, ShuttingDown, StoreFull
from agency.ports.upkeep import CheckResult, GivenBack, StoreStats, UpkeepStore

log = logging.getLogger(__name__)

_IsOver = Callable[[], bool]

LOOK_ROWS = 500
"""Rows that are looked at for what has expired in one read."""
FIRST_PASS_S = 60.0
"""After a start others come first."""
GIVE_BACK_BYTES_MAX = 64 << 20
"""Given back to the disk at the end of a pass; the next one goes on."""


@dataclass(slots=True)
class Pass:
    """What one pass has deleted.

    Attributes:
        kept: Runs that had expired and are needed still.
        rows: Rows in all.
        bytes: Given back to the disk.
    """

    runs: int = 0
    kept: int = 0
    rows: int = 0
    snapshots: int = 0
    sessions: int = 0
    bytes: int = 0
    elapsed_s: float = 0.0


class Retention:
    """Forgets what may be forgotten, every so often, and looks after the store's size."""

    def __init__(
        self,
        *,
        store: UpkeepStore,
        clock: Clock,
        settings: RetentionSettings,
        told: Callable[[], int | None] = lambda: None,
        sweep_files: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Hold the store.

        Args:
            store: What is kept small.
            clock: Tells what is old.
            settings: What is kept, and for how long.
            told: Tells the newest update of which all hooks were told; None: there is no hook.
            sweep_files: Deletes the files that no run needs any more.
        """
        self._sweep_files = sweep_files
        self._told = told
        self._store = store
        self._clock = clock
        self._settings = settings
        self._passing = asyncio.Lock()

    async def serve(self, stop: asyncio.Event) -> None:
        """Make a pass every ``[retention] interval_s`` until ``stop`` is set."""
        wait_s = min(FIRST_PASS_S, self._settings.interval_s)
        while not stop.is_set():
            try:
                async with asyncio.timeout(wait_s):
                    await stop.wait()
                    return
            except TimeoutError:
                wait_s = self._settings.interval_s
                await self._pass_quietly(stop)

    async def _pass_quietly(self, stop: asyncio.Event) -> None:
        try:
            await self.make_pass(stop)
        except (StoreFull, ReadTooLong) as error:
            # Deleting needs room for the log, too. What was done so far stays done.
            log.warning("retention put off", extra={"reason": error.message})
        except ShuttingDown:
            return

    async def make_pass(self, stop: asyncio.Event | None = None) -> Pass:
        """Delete all that has expired; between its transactions others have their turn.

        Raises:
            StoreFull, ReadTooLong, ShuttingDown: what was deleted until then stays so.
        """
        async with self._passing:
            started_s = monotonic_s()
            done = Pass()
            is_over = stop.is_set if stop is not None else _never
            bounds = await self._bounds()
            for status, bound in bounds.items():
                if not bound.is_empty:
                    await self._retire(status, bounds, done, is_over)
            if not is_over():
                await self._retire_snapshots(done)
                await self._retire_sessions(done)
                done.bytes = (await self._store.give_back(bytes_max=GIVE_BACK_BYTES_MAX)).bytes
                if self._sweep_files is not None:
                    await self._sweep_files()
            done.elapsed_s = monotonic_s() - started_s
        if done.runs or done.rows or done.bytes:
            log.info(
                "retention has deleted",
                extra={
                    "runs": done.runs,
                    "kept": done.kept,
                    "rows": done.rows,
                    "snapshots": done.snapshots,
                    "sessions": done.sessions,
                    "bytes": done.bytes,
                    "elapsed_s": round(done.elapsed_s, 3),
                },
            )
        return done

    async def _bounds(self) -> Mapping[RunStatus, Bound]:
        """Tell for each status of ended runs which of them have expired."""
        by_outcome = {outcome: await self._bound(outcome) for outcome in Outcome}
        return {status: by_outcome[outcome] for status, outcome in OUTCOMES.items()}

    async def _bound(self, outcome: Outcome) -> Bound:
        age_s, runs_max, bytes_max = self._limits(outcome)
        statuses = statuses_of(outcome)
        through = 0
        if runs_max:
            through = await self._store.bound_by_runs(statuses, runs_max=runs_max)
        if bytes_max:
            by_bytes = await self._store.bound_by_bytes(statuses, bytes_max=bytes_max)
            through = max(through, by_bytes)
        before = self._clock.now() - timedelta(seconds=age_s) if age_s else None
        return Bound(ended_before=before, through=through)

    def _limits(self, outcome: Outcome) -> tuple[float, int, int]:
        """Give age in seconds, runs and bytes that are kept of an outcome; 0 is no limit."""
        settings, name = self._settings, outcome.value
        return (
            getattr(settings, f"{name}_age_s"),
            getattr(settings, f"{name}_runs_max"),
            getattr(settings, f"{name}_bytes_max"),
        )

    async def _retire(
        self,
        status: RunStatus,
        bounds: Mapping[RunStatus, Bound],
        done: Pass,
        is_over: _IsOver,
    ) -> None:
        after: int | None = 0
        while after is not None and not is_over():
            page = await self._store.expired(status, bounds[status], after=after, limit=LOOK_ROWS)
            left = page.numbers
            while left and not is_over():
                batch = left[: self._settings.batch_runs]
                retired = await self._store.retire(
                    batch, bounds, rows_max=self._settings.batch_rows, told=self._told()
                )
                done.runs += retired.runs
                done.rows += retired.rows
                done.kept += retired.kept
                left = [*retired.left, *left[len(batch) :]]
                await self._sweep(done)
                await asyncio.sleep(self._settings.pause_s)
            after = page.after

    async def _sweep(self, done: Pass) -> None:
        """Delete what long journals have left, in transactions of their own."""
        while swept := await self._store.sweep(rows_max=self._settings.batch_rows):
            done.rows += swept
            await asyncio.sleep(self._settings.pause_s)

    async def _retire_snapshots(self, done: Pass) -> None:
        age_s, per_run_max = self._settings.snapshots_age_s, self._settings.snapshots_per_run_max
        if not age_s and not per_run_max:
            return
        before = self._clock.now() - timedelta(seconds=age_s) if age_s else None
        after: int | None = 0
        while after is not None:
            deleted, after = await self._store.retire_snapshots(
                before=before, per_run_max=per_run_max, after=after, limit=LOOK_ROWS
            )
            done.snapshots += deleted
            done.rows += deleted
            await asyncio.sleep(self._settings.pause_s)

    async def _retire_sessions(self, done: Pass) -> None:
        if not self._settings.sessions_age_s:
            return
        before = self._clock.now() - timedelta(seconds=self._settings.sessions_age_s)
        after: int | None = 0
        while after is not None:
            deleted, after = await self._store.retire_sessions(
                before=before,
                after=after,
                limit=LOOK_ROWS,
                rows_max=self._settings.batch_rows,
            )
            done.sessions += deleted
            done.rows += deleted
            await asyncio.sleep(self._settings.pause_s)

    # --- what operators ask ---------------------------------------------------------------------

    async def stats(self) -> StoreStats:
        """Tell how large the store is."""
        return await self._store.stats()

    async def check(self, *, timeout_s: float) -> CheckResult:
        """Look through the store for damage, ``timeout_s`` at most."""
        result = await self._store.integrity(timeout_s=timeout_s)
        for fault in result.faults:
            log.error("database is damaged", extra={"fault": fault})
        return result

    async def vacuum(self, *, bytes_max: int) -> GivenBack:
        """Give free space back to the disk."""
        return await self._store.give_back(bytes_max=bytes_max)


def _never() -> bool:
    return False
