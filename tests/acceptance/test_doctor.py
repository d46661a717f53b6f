"""``agency doctor`` on machines where something is wrong, and on one where nothing is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import daemons_in, free_port

AGENCY = Path(sys.executable).with_name("agency")

NAMES = [
    "configuration",
    "data directory",
    "disk",
    "sqlite",
    "daemon",
    "port",
    "model",
    "sandbox",
    "open files",
]


def doctor(folder: Path, config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "config.toml").write_text(config)
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PORT", "HOST"} and not name.startswith("AGENCY_")
    }
    return subprocess.run(
        [AGENCY, "doctor", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert NAMES == list(found)
    return found


def test_a_machine_where_all_is_well(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    done = doctor(
        tmp_path,
        '[llm]\nprovider = "rehearsal"\n[server]\nport = 0\n[sandbox]\ndriver = "none"\n',
        "--json",
    )

    found = findings(done)
    assert 0 == done.returncode, done.stderr
    assert "" == done.stderr
    assert json.loads(done.stdout)["good"]
    assert {"warning"} == {found["model"]["state"], found["sandbox"]["state"]}
    assert {"good"} == {found[name]["state"] for name in set(NAMES) - {"model", "sandbox"}}
    # It has only looked.
    assert ["config.toml"] == [path.name for path in tmp_path.iterdir()]


def test_each_thing_that_is_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = doctor(
            tmp_path,
            f'[server]\nport = {port}\n[llm]\nbase_url = "http://127.0.0.1:1"\n'
            '[sandbox]\ndriver = "bubblewrap"\nbubblewrap = "no-such-bwrap"\n',
            "--json",
        )

    found = findings(done)
    assert 1 == done.returncode
    bad = {name for name, one in found.items() if one["state"] == "bad"}
    assert {"data directory", "port", "model", "sandbox"} == bad
    assert all(found[name]["fix"] for name in bad)
    assert f"process {os.getpid()}" in found["port"]["what"]
    assert "no-such-bwrap" in found["sandbox"]["what"]
    assert "ollama does not answer at 127.0.0.1:1: " in found["model"]["what"]
    assert "unavailable" == json.loads(done.stdout)["sandbox"]["driver"]


def test_a_daemon_that_was_named_and_is_not_there_is_bad(tmp_path: Path) -> None:
    config = '[llm]\nprovider = "rehearsal"\n[server]\nport = 0\n[sandbox]\ndriver = "none"\n'

    done = doctor(tmp_path, config, "--url", "http://127.0.0.1:1", "--json")

    assert "bad" == findings(done)["daemon"]["state"]


def test_why_a_daemon_is_degraded_is_told(tmp_path: Path) -> None:
    port = free_port()
    config = (
        f'[server]\nport = {port}\n[llm]\nprovider = "ollama"\n'
        'base_url = "http://127.0.0.1:1"\n[sandbox]\ndriver = "none"\n'
    )
    (tmp_path / "config.toml").write_text(config)
    with daemons_in(tmp_path, AGENCY_LLM__PROVIDER="ollama") as daemons:
        daemons.start("--port", str(port))
        found = findings(doctor(tmp_path, config, "--json"))["daemon"]

    assert "warning" == found["state"]
    assert "is degraded, its model server is away: " in found["what"]


def test_what_is_required_and_not_there_is_bad(tmp_path: Path) -> None:
    done = doctor(
        tmp_path,
        '[llm]\nprovider = "rehearsal"\n[server]\nport = 0\n'
        '[sandbox]\ndriver = "none"\nrequire = ["network"]\n',
    )

    assert 1 == done.returncode
    line = next(line for line in done.stdout.splitlines() if " sandbox " in line)
    assert line.startswith("BAD")
    assert "require names network" in line


def test_all_faults_of_the_configuration_are_told(tmp_path: Path) -> None:
    done = doctor(tmp_path, '[sandbox]\ndriver = "docker"\nprocesses = 3\n')

    assert 1 == done.returncode
    assert 2 == sum(line.startswith("BAD      configuration") for line in done.stdout.splitlines())
    assert "'docker'" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    done = doctor(
        tmp_path,
        '[server]\nport = 0\ndata_dir = "/usr/agency"\n[llm]\nprovider="rehearsal"',
        "--json",
    )

    assert "bad" == findings(done)["data directory"]["state"]


def test_names_in_settings_that_mean_no_tool_are_told(tmp_path: Path) -> None:
    port = free_port()
    config = (
        f'[server]\nport = {port}\n[llm]\nprovider = "rehearsal"\n[sandbox]\ndriver = "none"\n'
        '[agents.writer]\ndeny = ["read_fil"]\nallow = ["git__status", "files"]\n'
    )
    (tmp_path / "config.toml").write_text(config)
    with daemons_in(tmp_path) as daemons:
        daemon = daemons.start("--port", str(port))
        found = findings(doctor(tmp_path, config, "--json"))["daemon"]
        daemon.terminate()
        log = "".join(daemon.communicate(timeout=60))

    assert "warning" == found["state"]
    assert found["what"].endswith("name what is no tool: [agents.writer] 'read_fil'")
    assert (
        "agents.writer.deny: there is no tool or toolset 'read_fil'; did you mean 'read_file'?"
        in log
    )
