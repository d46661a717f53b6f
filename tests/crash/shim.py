"""The preloaded library: built when first needed, and what the environment tells it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("shim.c")
BUILD_S = 60.0


def why_not() -> str | None:
    """Tell why the library cannot be used on this machine, or None."""
    if sys.platform != "linux":
        return "the preloaded library is for Linux"
    if shutil.which("gcc") is None:
        return "gcc is not there to build the preloaded library"
    return None


def build(folder: Path) -> Path:
    """Compile the library into ``folder``."""
    library = folder / "shim.so"
    flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(library)]
    command = ["gcc", *flags, str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, timeout=BUILD_S)
    return library


@dataclass(frozen=True, slots=True, kw_only=True)
class Shim:
    """What is played in one process; the fields are those that ``shim.c`` describes."""

    library: Path
    database: Path
    count: Path | None = None
    kill_sync: int | None = None
    kill_when: Literal["before", "after"] = "before"
    undo: Path | None = None
    full: Path | None = None
    eio: Path | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables for the process."""
        given = {
            "LD_PRELOAD": self.library,
            "SHIM_DATABASE": self.database,
            "SHIM_COUNT": self.count,
            "SHIM_KILL_SYNC": self.kill_sync,
            "SHIM_KILL_WHEN": self.kill_when,
            "SHIM_UNDO": self.undo,
            "SHIM_FULL": self.full,
            "SHIM_EIO": self.eio,
        }
        return {name: str(value) for name, value in given.items() if value is not None}


def read_count(path: Path) -> int:
    """Read how many syncs there have been."""
    return int(path.read_text().strip() or 0) if path.exists() else 0
