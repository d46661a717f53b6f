"""Which recorded failures an error names."""

from __future__ import annotations

from agency.engine.failure import STEPS_NAMED_MAX, failed_steps, note_beside, run_error, step_failed
from agency.errors import StepFailed


def failed(key: str) -> StepFailed:
    description = {"code": "error", "error_class": "OSError", "message": key, "details": None}
    return step_failed(description, key)


def raised(error: Exception, *, during: Exception, cause: Exception | None = None) -> Exception:
    """Raise an error while another one is worked off."""
    try:
        try:
            raise during
        except Exception:
            raise error from cause
    except Exception as found:
        return found


def test_step_names_itself() -> None:
    assert ["a#1"] == failed_steps(failed("a#1"))


def test_causes_are_named() -> None:
    error = raised(ValueError("no"), during=KeyError(), cause=failed("a#1"))

    assert ["a#1"] == failed_steps(error)


def test_what_an_error_came_out_of_is_its_cause() -> None:
    assert ["a#1"] == failed_steps(raised(ValueError("no"), during=failed("a#1")))


def test_failure_that_was_caught_is_not_named_by_the_step_that_failed_after_it() -> None:
    assert ["b#1"] == failed_steps(raised(failed("b#1"), during=failed("a#1")))


def test_failures_beside_are_named_in_their_order() -> None:
    error = failed("g#1.a/x#1")
    note_beside(error, [failed("g#1.b/x#1"), raised(ValueError(), during=failed("g#1.c/x#1"))])

    assert ["g#1.a/x#1", "g#1.b/x#1", "g#1.c/x#1"] == failed_steps(error)


def test_errors_that_name_each_other_are_named_once() -> None:
    one, two = failed("a#1"), failed("b#1")
    one.__cause__, two.__cause__ = two, one

    assert ["a#1", "b#1"] == failed_steps(one)
    assert [] == failed_steps(None)


def test_error_of_a_run_names_a_bounded_number() -> None:
    error = failed("g#1.0/x#1")
    note_beside(error, [failed(f"g#1.{n}/x#1") for n in range(1, STEPS_NAMED_MAX + 5)])

    assert STEPS_NAMED_MAX == len(run_error(error).steps)
