"""How a failure is recorded, raised and shown: the same live and on replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from agency.core import json
from agency.domain.run import RunError
from agency.engine.foreign import text_of
from agency.engine.retry import NEVER, retry_after_of
from agency.errors import AgencyError, StepFailed, WaitTimedOut

_MESSAGE_CHARACTERS_MAX = 4000
_KINDS_MAX = 16
_BESIDE = "_agency_beside"

STEPS_NAMED_MAX = 1000
"""Failures that the error of a run names at most: it is part of the run's row."""


_ABOVE_ALL = (Exception, BaseException, object)


def describe(error: BaseException) -> dict[str, Any]:
    """Turn an error into the JSON object that a journal keeps of it."""
    message = text_of(error) or type(error).__name__
    description: dict[str, Any] = {
        "code": "error",
        "error_class": getattr(error, "error_class", "") or type(error).__name__,
        "message": message[:_MESSAGE_CHARACTERS_MAX],
        "details": None,
        "hint": "",
        "permanent": isinstance(error, NEVER),
    }
    if isinstance(error, StepFailed):
        description["code"] = error.error_code
        description["details"] = _plain(error.details)
    elif isinstance(error, AgencyError):
        description["code"] = error.code
        description["details"] = _plain(error.data)
        description["hint"] = text_of(error.hint)
    elif isinstance(error, TimeoutError):
        description["code"] = "timed_out"
    kinds = _kinds_of(error)
    if len(kinds) > 1:
        description["kinds"] = kinds
    retry_after_s = retry_after_of(error)
    if retry_after_s:
        description["retry_after_s"] = retry_after_s
    return description


def _kinds_of(error: BaseException) -> list[str]:
    """Names of the error's class and of those above it, for policies that name one of them."""
    if isinstance(error, StepFailed) and error.kinds:
        return list(error.kinds)
    known = (kind for kind in type(error).__mro__ if kind not in _ABOVE_ALL)
    return [kind.__name__ for kind in known][:_KINDS_MAX]


def _plain(data: object) -> object:
    """JSON of an error's data, whatever an author has put there."""
    try:
        return json.decode(json.encode(data)) or None
    except json.NotJson:
        return text_of(data)


def step_failed(description: dict[str, Any], key: str) -> StepFailed:
    """Make the error that the author sees of a recorded failure."""
    failed = StepFailed(
        description["message"],
        error_code=description["code"],
        error_class=description["error_class"],
        details=description["details"],
        step=key,
    )
    failed.hint = description.get("hint", "")
    failed.is_permanent = bool(description.get("permanent", False))
    failed.kinds = tuple(description.get("kinds") or (description["error_class"],))
    failed.retry_after_s = description.get("retry_after_s")
    return failed


def wait_timed_out(name: str, key: str) -> WaitTimedOut:
    """Make the error of a wait whose time limit came first."""
    return WaitTimedOut(
        f"Nothing came for {name!r} in time.",
        error_code="wait_timed_out",
        error_class="WaitTimedOut",
        step=key,
    )


def run_error(error: BaseException) -> RunError:
    """Turn what a run ended with into the error on its record."""
    description = describe(error)
    return RunError(
        code=description["code"],
        message=description["message"],
        error_class=description["error_class"],
        hint=description["hint"] or text_of(getattr(error, "hint", "")),
        step=getattr(error, "step", "") if isinstance(error, StepFailed) else "",
        details=description["details"],
        steps=tuple(failed_steps(error)[:STEPS_NAMED_MAX]),
    )


def note_beside(error: BaseException, others: Sequence[BaseException]) -> None:
    """Note that other branches have failed beside the one whose error is raised for all."""
    if others:
        vars(error)[_BESIDE] = tuple(others)


def failed_steps(error: BaseException | None) -> list[str]:
    """Keys of the recorded failures that an error names, along its chain of causes.

    What failed beside it in branches that nobody has looked at is named, too. A step that failed
    while the code worked off the failure of another names itself alone: that one was caught.
    """
    keys: dict[str, None] = {}
    seen: set[int] = set()
    waiting = deque([error])
    while waiting:
        error = waiting.popleft()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        if isinstance(error, StepFailed) and error.step:
            keys[error.step] = None
            waiting.append(error.__cause__)
        else:
            waiting.append(error.__cause__ or error.__context__)
        waiting.extend(vars(error).get(_BESIDE, ()))
    return list(keys)
