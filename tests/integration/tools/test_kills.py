"""A daemon that is killed while it keeps or opens a workspace loses nothing that was kept."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.tools.conftest import OpenPlace
from tests.integration.tools.killed_child import change
from tests.integration.tools.test_workspace import contents

SAMPLE = 8
ROOT = Path(__file__).parents[3]


def child(
    data_dir: Path, run_id: str, kill_at: int, script: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.integration.tools.killed_child",
            str(data_dir),
            run_id,
            str(kill_at),
            script,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize("script", ["keep", "open"])
async def test_kept_states_survive_a_kill_at_any_deed(
    open_place: OpenPlace,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    script: str,
    *,
    seed: int,
    is_soak: bool,
) -> None:
    async with open_place() as place:
        workspace, run_id = place.workspace, place.run_id
        folder = await workspace.open(None)
        for name in ("same", "changed", "gone", "kind"):
            (folder / name).write_text(f"{name} one")
        first = await workspace.keep()
        states = {first: contents(folder)}
        await workspace.open(first)
        change(folder)
        second = await workspace.keep()
        states[second] = contents(folder)
        await workspace.open(first)
    (tmp_path / "versions").write_text(f"{first} {second}")
    if script == "keep":
        # As if the second state had never been kept.
        for blob in (tmp_path / "files").glob("??/*"):
            if blob.parent.name + blob.name == second:
                blob.unlink()
    whole = tmp_path_factory.mktemp("whole") / "data"
    shutil.copytree(tmp_path, whole, symlinks=True)
    counted = child(_anew(whole, tmp_path), run_id, 0, script)
    assert 0 == counted.returncode, counted.stderr
    deeds = int(counted.stdout)
    assert deeds > 10
    points = list(range(1, deeds + 1))
    if not is_soak:
        points = sorted(random.Random(seed).sample(points, SAMPLE))

    for kill_at in points:
        killed = child(_anew(whole, tmp_path), run_id, kill_at, script)
        assert -signal.SIGKILL == killed.returncode, (kill_at, killed.stderr)
        async with open_place(run_id=run_id) as place:
            workspace = place.workspace
            folder = await workspace.open(first)
            assert states[first] == contents(folder), kill_at
            change(folder)
            assert second == await workspace.keep(), kill_at
            await workspace.open(first)
            assert states[first] == contents(folder), kill_at
            await workspace.open(second)
            assert states[second] == contents(folder), kill_at
            left = [path.name for path in (tmp_path / "files/new").iterdir()]
            assert [] == left, kill_at


def _anew(whole: Path, data_dir: Path) -> Path:
    """Put a data directory back to what it was."""
    for path in data_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(whole, data_dir, symlinks=True, dirs_exist_ok=True)
    return data_dir
