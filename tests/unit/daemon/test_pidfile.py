from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agency.daemon.pidfile import claim_pid_file
from agency.errors import AlreadyRunning, PlaceNotWritable

HOLDER = """\
import sys, pathlib
from agency.daemon.pidfile import claim_pid_file
claim_pid_file(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_pid_file_holds_the_number_and_is_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agency.pid"

    held = claim_pid_file(path)

    assert f"{os.getpid()}\n" == path.read_text()
    held.release()
    assert not path.exists()


def test_stale_pid_file_is_taken_over_whatever_its_number(tmp_path: Path) -> None:
    path = tmp_path / "agency.pid"
    path.write_text("1\n" + "x" * 100)

    held = claim_pid_file(path)

    assert f"{os.getpid()}\n" == path.read_text()
    held.release()


def test_pid_file_of_a_live_process_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "agency.pid"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()

        with pytest.raises(AlreadyRunning) as caught:
            claim_pid_file(path)

        assert holder.pid == caught.value.pid
        holder.kill()
    claim_pid_file(path).release()


def test_file_that_took_the_place_of_ours_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "agency.pid"
    held = claim_pid_file(path)
    path.unlink()
    path.write_text("another daemon's")

    held.release()

    assert "another daemon's" == path.read_text()


def test_place_without_a_right_to_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PlaceNotWritable):
        claim_pid_file(tmp_path / "file" / "agency.pid")


def test_link_in_place_of_the_pid_file_is_refused(tmp_path: Path) -> None:
    """Whoever may write the folder could otherwise have another file overwritten."""
    (tmp_path / "agency.pid").symlink_to(tmp_path / "precious")

    with pytest.raises(PlaceNotWritable):
        claim_pid_file(tmp_path / "agency.pid")
