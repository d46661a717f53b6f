"""Which status a run's failure has for who waited for its result."""

from __future__ import annotations

import pytest

from agency.api.failed_runs import status_of_failure
from agency.domain.run import RunStatus


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("model_crashed", 502),
        ("model_unavailable", 502),
        ("model_interrupted", 502),
        ("model_reply_broken", 502),
        ("step_failed", 502),
        ("error", 502),
        ("crash", 502),
        ("store_full", 502),
        ("never_heard_of", 502),
        ("model_timed_out", 504),
        ("wait_timed_out", 504),
        ("timed_out", 504),
        ("invalid_input", 422),
        ("context_too_long", 422),
        ("value_too_large", 422),
        ("journal_full", 422),
        ("model_not_found", 422),
    ],
)
def test_codes_tell_whose_fault_it_is(code: str, status: int) -> None:
    assert status_of_failure(RunStatus.FAILED, code) == status
    assert status_of_failure(RunStatus.DEAD_LETTER, code) == status


def test_ends_that_somebody_wanted_have_their_own() -> None:
    assert status_of_failure(RunStatus.TIMED_OUT, "timed_out") == 504
    assert status_of_failure(RunStatus.CANCELLED, "cancelled") == 409
