"""Empty databases: the schema is made once for each process, and copied.

To make it takes 25 ms of processor time and seventeen syncs, and most tests begin with one.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from agency.config.schema import Store
from agency.core.clock import SystemClock
from agency.storage.sqlite import upkeep


def database_at(path: Path) -> Path:
    """Put an empty database there, as a store that was opened and closed leaves it.

    One that is there already is left alone. Returns the path.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(_contents())
        path.chmod(0o600)
    return path


@cache
def _contents() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agency.db"
        settings = Store(free_bytes_min=0)
        upkeep.close(upkeep.connect(path, settings=settings, clock=SystemClock()))
        return path.read_bytes()
