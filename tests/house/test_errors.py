"""The tree of errors: codes, hints, exit codes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator

import pytest

import agency
from agency.daemon.exits import EXIT_CODES, ExitCode, exit_code
from agency.errors import (
    AgencyError,
    AlreadyRunning,
    BindRefused,
    ConfigurationInvalid,
    DataDirectoryLocked,
    PortTaken,
    StoreBroken,
)

FIRST_LEVEL = AgencyError.__subclasses__()


def all_errors() -> list[type[AgencyError]]:
    for module in pkgutil.walk_packages(agency.__path__, "agency."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(_below(AgencyError), key=lambda kind: kind.__name__)


def _below(kind: type[AgencyError]) -> Iterator[type[AgencyError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("agency."):
            yield child
            yield from _below(child)


def test_every_error_has_a_code_of_its_own_in_snake_case() -> None:
    codes = Counter(kind.code for kind in all_errors())

    assert [] == [code for code, number in codes.items() if number > 1]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_every_hint_is_a_sentence() -> None:
    hints = {kind.__name__: kind.hint for kind in all_errors() if isinstance(kind.hint, str)}

    assert [] == [name for name, hint in hints.items() if hint and not hint.endswith((".", "`"))]


def test_every_kind_of_error_has_an_exit_code() -> None:
    known = set(EXIT_CODES)

    assert set() == {kind for kind in FIRST_LEVEL if kind.__module__ == "agency.errors"} - known - {
        kind for kind in FIRST_LEVEL if kind.code in {"not_done", "internal_error"}
    }


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ConfigurationInvalid("x"), ExitCode.USAGE),
        (BindRefused("x"), ExitCode.USAGE),
        (AlreadyRunning("x", 1), ExitCode.CONFLICT),
        (PortTaken("x", 1, ""), ExitCode.CONFLICT),
        (DataDirectoryLocked("x", 1), ExitCode.CONFLICT),
        (StoreBroken("x"), ExitCode.FAILED),
        (AgencyError("x"), ExitCode.FAILED),
    ],
)
def test_refused_starts_have_the_documented_exit_codes(error: AgencyError, wanted: int) -> None:
    assert wanted == exit_code(error)
