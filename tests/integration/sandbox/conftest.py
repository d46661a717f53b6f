"""Cells: a sandbox for each driver that runs here, probed once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agency.tools.sandbox.choose import Choice
from agency.tools.sandbox.sandbox import ChosenSandbox, make_sandbox
from tests.integration.sandbox.cell import DRIVERS, Cell, settings_of, skip_without

_Known = tuple[Path, Choice]


@pytest.fixture(scope="session")
def probed() -> dict[str, _Known]:
    """What the probe of each driver has found: one for each test would take most of the time."""
    return {}


@pytest.fixture(params=DRIVERS)
async def cell(
    request: pytest.FixtureRequest,
    probed: dict[str, _Known],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Cell]:
    driver = str(request.param)
    skip_without(driver)
    if driver not in probed:
        data_dir = tmp_path_factory.mktemp(f"data-{driver}")
        first = make_sandbox(settings_of(driver, data_dir))
        await first.ready()
        probed[driver] = (data_dir, first.choice)
    data_dir, choice = probed[driver]
    assert driver == choice.name, choice
    settings = settings_of(driver, data_dir)
    made = make_sandbox(settings)
    sandbox = ChosenSandbox(settings.sandbox, made.surroundings, choice=choice)
    outside = tmp_path / "outside"
    folder = data_dir / "workspaces" / tmp_path.name
    outside.mkdir()
    folder.mkdir(parents=True)
    (outside / "canary").write_text("canary-4711")
    (outside / "canary").chmod(0o600)
    yield Cell(driver=driver, sandbox=sandbox, folder=folder, outside=outside)
    await sandbox.close()
