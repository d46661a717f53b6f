"""The preloaded library, built once; tests that need it are skipped where it cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import shim


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = shim.why_not()
    if reason is not None:
        pytest.skip(reason)
    return shim.build(tmp_path_factory.mktemp("shim"))
