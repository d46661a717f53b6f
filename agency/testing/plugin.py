"""What pytest finds when Agency is installed: the fixture ``workflows``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agency.testing.harness import Harness


@pytest.fixture
def workflows() -> Iterator[Harness]:
    """Workflows under test: a real engine on a temporary database, and a clock to move."""
    from agency.testing.harness import Harness

    with Harness() as harness:
        yield harness
