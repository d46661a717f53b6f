"""Whether a failure is worth another try, and when."""

from __future__ import annotations

import math
import random

from agency.core.backoff import delay_s
from agency.core.json import NotJson
from agency.core.limits import RETRY_AFTER_S_MAX
from agency.core.records import dataclass
from agency.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    ModelBusy,
    ModelRefused,
    ModelReplyBroken,
    NotFound,
    Permanent,
    StepFailed,
)

NEVER: tuple[type[BaseException], ...] = (
    Permanent,
    InvalidInput,
    NotFound,
    Forbidden,
    Corrupt,
    LimitExceeded,
    Conflict,
    ModelRefused,
    NotJson,
    StepFailed,
)
"""Failures that no retry can mend, unless a policy names them in ``retry_on``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how fast a failed try is repeated; one policy object everywhere.

    Attributes:
        attempts: Tries in all, 1 or more.
        base_s: Seconds before the second try.
        factor: Each further delay is this many times the one before.
        cap_s: Longest delay in seconds.
        jitter: Full jitter: the delay is drawn evenly between 0 and that.
        retry_on: Only these classes are tried again; others fail at once.
        give_up_on: These are never tried again.
    """

    attempts: int = 3
    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 300.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"Retry(attempts={self.attempts}): 1 or more is needed")
        for name in ("base_s", "factor", "cap_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Retry({name}={value}): a number from 0 on is needed")


NO_RETRY = Retry(attempts=1)
MODEL_RETRY = Retry(attempts=3, base_s=0.5, cap_s=30.0, retry_on=(ModelBusy, ModelReplyBroken))


def is_worth_retrying(error: BaseException, policy: Retry) -> bool:
    """Decide by the class of the error alone."""
    if isinstance(error, policy.give_up_on) or not isinstance(error, policy.retry_on):
        return False
    named = tuple(kind for kind in policy.retry_on if kind is not Exception)
    return isinstance(error, named) or not isinstance(error, NEVER)


def is_run_worth_retrying(error: BaseException, policy: Retry) -> bool:
    """Decide whether a run is tried again that has ended with this error.

    Of a step that has failed the classes of its own exception count, by their recorded names.
    """
    if not isinstance(error, StepFailed):
        return is_worth_retrying(error, policy)
    kinds = {*error.kinds, StepFailed.__name__}
    named = {kind.__name__ for kind in policy.retry_on if kind is not Exception}
    if kinds & {kind.__name__ for kind in policy.give_up_on}:
        return False
    if kinds & named:
        return True
    return Exception in policy.retry_on and not error.is_permanent


def retry_after_of(error: BaseException) -> float:
    """Seconds that whoever refused has asked to be left alone, within bounds; 0 if it has not."""
    asked = getattr(error, "retry_after_s", None)
    if not isinstance(asked, int | float) or not asked > 0:
        return 0.0
    return float(min(asked, RETRY_AFTER_S_MAX))


def next_delay_s(
    error: BaseException, attempt: int, policy: Retry, source: random.Random
) -> float | None:
    """Decide what follows failed try number ``attempt`` (from 1).

    Returns:
        Seconds until the next try, or None: give up.
    """
    if attempt >= policy.attempts or not is_worth_retrying(error, policy):
        return None
    return pause_s(error, attempt, policy, source)


def pause_s(error: BaseException, attempt: int, policy: Retry, source: random.Random) -> float:
    """Seconds to wait after failed try number ``attempt`` (from 1), whatever the error.

    An error with ``retry_after_s`` sets the shortest pause, up to `RETRY_AFTER_S_MAX`.
    """
    delay = delay_s(
        attempt,
        base_s=policy.base_s,
        factor=policy.factor,
        cap_s=policy.cap_s,
        jitter=policy.jitter,
        source=source,
    )
    return max(delay, retry_after_of(error))
