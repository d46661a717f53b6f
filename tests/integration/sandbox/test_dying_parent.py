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


async def test_probe_leaves_nothing_and_holds_nothing_when_its_daemon_dies(tmp_path: Path) -> None:
    died = await asyncio.to_thread(_die_probing, tmp_path)

    assert died.returncode == -9
    async with asyncio.timeout(GUARD_S / 2):
        while Path(f"/proc/{int(died.stdout)}").exists():
            await asyncio.sleep(0.05)


def _die_probing(folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", _DYING_PROBE, folder],
        cwd=ROOT,
        capture_output=True,  # read to their ends: whoever holds them is waited for
        timeout=GUARD_S / 2,
        check=False,
    )


_DYING_PROBE = """
import os, signal, sys
from pathlib import Path
from agency.tools.sandbox import probe

with probe._targets(Path(sys.argv[1])) as targets:
    print(targets.victim.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A daemon that dies in the middle of its probe."""
