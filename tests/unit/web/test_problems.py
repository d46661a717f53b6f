"""The table of statuses, and the documents made with it."""

from __future__ import annotations

import inspect

import pytest

from agency import errors
from agency.errors import AgencyError, Fault, InvalidInput, ShuttingDown, TokenMissing
from agency.web.problems import STATUSES, codes_by_status, problem_of, status_of, title_of

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, AgencyError) and kind.__module__ == errors.__name__
]


def test_every_error_has_a_status() -> None:
    assert set(KINDS) == set(STATUSES)


@pytest.mark.parametrize("kind", KINDS)
def test_statuses_tell_whose_fault_it_is(kind: type[AgencyError]) -> None:
    status = STATUSES[kind]

    if issubclass(kind, (errors.Unavailable, errors.Failed, errors.Corrupt)):
        assert status >= 500
    elif issubclass(kind, (errors.NotFound, errors.Conflict, errors.Forbidden)):
        assert 400 <= status < 600


def test_a_list_that_is_full_is_a_conflict_and_no_large_body() -> None:
    kinds = (errors.TooManyRules, errors.TooManySchedules, errors.TooManyDefinitions)

    assert {409} == {status_of(kind) for kind in kinds}


def test_an_error_of_another_room_has_its_parents_status() -> None:
    class LegNameTaken(errors.Conflict):
        code = "leg_name_taken"

    assert status_of(LegNameTaken) == 409


def test_data_and_faults_are_told() -> None:
    problem = problem_of(InvalidInput("Wrong.", faults=[Fault("/a", "No.")], hint="Try b."))

    assert (problem.status, problem.detail, problem.hint) == (422, "Wrong.", "Try b.")
    assert problem.faults == (Fault("/a", "No."),)


def test_headers_follow_from_the_error() -> None:
    assert problem_of(ShuttingDown()).headers == {"Retry-After": "5"}
    assert "WWW-Authenticate" in problem_of(TokenMissing()).headers


def test_titles_are_read_from_codes() -> None:
    assert title_of("run_not_found") == "Run not found"


def test_codes_are_grouped_by_status() -> None:
    kinds = (errors.RunNotFound, errors.RunEnded, errors.WorkflowNotFound, errors.RunNotFound)

    assert codes_by_status(kinds) == {
        404: ["run_not_found", "workflow_not_found"],
        409: ["run_ended"],
    }
