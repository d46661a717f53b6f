"""Imports go down, have no effect, and are late where they are heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALL = """\
import importlib, pkgutil, sys, threading
import agency
before = threading.active_count()
for module in pkgutil.walk_packages(agency.__path__, "agency."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert threading.active_count() == before, threading.enumerate()
"""
LOADED = """\
import sys
sys.argv[1:] = {arguments}
try:
    from {module} import main
    main()
except SystemExit:
    pass
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
HEAVY = {"aiohttp", "aiosqlite", "asyncio", "daemon", "httpx", "jsonschema", "ollama", "pydantic"}


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_import_warns_or_starts_a_thread() -> None:
    python(ALL)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_daemon_command_loads_nothing_heavy_before_it_is_needed(arguments: list[str]) -> None:
    code = LOADED.format(arguments=arguments, module="agency.daemon.main")

    loaded = set(python(code).splitlines()[-1].split())

    assert set() == HEAVY & loaded


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = set(python("import agency, sys; print(*sys.modules)").split())

    assert set() == HEAVY & loaded


def test_rooms_import_downwards_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed (make setup)")

    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout
