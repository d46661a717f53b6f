from __future__ import annotations

import logging
from pathlib import Path

import pytest

from agency.daemon.place import make_data_directory
from agency.errors import PlaceNotWritable


def test_data_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    make_data_directory(tmp_path / "a" / "var")

    assert 0o700 == (tmp_path / "a" / "var").stat().st_mode & 0o777


def test_data_directory_that_is_open_to_others_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o755)

    with caplog.at_level(logging.WARNING):
        make_data_directory(tmp_path)

    assert ["data directory is open to others"] == caplog.messages


def test_file_in_place_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")

    with pytest.raises(PlaceNotWritable):
        make_data_directory(tmp_path / "var")
