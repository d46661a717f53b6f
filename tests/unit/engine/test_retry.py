import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core.backoff import delay_s
from agency.engine.retry import MODEL_RETRY, Retry, is_worth_retrying, next_delay_s
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


@pytest.mark.parametrize("faulty", [{"attempts": 0}, {"base_s": -1.0}, {"cap_s": -0.1}])
def test_policy_that_makes_no_sense_is_refused(faulty: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Retry"):
        Retry(**faulty)  # type: ignore[arg-type]  # one wrong value each
