"""Counting syncs and written bytes: a preloaded library counts, this reads.

Counts do not depend on how fast the disk is today, which rates do. What is counted are the calls
that SQLite makes: ``fsync``, ``fdatasync``, and the bytes of ``pwrite``.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BENCH_COUNTS"
_FORM = struct.Struct("=QQQ")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a process has synced and written since its start."""

    syncs: int
    writes: int
    written_bytes: int


class Counted:
    """The counts of this process, if they are counted."""

    def __init__(self) -> None:
        path = os.environ.get(VARIABLE)
        self._mapped: mmap.mmap | None = None
        if path is not None:
            with Path(path).open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)

    def read(self) -> Counts | None:
        """Read the counts; None when nothing counts them."""
        if self._mapped is None:
            return None
        return Counts(*_FORM.unpack(self._mapped[: _FORM.size]))


def build_shim(folder: Path) -> Path | None:
    """Compile the counting library into ``folder``; None on a machine without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    return library if made.returncode == 0 else None


def counting_environ(shim: Path | None, counts_file: Path) -> dict[str, str]:
    """Make the counts file, and the variables with which a child counts into it."""
    if shim is None:
        return {}
    counts_file.write_bytes(bytes(_FORM.size))
    counts_file.chmod(0o666)  # a peer's server may have an account of its own
    return {"LD_PRELOAD": str(shim), VARIABLE: str(counts_file)}


def read_counts(counts_file: Path) -> Counts | None:
    """Read the counts of another process; None when they are not counted."""
    if not counts_file.exists():
        return None
    return Counts(*_FORM.unpack(counts_file.read_bytes()))
