from __future__ import annotations

from pathlib import Path

import pytest

from agency.config.places import database_path, find_database, make_url

DATA = Path("/data")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:agency.db", "/data/agency.db"),
        ("sqlite:sub/agency.db", "/data/sub/agency.db"),
        ("sqlite://agency.db", "/data/agency.db"),
        ("sqlite:/srv/agency.db", "/srv/agency.db"),
        ("sqlite:///srv/agency.db", "/srv/agency.db"),
        ("SQLITE:agency.db", "/data/agency.db"),
        ("sqlite:a%20b.db", "/data/a b.db"),
        ("sqlite:~/a.db", "/home/u/a.db"),
    ],
)
def test_database_url_names_a_file_from_the_data_directory_on(url: str, wanted: str) -> None:
    found = find_database(url, DATA, home="/home/u")

    assert Path(wanted) == found
    assert found == database_path(make_url(found))
