"""The played power cut on a bare database: it loses what was not synced, and nothing else."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from tests.crash.daemons import GUARD_S
from tests.crash.power import Loss, cut_power
from tests.crash.shim import Shim, read_count

ROWS = 40
WRITER = """
import sqlite3, sys
path, synchronous = sys.argv[1:]
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute(f"PRAGMA synchronous = {synchronous}")
database.execute("PRAGMA wal_autocheckpoint = 20")
database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB)")
for number in range(40):
    database.execute("INSERT INTO rows VALUES (?, zeroblob(3000))", (number,))
    print(number, flush=True)
"""


@pytest.mark.parametrize("loss", get_args(Loss))
def test_acknowledged_rows_survive_a_power_cut_at_full(
    tmp_path: Path, library: Path, seed: int, loss: Loss
) -> None:
    source = random.Random(f"{seed} {loss}")
    database = tmp_path / "whole.db"
    count = tmp_path / "syncs"
    _write(Shim(library=library, database=database, count=count), "FULL")
    syncs = read_count(count)
    assert syncs > ROWS

    for number in source.sample(range(1, syncs + 1), 12):
        database = tmp_path / f"{number}.db"
        undo = tmp_path / f"{number}.undo"
        shim = Shim(library=library, database=database, kill_sync=number, undo=undo)
        acknowledged = _write(shim, "FULL")
        cut_power(database, undo, loss=loss, source=source)

        rows = _rows(database)

        # The row in the making may be there: it was written, and nobody was told.
        assert rows in {acknowledged, acknowledged + 1}, f"killed at sync {number}"


def test_power_cut_loses_acknowledged_rows_at_normal(tmp_path: Path, library: Path) -> None:
    lost = []
    # At NORMAL only checkpoints sync; which of their syncs this is differs between versions.
    for number in range(8, 14):
        database = tmp_path / f"{number}.db"
        undo = tmp_path / f"{number}.undo"
        shim = Shim(library=library, database=database, kill_sync=number, undo=undo)
        acknowledged = _write(shim, "NORMAL")
        cut_power(database, undo)
        lost.append(acknowledged - _rows(database))

    assert max(lost) > 1


def test_nothing_is_lost_without_a_power_cut(tmp_path: Path, library: Path) -> None:
    """A kill alone cannot tell what was synced: the system still has it all."""
    database = tmp_path / "rows.db"
    shim = Shim(library=library, database=database, kill_sync=12)

    acknowledged = _write(shim, "NORMAL")

    assert _rows(database) in {acknowledged, acknowledged + 1}


def _write(shim: Shim, synchronous: str) -> int:
    """Write rows until killed, and return how many were acknowledged."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(shim.database), synchronous],
        env=dict(shim.environ),
        capture_output=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode in {0, -9}, done.stderr
    return len(done.stdout.split())


def _rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == (0,):
            return 0
        (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
        return int(rows)
