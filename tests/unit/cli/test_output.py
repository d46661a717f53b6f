from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from agency import errors
from agency.cli.output import (
    EXIT_BY_ERROR,
    EXIT_BY_STATUS,
    LIVE,
    ExitCode,
    exit_code_of,
    has_colour,
)
from agency.cli.runs import STATUSES
from agency.client import make_error
from agency.domain import run


def leaves(root: type[errors.AgencyError]) -> Iterator[type[errors.AgencyError]]:
    yield root
    for kind in root.__subclasses__():
        yield from leaves(kind)


def test_every_error_but_bugs_has_its_place_in_the_table() -> None:
    """NotDone never leaves the engine, and InternalError is a bug of the daemon."""
    table = set(EXIT_BY_ERROR) - {errors.AgencyError}

    missing = {kind for kind in leaves(errors.AgencyError) if not table & set(kind.__mro__)}

    assert missing == {errors.AgencyError, errors.NotDone, errors.InternalError}


@pytest.mark.parametrize("kind", [*leaves(errors.AgencyError)], ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_that_is_no_success(kind: type[errors.AgencyError]) -> None:
    error = make_error(500, {"code": kind.code}, {})

    assert exit_code_of(error) not in {ExitCode.OK, ExitCode.INTERRUPTED}


def test_every_status_has_an_exit_code() -> None:
    assert set(run.RunStatus) == set(EXIT_BY_STATUS)
    assert set(run.RunStatus) == set(STATUSES)
    assert set(run.LIVE) == LIVE


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationInvalid, 2),
        (errors.RunNotFound, 3),
        (errors.TokenMissing, 4),
        (errors.DaemonUnreachable, 5),
        (errors.AnswerLost, 5),
        (errors.ShuttingDown, 5),
        (errors.NameTaken, 8),
        (errors.StoreFull, 1),
        (errors.ModelCrashed, 1),
    ],
)
def test_exit_codes_stay_what_they_are(kind: type[errors.AgencyError], code: int) -> None:
    assert exit_code_of(make_error(500, {"code": kind.code}, {})) == code


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_for_people_who_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())

    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())
