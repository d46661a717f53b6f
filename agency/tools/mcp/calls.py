"""A call of a tool on its way: what is asked for, and how it can fail to be done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from agency.core.ids import is_id
from agency.core.records import dataclass
from agency.domain.tool import ToolEffect
from agency.errors import Fault, InvalidInput

ROUNDS = "rounds"
"""State of a call that the server has answered with questions: it is made again with them."""

TASKED = "task"
"""State of a call that the server has made a task of, which is looked at."""

PARKED = "parked"
"""State of a call that the server holds until its questions are answered."""

ROUNDS_MAX = 10
"""How often a server may ask in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """A call.

    Attributes:
        tool: The server's own name.
        timeout_s: Longest time without waiting for answers.
        key: Idempotency key; see `agency.tools.mcp.sent`.
        effect: Whether it may be made again when it broke off.
        progress: Takes a line.
        folder: Opens the run's folder, for servers that may know it.
        put: Writes a file there, for pictures; None where there is no run.
        answers, state: Of an earlier try that has asked.
    """

    tool: str
    arguments: Mapping[str, Any]
    timeout_s: float
    key: str
    effect: ToolEffect
    progress: Callable[[str], None]
    folder: Callable[[], Awaitable[Path]] | None = None
    put: Callable[[str, bytes], Awaitable[None]] | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What a server that answers with questions has asked so far.

    Attributes:
        kinds: Of the questions, by key; see `agency.tools.mcp.asking`.
        defaults: Of the fields of forms, by key.
        request_state: Opaque; handed back as it is.
        number: How often it has asked.
    """

    kinds: Mapping[str, str]
    request_state: str | None
    number: int
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> Mapping[str, Any]:
        """Give the state that is recorded with the run."""
        return {
            "kind": ROUNDS,
            "kinds": dict(self.kinds),
            "defaults": {key: dict(value) for key, value in self.defaults.items()},
            "request_state": self.request_state,
            "number": self.number,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A call that is held, and what was answered in it.

    Attributes:
        id: Of the call in this process.
        asked: Digests of the open questions, by key.
        answered: Earlier answers, by the digests of their questions.
    """

    id: str
    asked: Mapping[str, str]
    answered: Mapping[str, Any]

    def to_json(self) -> Mapping[str, Any]:
        """Give the state that is recorded with the run."""
        return {
            "kind": PARKED,
            "id": self.id,
            "asked": dict(self.asked),
            "answered": dict(self.answered),
        }

    def all_answers(self, answers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give all answers by the digests of their questions, for a call that is made anew."""
        new = {digest: answers[key] for key, digest in self.asked.items() if key in answers}
        return {**self.answered, **new}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasked:
    """A task that a call has become, and what was asked by it.

    Attributes:
        id: The server's, of the task.
        looks: How often it was looked at without anything new.
        kinds, defaults: Of the open questions, as in `Rounds`.
        answered: Keys of the questions that were answered.
    """

    id: str
    looks: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answered: Sequence[str] = ()

    def to_json(self) -> Mapping[str, Any]:
        """Give the state that is recorded with the run."""
        return {
            "kind": TASKED,
            "id": self.id,
            "looks": self.looks,
            "kinds": dict(self.kinds),
            "defaults": {key: dict(value) for key, value in self.defaults.items()},
            "answered": list(self.answered),
        }


def is_task(state: Any) -> bool:  # noqa: ANN401  JSON
    """Tell whether a state is that of a task, which may be looked at as often as one likes."""
    return isinstance(state, Mapping) and state.get("kind") == TASKED


def _parse_tasked(state: Mapping[str, Any]) -> Tasked | None:
    identity, looks, answered = state.get("id"), state.get("looks"), state.get("answered")
    kinds, defaults = state.get("kinds"), state.get("defaults", {})
    if not isinstance(identity, str) or not isinstance(looks, int) or looks < 0:
        return None
    if not isinstance(kinds, dict) or not _is_texts(kinds) or not _is_tables(defaults):
        return None
    if not isinstance(answered, list) or not all(isinstance(one, str) for one in answered):
        return None
    return Tasked(id=identity, looks=looks, kinds=kinds, defaults=defaults, answered=answered)


def parse_state(state: Any) -> Rounds | Parked | Tasked | None:  # noqa: ANN401  JSON
    """Read the state of a call that has asked.

    Raises:
        InvalidInput: it is none that this process, or an earlier one, has handed out.
    """
    if state is None:
        return None
    match state:
        case {"kind": "rounds", "kinds": dict(kinds), "request_state": str() | None as opaque}:
            number, defaults = state.get("number"), state.get("defaults", {})
            is_sound = isinstance(number, int) and 1 <= number <= ROUNDS_MAX
            if is_sound and _is_texts(kinds) and _is_tables(defaults):
                return Rounds(kinds=kinds, request_state=opaque, number=number, defaults=defaults)
        case {"kind": "parked", "id": str(one), "asked": dict(asked), "answered": dict(answered)}:
            if is_id(one) and _is_texts(asked):
                return Parked(id=one, asked=asked, answered=answered)
        case {"kind": "task"}:
            tasked = _parse_tasked(state)
            if tasked is not None:
                return tasked
    what = "It must be the state that the call has answered with, unchanged."
    raise InvalidInput("The state is not one of a call.", faults=[Fault("/state", what)])


def _is_texts(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(part, str) for pair in value.items() for part in pair)


def _is_tables(value: Any) -> bool:  # noqa: ANN401  JSON
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


class NotDone(Exception):
    """The server has not begun with the call; it may be made again. The text says why."""


class Unwelcome(NotDone):
    """The server demands a login first; made again at once the call would be refused again."""


class BrokenOff(Exception):
    """The call left for the server, and what became of it is unknown. The text says why."""


class TimedOut(Exception):
    """The call took too long and was cancelled; what became of it is unknown."""
