"""An entry of a run's journal: something that was decided and is never decided again."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from agency.core.records import dataclass


class EntryKind(IntEnum):
    """What an entry records. The numbers are stored: they never change their meaning."""

    STEP = 1
    """A step's final result."""
    FAILURE = 2
    """A step's final failure."""
    ATTEMPT = 3
    """One failed try of a step; its key is the step's with ``~N``."""
    INTENT = 4
    """A step with effect="once" is about to be tried; its key is the step's with ``!N``."""
    WAIT = 5
    """A wait was opened; its outcome is on the wait itself."""
    CHILD = 6
    """A child run was started; the body holds its id."""
    WINNER = 7
    """Which branch of a ``first`` won."""
    NOW = 8
    """A moment that the run was told."""
    AT_END = 9
    """Work that was registered for the real end."""
    STATUS = 10
    """The run's status has changed; the body holds the new one."""
    PROGRESS = 11
    """How far the run says it is; one for each run, which gets a new number with each change."""
    PHASE = 12
    """The run's phase is another from here on; the body says why."""


ORDERED = frozenset(
    {EntryKind.STEP, EntryKind.FAILURE, EntryKind.WAIT, EntryKind.CHILD, EntryKind.NOW}
)
"""Kinds that must be met in recorded order within their branch."""

WATCHED_ONLY = frozenset({EntryKind.STATUS, EntryKind.PROGRESS})
"""Kinds that are there for watchers. The store writes them by itself; they are not part of what a
run has recorded, so replay, limits, forks, listings and counts of steps leave them out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded entry.

    Attributes:
        key: Branch path, name and occurrence: ``quote#1``, ``both#1.a/charge#1``.
        body: JSON in UTF-8: of a step its result, of a failure ``{code, error_class, message,
            details}``.
        meta: JSON in UTF-8 for the timeline: arguments, start, attempt; or None.
        number: Rises with each entry of the database, over all runs; 0 before it is stored.
    """

    key: str
    kind: EntryKind
    body: bytes
    at: datetime
    meta: bytes | None = None
    epoch: int = 0
    number: int = 0
