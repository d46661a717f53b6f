"""A child that keeps and opens states of a workspace, and kills itself at one of its deeds.

Deeds are what the interpreter tells its audit hooks before it does it: files opened for writing,
renamed, removed, made. ``python -m … DATA_DIR RUN_ID KILL_AT SCRIPT``; with KILL_AT 0 it counts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.files.workspaces import open_workspaces
from agency.storage.sqlite.store import open_store

_NAMES = frozenset(
    {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod", "os.utime"}
)


class Deeds:
    """Counts deeds once it is armed, and kills the process before the one that was asked for."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0
        self.is_armed = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_armed:
            return
        is_deed = event in _NAMES
        if event == "open" and len(arguments) == 3 and isinstance(arguments[2], int):
            is_deed = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if is_deed:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


async def main(data_dir: Path, run_id: str, kill_at: int, script: str) -> None:
    """Do what the script says: ``keep`` changes from the first state, ``open`` goes back to it."""
    deeds = Deeds(kill_at)
    settings = StoreSettings(free_bytes_min=0)
    async with (
        open_store(data_dir / "agency.db", settings=settings, clock=SystemClock()) as store,
        open_workspaces(
            data_dir, versions=store.versions, bytes_max=1 << 24, files_max=1000
        ) as workspaces,
    ):
        workspace = workspaces.of(run_id)
        first, second = (data_dir / "versions").read_text().split()
        if script == "keep":
            folder = await workspace.open(first)
            change(folder)
            deeds.is_armed = True
            version = await workspace.keep()
            assert version == second or kill_at
        else:
            await workspace.open(first)
            deeds.is_armed = True
            await workspace.open(second)
            await workspace.open(first)
        deeds.is_armed = False
    sys.stdout.write(str(deeds.count))


def change(folder: Path) -> None:
    """Turn the first state into the second."""
    (folder / "same").chmod(0o755)
    (folder / "changed").write_text("two")
    (folder / "gone").unlink()
    (folder / "deep").mkdir()
    for number in range(3):
        (folder / f"deep/{number}").write_text(f"new {number}")
    (folder / "link").symlink_to("deep/1")
    (folder / "kind").unlink()
    (folder / "kind").mkdir()
    (folder / "kind/below").write_text("below")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
