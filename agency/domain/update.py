"""An update: what watchers of runs see of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from agency.core.records import dataclass
from agency.domain.entry import EntryKind
from agency.domain.run import ENDED, Run, RunStatus


class UpdateType(StrEnum):
    """What has happened. But for ``STATUS`` and ``PROGRESS`` they are kinds of journal entries."""

    STATUS = "status"
    """The run's status is another: it was started, claimed, suspended, woken, or has ended."""
    STEP = "step"
    FAILURE = "failure"
    ATTEMPT = "attempt"
    INTENT = "intent"
    WAIT = "wait"
    CHILD = "child"
    WINNER = "winner"
    PHASE = "phase"
    PROGRESS = "progress"


UNSEEN = frozenset({EntryKind.NOW, EntryKind.AT_END})
"""Book-keeping of the engine that says nothing to watchers."""

TYPES: Mapping[EntryKind, UpdateType] = {
    kind: UpdateType(kind.name.lower()) for kind in EntryKind if kind not in UNSEEN
}
KINDS: Mapping[UpdateType, EntryKind] = {seen: kind for kind, seen in TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One thing that has happened in a run, as it was committed.

    Attributes:
        id: Number of the journal entry that it is: rises over all runs, never comes twice.
        run_number: Small integer that stands for the run in the store.
        name: The caller's own name for the run.
        status: The run's status from then on; of what a run records it is RUNNING.
        key: Key of the step or wait in the run's journal; empty for status and progress.
        data: JSON in UTF-8: of a step its result, of a failure its error, of a change of status
            what belongs to it (``attempt``, ``reason``, ``error``). None when it has more bytes
            than watchers are told.
        data_bytes: Length of all of it.
        run: The run as it was when the update was handed out, which may be later than the update;
            only for watchers who ask for it, and None if it was deleted meanwhile.
    """

    id: int
    type: UpdateType
    run_id: str
    run_number: int
    workflow: str
    status: RunStatus
    at: datetime
    name: str | None = None
    queue: str = "default"
    session_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    data: bytes | None = None
    data_bytes: int = 0
    run: Run | None = None

    @property
    def is_end(self) -> bool:
        """The run has ended."""
        return self.type is UpdateType.STATUS and self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFilter:
    """Which updates somebody wants to see; None, and an empty set, mean all of them.

    Attributes:
        run_number: Of this run only; its end is always seen.
        statuses: Status of the run from the update on.
        tags: Labels that the run must have.
        types: What has happened.
    """

    run_number: int | None = None
    workflow: str | None = None
    statuses: frozenset[RunStatus] = frozenset()
    queue: str | None = None
    session_id: str | None = None
    tags: frozenset[tuple[str, str]] = frozenset()
    types: frozenset[UpdateType] = frozenset()

    def matches(self, update: Update) -> bool:
        """Tell whether the update is to be seen."""
        if self.run_number is not None:
            if update.run_number != self.run_number:
                return False
            if update.is_end:
                return True
        return (
            (not self.types or update.type in self.types)
            and (not self.statuses or update.status in self.statuses)
            and (self.workflow is None or update.workflow == self.workflow)
            and (self.queue is None or update.queue == self.queue)
            and (self.session_id is None or update.session_id == self.session_id)
            and (not self.tags or self.tags <= update.tags.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HookState:
    """How far a hook of an author has come.

    Attributes:
        position: Newest number of the journal that it is done with.
        calls: Updates that it has taken.
        skipped: Updates that it could not take, each of which was logged.
        changed_at: When this was last written down.
    """

    name: str
    position: int
    calls: int
    skipped: int
    changed_at: datetime
