"""Where schedules and the ledger of their firings are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.run import NewRun, Run, RunError
from agency.domain.schedule import Firing, FiringOutcome, Schedule, ScheduleSpec
from agency.ports.store import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFiring:
    """A firing to be recorded; as `Firing`.

    Attributes:
        run: To be started with it, when ``outcome`` is neither SKIPPED.
    """

    expected_at: datetime
    outcome: FiringOutcome
    reason: str = ""
    detail: str = ""
    through_at: datetime | None = None
    firings: int | None = 1
    run: NewRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of firings.

    Attributes:
        firings: As they stand in the ledger now.
        started: The runs that were started.
        ended: What came of cancelling earlier runs.
    """

    firings: Sequence[Firing]
    started: Sequence[Run]
    ended: Sequence[Ending] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedules:
    """Schedules whose moment has come, longest due first; ``next_at``: when another one's does."""

    schedules: Sequence[Schedule]
    next_at: datetime | None


class ScheduleStore(Protocol):
    """Schedules, and what became of each expected firing."""

    async def add(
        self,
        spec: ScheduleSpec,
        *,
        id: str,
        created_by: str,
        next_at: datetime | None,
        due_at: datetime | None,
        now: datetime,
    ) -> Schedule | None:
        """Store a new schedule, or give None if there is one of that name.

        Raises:
            TooManySchedules: there are as many as there may be.
        """
        ...

    async def replace(
        self,
        seen: Schedule,
        spec: ScheduleSpec,
        *,
        next_at: datetime | None,
        due_at: datetime | None,
        now: datetime,
    ) -> Schedule | None:
        """Give a schedule another spec under the next generation; ledger and counts stay.

        Returns:
            The schedule as it is now, or None if it is not as it was ``seen`` any more: it was
            changed, fired or deleted meanwhile.
        """
        ...

    async def get(self, name: str) -> Schedule:
        """Read one schedule.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def list(
        self, *, workflow: str | None, after: str | None, limit: int
    ) -> Sequence[Schedule]:
        """Read schedules by name; ``after`` is the name after which to go on (paging)."""
        ...

    async def delete(self, name: str) -> None:
        """Delete a schedule with its ledger. Its runs stay.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def pause(self, name: str, *, reason: str, now: datetime) -> Schedule:
        """Let a schedule fire nothing from now on; twice replaces the reason.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def resume(self, name: str, *, now: datetime) -> Schedule:
        """Let a schedule fire again; nothing happens if it is not paused.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def due(self, *, now: datetime, limit: int) -> DueSchedules:
        """Read up to ``limit`` schedules that are due.

        ``next_at`` is the earliest ``due_at`` later than ``now``; it is ``now`` itself if
        ``limit`` was reached.
        """
        ...

    async def fire(
        self,
        seen: Schedule,
        firings: Sequence[NewFiring],
        *,
        next_at: datetime | None,
        due_at: datetime | None,
        error: RunError,
        now: datetime,
    ) -> Fired | None:
        """Record firings, start their runs, and move the schedule on: all of it or nothing.

        An expected moment is dealt with once, whoever asks how often: the schedule must be as it
        was ``seen`` (generation, next moment, pause), else nothing happens and None comes back.

        A run is started unless the schedule's overlap policy is in its way: SKIP with a live run
        of the schedule records SKIPPED with that run's id; CANCEL_PREVIOUS cancels the live runs in
        the way of `RunStore.end`, with ``error``. A start that is refused (a full queue) is
        recorded as SKIPPED with the code and the words of the refusal.

        The ledger keeps the newest rows of each schedule; counts go on.
        """
        ...

    async def run_now(self, name: str, run: NewRun, *, error: RunError, now: datetime) -> Fired:
        """Start a run of a schedule because somebody asks for it, and record it as MANUAL.

        Paused or not, and beside a live one under SKIP; CANCEL_PREVIOUS cancels as `fire` does.
        With an idempotency key that is known nothing is recorded, and ``started`` has the run of
        that key.

        Raises:
            ScheduleNotFound: there is none.
            as `RunStore.start`.
        """
        ...

    async def firings(self, name: str, *, before: int | None, limit: int) -> Sequence[Firing]:
        """Read a schedule's ledger, newest first; ``before`` is the number to go on after.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...
