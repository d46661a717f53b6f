"""How a failure is recorded, raised and shown: the same live and on replay."""

from __future__ import annotations

from typing import Any

from agency.core import json
from agency.domain.run import RunError
from agency.engine.foreign import text_of
from agency.engine.retry import NEVER
from agency.errors import AgencyError, StepFailed, WaitTimedOut

_MESSAGE_CHARACTERS_MAX = 4000


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
    return description


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
    )


def failed_steps(error: BaseException | None) -> list[str]:
    """Keys of the recorded failures that an error names, along its chain of causes."""
    keys: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, StepFailed) and error.step and error.step not in keys:
            keys.append(error.step)
        error = error.__cause__ or error.__context__
    return keys
