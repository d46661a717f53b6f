"""Starts a command in the sandbox, and is killed while the sandbox is being made.

Run as ``python -m tests.integration.sandbox.dying_parent FOLDER``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings
from agency.ports.sandbox import Command
from agency.tools.sandbox.process import CommandProcess
from agency.tools.sandbox.sandbox import ChosenSandbox, make_sandbox


def _die(self: CommandProcess, pid: int) -> None:
    del self, pid
    os.kill(os.getpid(), signal.SIGKILL)


def make(folder: Path) -> ChosenSandbox:
    """Make a sandbox whose data directory is in a folder."""
    bubblewrap = os.environ.get("BWRAP", "")
    return make_sandbox(
        Settings(
            server=Server(data_dir=str(folder / "data")),
            sandbox=SandboxSettings(driver="bubblewrap", bubblewrap=bubblewrap),
        )
    )


async def main(folder: Path) -> None:
    sandbox = make(folder)
    await sandbox.ready()
    CommandProcess._enter = _die  # type: ignore[method-assign]  # dies where it would go on
    work = folder / "work"
    work.mkdir()
    line = "echo begun >> witness; sleep 60"
    process = await sandbox.start(Command(argv=["/bin/sh", "-c", line, str(work)], folder=work))
    await process.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
