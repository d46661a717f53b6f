import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core.backoff import delay_s
from agency.core.limits import RETRY_AFTER_S_MAX
from agency.engine.failure import describe, step_failed
from agency.engine.retry import (
    MODEL_RETRY,
    Retry,
    is_run_worth_retrying,
    is_worth_retrying,
    next_delay_s,
    pause_s,
)
from agency.errors import (
    InvalidInput,
    ModelBusy,
    ModelReplyBroken,
    NotDone,
    Permanent,
    StepFailed,
    Unavailable,
)

SOURCE = random.Random(1)


@pytest.mark.parametrize(
    ("error", "policy", "expected"),
    [
        (ValueError(), Retry(), True),
        (Unavailable("away"), Retry(), True),
        (NotDone("nothing happened"), Retry(), True),
        (Permanent("closed"), Retry(), False),
        (InvalidInput("wrong"), Retry(), False),
        (StepFailed("inner"), Retry(), False),
        (StepFailed("inner"), Retry(retry_on=(StepFailed,)), True),
        (Permanent("closed"), Retry(retry_on=(Permanent,)), True),
        (ValueError(), Retry(retry_on=(KeyError,)), False),
        (KeyError(), Retry(give_up_on=(LookupError,)), False),
        (ModelReplyBroken("cut"), MODEL_RETRY, True),
        (ModelBusy("full"), MODEL_RETRY, True),
        (ValueError(), MODEL_RETRY, False),
    ],
)
def test_class_of_the_error_decides(error: Exception, policy: Retry, *, expected: bool) -> None:
    assert expected is is_worth_retrying(error, policy)


def test_attempts_are_counted_from_one() -> None:
    policy = Retry(attempts=2, base_s=1.0, jitter=False)

    assert 1.0 == next_delay_s(ValueError(), 1, policy, SOURCE)
    assert next_delay_s(ValueError(), 2, policy, SOURCE) is None


def test_retry_after_sets_the_shortest_delay() -> None:
    error = Unavailable("later")
    error.retry_after_s = 30.0

    assert 30.0 == next_delay_s(error, 1, Retry(base_s=1.0), SOURCE)


@given(
    attempt=st.integers(1, 10_000),
    base_s=st.floats(0, 100),
    factor=st.floats(0, 10),
    cap_s=st.floats(0, 1e6),
    jitter=st.booleans(),
)
def test_delay_stays_within_its_cap(
    attempt: int, base_s: float, factor: float, cap_s: float, *, jitter: bool
) -> None:
    delay = delay_s(
        attempt, base_s=base_s, factor=factor, cap_s=cap_s, jitter=jitter, source=SOURCE
    )

    assert 0 <= delay <= cap_s


def failed_with(error: Exception) -> StepFailed:
    """What is raised when the recorded failure of a step is met again."""
    return step_failed(describe(error), "charge#1")


@pytest.mark.parametrize(
    ("error", "policy", "expected"),
    [
        (KeyError(), Retry(), True),
        (KeyError(), Retry(retry_on=(KeyError,)), True),
        (KeyError(), Retry(retry_on=(LookupError,)), True),
        (KeyError(), Retry(retry_on=(OSError,)), False),
        (KeyError(), Retry(retry_on=(StepFailed,)), True),
        (KeyError(), Retry(give_up_on=(LookupError,)), False),
        (Permanent("closed"), Retry(), False),
        (Permanent("closed"), Retry(retry_on=(Permanent,)), True),
    ],
)
def test_class_of_a_steps_error_decides_about_its_run(
    error: Exception, policy: Retry, *, expected: bool
) -> None:
    assert expected is is_run_worth_retrying(failed_with(error), policy)


def test_retry_after_is_known_of_a_step_when_its_run_is_tried_again() -> None:
    error = Unavailable("later")
    error.retry_after_s = 30.0

    assert 30.0 == pause_s(failed_with(error), 1, Retry(base_s=0), SOURCE)


@pytest.mark.parametrize("asked", [10**9, float("inf")])
def test_retry_after_of_a_slip_is_bounded(asked: float) -> None:
    error = Unavailable("later")
    error.retry_after_s = asked

    assert RETRY_AFTER_S_MAX == pause_s(error, 1, Retry(base_s=0), SOURCE)


@pytest.mark.parametrize("asked", [float("nan"), -1.0, "soon", None])
def test_retry_after_that_is_none_does_not_count(asked: object) -> None:
    error = OSError("down")
    error.retry_after_s = asked  # type: ignore[attr-defined]  # an author's own

    assert 0.0 == pause_s(error, 1, Retry(base_s=0), SOURCE)


@pytest.mark.parametrize(
    "faulty",
    [
        {"attempts": 0},
        {"base_s": -1.0},
        {"cap_s": -0.1},
        {"factor": float("nan")},
        {"cap_s": float("inf")},
    ],
)
def test_policy_that_makes_no_sense_is_refused(faulty: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Retry"):
        Retry(**faulty)  # type: ignore[arg-type]  # one wrong value each
