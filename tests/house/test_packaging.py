"""The files that service managers, builders and people start from."""

from __future__ import annotations

import configparser
import os
import plistlib
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import tomli

from agency.config.load import load
from agency.config.schema import Settings
from agency.daemon.lifecycle import SPARE_DESCRIPTORS

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd/agency.service"
PLIST = ROOT / "packaging/launchd/com.theagency.daemon.plist"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=True, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's case matters
    parsed.read(UNIT)
    return parsed


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # The program that it names is not installed here; everything else is checked as it is.
    text = UNIT.read_text().replace("/opt/agency/bin/agency-daemon", sys.executable)
    (tmp_path / UNIT.name).write_text(text)

    done = subprocess.run(
        [analyze, "verify", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_unit_gives_steps_their_grace_and_connections_their_files(
    unit: configparser.ConfigParser,
) -> None:
    service, server = unit["Service"], Settings().server

    assert "notify" == service["Type"]
    assert float(service["TimeoutStopSec"]) > server.grace_s + 10
    assert int(service["LimitNOFILE"]) > server.connections_max + SPARE_DESCRIPTORS
    assert {"agency"} == {service[f"{kind}Directory"] for kind in ("State", "Logs", "Runtime")} | {
        service["User"]
    }


def test_plist_starts_the_guides_command_with_the_guides_paths() -> None:
    plist = plistlib.loads(PLIST.read_bytes())

    assert "com.theagency.daemon" == plist["Label"] == PLIST.stem
    arguments = plist["ProgramArguments"]
    assert "/usr/local/bin/agency-daemon" == arguments[0]
    assert "/usr/local/etc/agency/config.toml" == arguments[arguments.index("--config") + 1]
    assert "/usr/local/var/log/agency/stdout.log" == plist["StandardOutPath"]
    assert "/usr/local/var/log/agency/stderr.log" == plist["StandardErrorPath"]
    assert plist["ExitTimeOut"] > Settings().server.grace_s + 10
    assert 0o077 == plist["Umask"]


def test_commands_of_the_package_exist() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]

    for target in project["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(import_module(module), name)), target


def test_checked_in_configuration_differs_from_the_defaults_in_the_provider_only() -> None:
    shipped = load(ROOT / "config.toml", environ={})
    defaults = load(None, environ={"AGENCY_LLM__PROVIDER": "auto"}, current=ROOT / "nowhere")

    assert "auto" == shipped.settings.llm.provider
    assert defaults.settings.engine == shipped.settings.engine
    assert str(ROOT / "var") == shipped.settings.server.data_dir


def test_seed_that_is_printed_is_the_one_that_is_used() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")

    done = subprocess.run(
        [make, "--dry-run", "test"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    printed = re.findall(r"seed: (\d+)", done.stdout)
    assert 1 == len(printed)
    assert printed == re.findall(r"SEED=(\d+)", done.stdout)


@pytest.mark.parametrize(
    "word", ["setup", "check", "test", "soak", "bench", "conformance", "docs", "run"]
)
def test_make_knows_its_words(word: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")

    done = subprocess.run(
        [make, "--dry-run", word],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
