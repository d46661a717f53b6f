import pytest

from agency.domain.run import ALLOWED, ENDED, LIVE, RunStatus, may_become


def test_each_status_is_live_or_ended() -> None:
    assert set(RunStatus) == LIVE | ENDED
    assert not LIVE & ENDED


@pytest.mark.parametrize("status", sorted(RunStatus))
def test_no_run_becomes_what_it_is(status: RunStatus) -> None:
    assert not may_become(status, status)


def test_only_a_claim_makes_a_run_running() -> None:
    assert {RunStatus.PENDING} == {s for s in RunStatus if may_become(s, RunStatus.RUNNING)}


def test_what_is_suspended_goes_on_through_pending_or_ends_unworked() -> None:
    assert {RunStatus.PENDING, RunStatus.CANCELLED, RunStatus.TIMED_OUT} == ALLOWED[
        RunStatus.SUSPENDED
    ]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.CANCELLED])
def test_some_ends_are_final(status: RunStatus) -> None:
    assert not ALLOWED[status]
