"""Verbs that begin where a run has been before: retry, fork, discard; and how runs belong together.

The rules of ``agency.ports.store`` hold here: each method is one atomic transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.lineage import ForkPlan, Kin, Outline, Retried, RetryPlan
from agency.domain.run import NewRun, Run, RunError


class LineageStore(Protocol):
    """What becomes of runs that have been worked on."""

    async def outline(self, run_id: str) -> Outline:
        """Read a run and what its journal has, without bodies.

        Raises:
            RunNotFound: there is none.
        """
        ...

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
        """Let an ended run go on: it is pending, in its next generation, at its first attempt.

        What the plan names is superseded, waits that it names are open again, and its input, if it
        has one, replaces the run's. The end is
        forgotten (error, output, crashes) and recorded as a retry. The run takes its name again,
        and the last place in line for its session and its key.

        Args:
            seen: The run as the plan was made for it.
            max_attempts: Replaces the run's, unless None.
            provider: Replaces the run's, unless None.
            dry_run: Everything is done, checked and undone: nothing is kept.

        Raises:
            RunNotFound: there is none.
            RunChanged: its status or generation is not the one that was seen.
            RunHasParent: its parent has ended and can be retried itself, which would begin the
                work anew.
            NameTaken: a live run has its name.
            SessionBusy: as `RunStore.start`.
        """
        ...

    async def fork(
        self, new: NewRun, source: Run, plan: ForkPlan, *, dry_run: bool = False
    ) -> tuple[Run, bool]:
        """Start a run with a copy of another's journal up to a point, and say whether it is new.

        Entries and waits are copied as the plan says, with superseded entries up to that point;
        bodies that lie apart are shared. The mailbox is not copied. If both runs have a session,
        its messages up to the plan's moment are copied, those of the source as the new run's.
        With nothing to keep it is a plain start. An idempotency key that is known gives the run
        of that key.

        Args:
            source: The run as the plan was made for it; it may be live.
            dry_run: Everything is done, checked and undone: nothing is kept.

        Raises:
            RunNotFound: there is no source.
            RunChanged: the source has been retried since.
            NameTaken, IdempotencyMismatch, SessionBusy, QueueFull: as `RunStore.start`.
        """
        ...

    async def discard(self, run_id: str, *, principal: str, now: datetime) -> RunError:
        """Give up a dead letter: it is CANCELLED, with an error of code ``discarded``.

        The error that it had is kept in the details of the new one, which is returned.

        Raises:
            RunNotFound: there is none.
            NotADeadLetter: its status is another.
        """
        ...

    async def kin(self, run_id: str, *, limit: int) -> tuple[Sequence[Kin], bool]:
        """Read the family of a run: itself, then up to ``limit`` others.

        Its ancestors: parent, what it repeats, what it was forked from, what it goes on for; and
        theirs, nearest first. Then its descendants in the same ways. True if there are more.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def retries(self, run_id: str, *, limit: int) -> Sequence[Retried]:
        """Read the newest retries of a run, oldest first; none if there is no such run."""
        ...
