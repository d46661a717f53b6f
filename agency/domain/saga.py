"""A saga as somebody sees it who looks at a run: its legs and how each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass


class LegState(StrEnum):
    PENDING = "pending"
    """It has not been tried yet."""
    RUNNING = "running"
    """It was begun and has no outcome yet."""
    DONE = "done"
    FAILED = "failed"
    """Its action has failed, or was interrupted, and there is nothing to take back."""
    COMPENSATING = "compensating"
    """It is to be taken back, or just being."""
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    """What it has done is still there."""
    SKIPPED = "skipped"
    """It was never tried and will not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegStatus:
    """A leg of a run.

    Attributes:
        group: Name that the legs which are done beside it share with it, or empty.
        kind: ``function``, ``http``, ``agent`` or ``workflow``.
        result: JSON value, when the action is done.
        error: Of the action: ``code``, ``error_class``, ``message``, ``details``; or None.
        attempts: Tries of the action that have ended.
        has_compensation: There is something that takes it back.
        compensation_error: The same as ``error``, of the compensation.
        compensation_attempts: Tries of the compensation that have ended.
        run_ids: Runs that the action or its compensation has started.
    """

    id: str
    name: str
    group: str
    kind: str
    state: LegState
    result: Any
    error: Mapping[str, Any] | None
    attempts: int
    has_compensation: bool
    compensation_error: Mapping[str, Any] | None
    compensation_attempts: int
    run_ids: tuple[str, ...] = ()
