"""A sandbox with one driver, and a way to try things in it."""

from __future__ import annotations

import fcntl
import json
import os
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings
from agency.ports.sandbox import Bounds, Command, CommandEnd
from agency.tools.sandbox import layout
from agency.tools.sandbox.kernel import landlock_abi
from agency.tools.sandbox.sandbox import ChosenSandbox
from tests.tools_setup.bubblewrap import find_bubblewrap

GUARD_S = 30.0
LOCK_S = 10.0

DRIVERS = ("bubblewrap", "landlock")


def skip_without(driver: str) -> None:
    """Skip the test where its driver cannot be: the reason is told."""
    if driver == "bubblewrap" and find_bubblewrap() is None:
        pytest.skip("bwrap is not here, and could not be fetched")
    if driver == "landlock" and landlock_abi() == 0:
        pytest.skip("this kernel has no Landlock")


def settings_of(driver: str, data_dir: Path, **more: Any) -> Settings:
    program = find_bubblewrap() or ""
    return Settings(
        server=Server(data_dir=str(data_dir)),
        sandbox=SandboxSettings(driver=driver, bubblewrap=program, **more),  # type: ignore[arg-type]  # one of the names
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A sandbox, its workspace, and what must not be reached from it."""

    driver: str
    sandbox: ChosenSandbox
    folder: Path
    outside: Path

    def command(self, argv: Sequence[str], **more: Any) -> Command:
        bounds = more.pop("bounds", Bounds(timeout_s=GUARD_S, memory_bytes_max=256 << 20))
        return Command(argv=argv, folder=self.folder, bounds=bounds, **more)

    def python(self, code: str, *arguments: str, **more: Any) -> Command:
        argv = [str(layout.interpreter()), "-I", "-S", "-c", textwrap.dedent(code), *arguments]
        return self.command(argv, **more)

    async def run(self, code: str, *arguments: str, **more: Any) -> CommandEnd:
        """Run Python code inside."""
        return await self.sandbox.run(self.python(code, *arguments, **more))

    async def told(self, code: str, *arguments: str, **more: Any) -> Any:
        """Run Python code inside that prints JSON, and hand back what it printed."""
        end = await self.run(code, *arguments, **more)
        assert 0 == end.code, end
        return json.loads(end.output)

    async def tries(self, attempts: Mapping[str, str], **more: Any) -> dict[str, str]:
        """Try expressions inside; tell for each ``done``, or its error's name."""
        code = """
            import errno, json, os, socket, sys
            told = {}
            for name, text in json.loads(sys.argv[1]).items():
                try:
                    exec(text)
                    told[name] = "done"
                except OSError as error:
                    told[name] = errno.errorcode.get(error.errno, str(error))
            print(json.dumps(told))
            """
        found: dict[str, str] = await self.told(code, json.dumps(dict(attempts)), **more)
        return found


HOLD_LOCK = """
import fcntl, os, sys
def hold(path):
    file = open(path, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
"""
"""Code for the inside: a lock on a file of the workspace lives as long as its holder, and is seen
from outside, whatever numbers processes have there."""


def is_held(path: Path) -> bool:
    """Tell whether anyone holds the lock on a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_let_go(path: Path, limit_s: float = LOCK_S) -> bool:
    """Wait until nobody holds the lock any more."""
    until = time.monotonic() + limit_s
    while is_held(path):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def bounded(cell: Cell, **bounds: Any) -> Bounds:
    """Bounds of a test, with some of them changed."""
    return replace(Bounds(timeout_s=GUARD_S, memory_bytes_max=256 << 20), **bounds)
