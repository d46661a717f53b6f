from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Daemons, daemons_in


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with daemons_in(tmp_path) as started:
        yield started
