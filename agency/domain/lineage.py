"""Where runs come from, and what of a run a verb keeps: records without the bodies of entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.domain.entry import EntryKind
from agency.domain.run import Run, RunError, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome


class Relation(StrEnum):
    """What a run is to the one that it comes from."""

    CHILD = "child"
    RERUN = "rerun"
    FORK = "fork"
    SUCCESSOR = "successor"
    """It goes on in the other's place: ``continue_as``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryLine:
    """An entry of a journal without its body.

    Attributes:
        is_void: A retry has superseded it.
        size_bytes: Of body and meta.
        winner: Of an entry of kind WINNER the branch that has won; else empty.
    """

    number: int
    key: str
    kind: EntryKind
    at: datetime
    is_void: bool
    size_bytes: int
    winner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """A wait without what it shows and was answered."""

    key: str
    kind: WaitKind
    outcome: WaitOutcome | None
    resolved_at: datetime | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Outline:
    """A run, and what its journal has: entries by number, superseded ones among them, and waits."""

    run: Run
    entries: Sequence[EntryLine]
    waits: Sequence[WaitLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """What a retry of an ended run makes void, and what it waits for again.

    Attributes:
        entries: Numbers of the entries that are superseded.
        waits: Keys of the waits that are superseded.
        reopened: Keys of waits that the run's end has closed, and that are open again.
        input: JSON value that replaces the run's input, if ``has_input``.
    """

    entries: Sequence[int] = ()
    waits: Sequence[str] = ()
    reopened: Sequence[str] = ()
    input: Any = None
    has_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkPlan:
    """What of a run another one begins with.

    Attributes:
        at: Newest number of an entry that may be kept.
        dropped: Numbers up to that of entries that are left out: open waits and children, tries of
            steps that are not done, work at the end.
        waits: Keys of the waits that are kept with their outcome.
        moment: When the first entry was recorded that is not kept; None if there is none.
    """

    at: int = 0
    dropped: Sequence[int] = ()
    waits: Sequence[str] = ()
    moment: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """A run of a family, and how it belongs to it.

    Attributes:
        relation: What it is to the run ``of``; None for the run that was asked about.
        is_ancestor: It was found on the way up: then the run ``of`` comes from it.
    """

    run_id: str
    name: str | None
    workflow: str
    status: RunStatus
    created_at: datetime
    generation: int
    relation: Relation | None = None
    of: str = ""
    is_ancestor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """One time that a run went on after its end; ``status`` and ``error`` are those of that end."""

    generation: int
    at: datetime
    principal: str
    status: RunStatus
    error: RunError | None
