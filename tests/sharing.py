"""Which of several processes does which tests: those that take long first, and one by one.

pytest-xdist shares out files, those with many tests first. Here the few that take long would come
last, and all others would wait for them: a page of the documentation is followed for as long as
some folders of unit tests take together.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadFileScheduling

LONG = (
    "tests/integration/api/test_schema_fuzz.py",
    "tests/docs/test_code_blocks.py",
    "tests/crash/",
    "tests/simulation/",
    "tests/faults/",
    "tests/acceptance/",
    "tests/integration/testing/",
    "tests/docs/",
    "tests/house/",
)
"""Where single tests take seconds, longest first."""
APART = LONG[:7]
"""Where tests have nothing in common: no fixture of theirs is wider than a test or all of them."""


class LongFirst(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Shares out files, and single tests where these take long."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)


def order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Put first what takes long; all else stays in order."""
    return sorted(items, key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    found = (place for place, start in enumerate(LONG) if nodeid.startswith(start))
    return next(found, len(LONG))
