"""The disks that are measured on, and how fast each syncs at the moment."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STAMP_SYNCS = 200
STAMP_BYTES = 4096
STAMP_LOOPS = 100_000
_RAM_DISK = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Place:
    """A disk to work on.

    Attributes:
        name: ``ram`` or ``disk``.
        folder: Empty folder on it, for this run of the benchmark.
    """

    name: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{'RAM disk' if self.name == 'ram' else 'disk'} {self.folder.parent}"

    def stamp(self) -> float:
        """Measure the sync of 4 KiB appended to a file: the median of 200, in milliseconds."""
        block = os.urandom(STAMP_BYTES)
        path = self.folder / "stamp"
        taken: list[float] = []
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for _ in range(STAMP_SYNCS):
                started_s = time.perf_counter()
                os.write(file, block)
                os.fdatasync(file)
                taken.append(time.perf_counter() - started_s)
        finally:
            os.close(file)
            path.unlink()
        return statistics.median(taken) * 1000


def stamp_processor() -> float:
    """Measure a fixed loop, in milliseconds of processor time.

    Two virtual processors are often one that computes by turns: beside other work the same loop
    takes twice as long, and so does everything else that is measured in processor time.
    """
    started_s = time.process_time()
    places: dict[int, int] = {}
    total = 0
    for number in range(STAMP_LOOPS):
        places[number & 1023] = number
        total += len(places)
    return (time.process_time() - started_s) * 1000


@contextmanager
def open_places() -> Iterator[Sequence[Place]]:
    """Give a folder on the RAM disk, if there is one, and one on the disk of ``$TMPDIR``."""
    with tempfile.TemporaryDirectory(prefix="agency-bench-") as on_disk:
        places = [_make_place("disk", on_disk)]
        if not (_RAM_DISK.is_dir() and os.access(_RAM_DISK, os.W_OK)):
            yield places
            return
        with tempfile.TemporaryDirectory(prefix="agency-bench-", dir=_RAM_DISK) as in_memory:
            yield [_make_place("ram", in_memory), *places]


def _make_place(name: str, folder: str) -> Place:
    path = Path(folder)
    path.chmod(0o711)  # a peer's server may have an account of its own
    return Place(name, path)
