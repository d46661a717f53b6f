from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.cli.address import Address, find_daemon, make_url
from agency.config.load import Loaded, load

Find = Callable[..., Address]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "var"
    path.mkdir()
    return path


@pytest.fixture
def find(tmp_path: Path) -> Find:
    def find(url: str | None = None, token: str | None = None, **environ: str) -> Address:
        def read() -> Loaded:
            return load(None, environ=environ, current=tmp_path)

        return find_daemon(url, token, environ, read)

    return find


def test_command_line_wins_over_the_environment(find: Find) -> None:
    found = find("http://a", "one", AGENCY_URL="http://b", AGENCY_TOKEN="two")

    assert found == Address("http://a", "one", is_named=True)


def test_environment_wins_over_the_configuration(find: Find, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("this is broken and never read")

    found = find(AGENCY_URL="http://b", AGENCY_TOKEN="two")

    assert found == Address("http://b", "two", is_named=True)


def test_running_daemon_of_the_data_directory_is_found(find: Find, data_dir: Path) -> None:
    document = {"url": "http://127.0.0.1:4711", "pid": os.getpid()}
    (data_dir / "daemon.json").write_text(json.dumps(document))

    assert find() == Address("http://127.0.0.1:4711", None, is_named=False)


def test_file_of_a_dead_daemon_does_not_count(find: Find, data_dir: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    document = {"url": "http://127.0.0.1:4711", "pid": ended.pid}
    (data_dir / "daemon.json").write_text(json.dumps(document))

    assert find(PORT="8123").url == "http://127.0.0.1:8123"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1, "pid": 1}', '{"url": "x", "pid": -1}'])
def test_file_that_makes_no_sense_does_not_count(find: Find, data_dir: Path, text: str) -> None:
    (data_dir / "daemon.json").write_text(text)

    assert find().url == "http://127.0.0.1:8080"


def test_token_of_the_data_directory_is_shown_to_its_daemon_only(
    find: Find, data_dir: Path
) -> None:
    (data_dir / "token").write_text("agy_kept\n")

    assert find().token == "agy_kept"
    assert find("http://elsewhere").token is None
    assert find(AGENCY_TOKEN="other").token == "other"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("box.lan", "http://box.lan:80"),
    ],
)
def test_address_of_a_listening_daemon_can_be_asked(host: str, expected: str) -> None:
    assert make_url(host, 80) == expected
