"""Legs: what a saga does, one after another or beside each other, and how each is taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from agency.core.records import dataclass
from agency.domain.run import RunError
from agency.engine.parts import current_step
from agency.engine.retry import NO_RETRY, Retry
from agency.engine.steps import Effect
from agency.errors import InvalidInput

ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""What a leg may be called: its id is part of keys, templates and addresses."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a declared saga may be called: it is part of addresses."""

UNDO_RETRY = Retry(attempts=3)
"""A compensation is worth some patience: what it leaves behind has to be cleared up by hand."""

UndoFailed = Literal["unknown", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegContext:
    """What an action or a compensation is told.

    Attributes:
        run_id: Run of the saga.
        saga: Name of the saga.
        leg: Id of the leg.
        input: Input of the saga.
        results: What the legs before it have returned, by their ids; of legs beside it nothing.
            In a compensation: of all legs that were done.
        result: In a compensation what the leg itself has returned; None when that is not known.
        idempotency_key: The same for every try of this action or compensation, after crashes as
            well. Hand it to the system outside, so that a repeated request is recognised there.
        action_key: In a compensation the ``idempotency_key`` that the action had, by which its
            effect may be found when there is no result; else the same as ``idempotency_key``.
        error: In a compensation why the saga does not complete.
        is_compensating: It is a compensation.
    """

    run_id: str
    saga: str
    leg: str
    input: Any
    results: Mapping[str, Any]
    idempotency_key: str
    action_key: str
    result: Any = None
    error: RunError | None = None
    is_compensating: bool = False

    @property
    def attempt(self) -> int:
        """Try that is being made, from 1."""
        return current_step().attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """An action or compensation that is a run of another workflow.

    Attributes:
        workflow: Its name.
        input: Makes its input.
        kind: How it was declared: ``workflow`` or ``agent``.
    """

    workflow: str
    input: Callable[[LegContext], Any]
    kind: str = "workflow"


Do = Callable[[LegContext], Any] | Child
Undo = Callable[[LegContext, Any], Any] | Child


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg of a saga.

    Attributes:
        id: Unique in the saga.
        do: The action: async or plain, called with the context; what it returns is recorded.
        undo: The compensation: async or plain, called with the context and what ``do`` has
            returned. Without one, what the leg has done stays.
        name: What people call it; by default the id.
        retry: Tries of the action; by default one.
        undo_retry: Tries of the compensation.
        timeout_s: Seconds that one try of the action may take.
        undo_timeout_s: The same of the compensation; by default as long as the action.
        effect: ``once``: when the outcome of a try is not known, somebody is asked before it is
            repeated.
        not_done_on: Exceptions after which a leg with ``effect="once"`` is known to have done
            nothing.
        undo_failed: Whether a leg that has not succeeded is taken back, with None as its result.
            ``unknown``: if it may have had its effect, because it was interrupted, ran out of
            time, or raised `OutcomeUnknown`; ``always``: also after any other failure; ``never``.
    """

    id: str
    do: Do
    undo: Undo | None = None
    name: str = ""
    retry: Retry = NO_RETRY
    undo_retry: Retry = UNDO_RETRY
    timeout_s: float | None = None
    undo_timeout_s: float | None = None
    effect: Effect = "repeatable"
    not_done_on: Sequence[type[BaseException]] = field(default=())
    undo_failed: UndoFailed = "unknown"

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or ID.fullmatch(self.id) is None:
            raise InvalidInput(
                f"The id {self.id!r} of a leg cannot be used.",
                hint="Begin with a letter; then up to 63 letters, digits, _ and -.",
            )
        if self.undo_failed not in ("unknown", "always", "never"):
            raise InvalidInput(f"The leg {self.id!r} has undo_failed={self.undo_failed!r}.")
        if self.effect == "once" and isinstance(self.do, Child):
            raise InvalidInput(
                f"The leg {self.id!r} is a run of another workflow and has effect='once'.",
                hint="Runs are started once in any case; their own steps have their own effects.",
            )
        for part in (self.do, self.undo):
            if not (part is None or isinstance(part, Child) or callable(part)):
                raise InvalidInput(f"The leg {self.id!r} has a part that is no function.")

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class Stage:
    """Legs that are done beside each other; mostly one.

    Attributes:
        path: Prefix of the keys of its legs, but for their own branches.
    """

    legs: Sequence[Leg]
    group: str = ""

    def key_of(self, leg: Leg) -> str:
        """Key of a leg's action in the journal."""
        return f"{self.path_of(leg)}{leg.id}#1"

    def path_of(self, leg: Leg) -> str:
        """Path of the branch that a leg is done in."""
        return f"{self.group}.{leg.id}/" if self.group else ""
