"""Nothing is left of a command whose daemon dies, not even while its sandbox is being made."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.daemons import ROOT
from tests.crash.remains import gone
from tests.integration.sandbox.dying_parent import make
from tests.tools_setup.bubblewrap import find_bubblewrap

TIMES = 4
GUARD_S = 60.0


@pytest.mark.skipif(find_bubblewrap() is None, reason="bubblewrap is not here")
async def test_command_does_not_begin_when_its_daemon_has_died(tmp_path: Path) -> None:
    for number in range(TIMES):
        folder = tmp_path / f"life-{number}"
        folder.mkdir()

        returncode = await asyncio.to_thread(_die, folder)
        await gone(folder, at_work=True)
        next_life = make(folder)
        await next_life.ready()

        assert returncode == -9
        await gone(folder)
        assert not (folder / "work" / "witness").exists()
        await next_life.close()


def _die(folder: Path) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.sandbox.dying_parent", folder],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BWRAP": find_bubblewrap() or ""},
        timeout=GUARD_S,
        check=False,
    ).returncode
