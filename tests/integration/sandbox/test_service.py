"""The sandbox under the hardening of the shipped unit, which no test may need a manager for."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agency.domain.tool import Capability
from agency.tools.sandbox import diagnosis
from tests.integration.sandbox.cell import skip_without
from tests.integration.sandbox.service import NOBODY
from tests.tools_setup.bubblewrap import find_bubblewrap

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "packaging/systemd/agency.service"

HARMFUL = {
    "PrivateUsers",
    "ProcSubset",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelTunables",
    "ProtectProc",
    "RestrictNamespaces",
    "SystemCallFilter",
}


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A folder that ``nobody`` can reach, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="agency-state-", dir="/var/lib"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def python_for_nobody() -> str:
    """Find a Python of the daemon's version that is no part of anybody's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [os.path.realpath(sys.executable), shutil.which(version, path="/usr/bin") or ""]
    for one in candidates:
        if one and not one.startswith(("/root/", "/home/")):
            return one
    pytest.skip(f"{version} is only in a home, which ProtectHome= hides")


def report(variant: str, state_dir: Path) -> Any:
    if os.geteuid() != 0:
        pytest.skip("only root can set the restrictions of a unit by hand")
    if any(str(path).startswith(("/root/", "/home/")) for path in (ROOT, sys.prefix)):
        pytest.skip("the project is in a home, which ProtectHome= hides")
    if any(str(path).startswith(("/tmp/", "/var/tmp/")) for path in (ROOT, sys.prefix)):
        pytest.skip("the project is in a temporary folder, which PrivateTmp= hides")
    skip_without("bubblewrap")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [
            python_for_nobody(),
            "-m",
            "tests.integration.sandbox.service",
            variant,
            str(state_dir),
            find_bubblewrap() or "",
        ],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": ":".join([str(ROOT), *packages]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_the_unit_leaves_what_the_sandbox_needs() -> None:
    parsed = configparser.ConfigParser(strict=True, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's case matters
    parsed.read(UNIT)
    service = parsed["Service"]

    assert set() == HARMFUL & set(service)
    assert {"memory", "pids"} == set(service["Delegate"].split())
    assert {"AF_UNIX", "AF_NETLINK"} <= set(service["RestrictAddressFamilies"].split())


def test_the_sandbox_is_whole_under_the_units_hardening(state_dir: Path) -> None:
    told = report("shipped", state_dir)

    assert "bubblewrap" == told["driver"], told
    weak = {name for name, level in told["levels"].items() if level != "enforced"}
    # Memory takes a control group, which only a manager can delegate.
    assert {Capability.MEMORY} == weak, told
    assert told["met"]["proc"]
    assert [0, "42\n"] == told["plain"]
    assert [0, "42\n"] == told["hosts"]


def test_where_proc_cannot_be_mounted_commands_have_none_and_it_is_said(state_dir: Path) -> None:
    told = report("tunables", state_dir)

    assert "bubblewrap" == told["driver"], told
    assert not told["met"]["proc"]
    assert diagnosis.PROC in told["fix"]
    assert "mount proc" in told["tried"][0]
    assert "enforced" == told["levels"]["file_read"] == told["levels"]["processes"]
    assert [0, "42\n"] == told["plain"]
    assert [0, "42\n"] == told["hosts"]


def test_where_namespaces_are_forbidden_landlock_serves_and_it_is_said(state_dir: Path) -> None:
    skip_without("landlock")

    told = report("namespaces", state_dir)

    assert "landlock" == told["driver"], told
    assert diagnosis.SERVICE in told["tried"][0]
    assert "enforced" == told["levels"]["file_read"] == told["levels"]["network"]
    assert "partial" == told["levels"]["file_write"] == told["levels"]["memory"]
    assert [0, "42\n"] == told["plain"]
