"""Room on the disk: intake stops before the disk is full, so that running work can go on."""

from __future__ import annotations

import os
from pathlib import Path

from agency.core.clock import monotonic_s
from agency.errors import StoreFull

_LOOK_S = 1.0


class Space:
    """Watches the free space of the disk that the database is on, once per second at most."""

    def __init__(self, folder: Path, *, free_bytes_min: int) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._free_bytes = 0
        self._looked_at = float("-inf")

    def check(self) -> None:
        """Refuse intake while there is less free than the minimum.

        Raises:
            StoreFull: the disk has too little free.
        """
        if not self.has_enough():
            raise StoreFull(
                f"The disk of the data directory has {self._free_bytes} bytes free; "
                f"{self._free_bytes_min} are kept for the work that is running."
            )

    def has_enough(self) -> bool:
        """Tell whether intake is open as far as the free space is concerned."""
        if self._free_bytes_min <= 0:
            return True
        now = monotonic_s()
        if now - self._looked_at >= _LOOK_S:
            disk = os.statvfs(self._folder)
            self._free_bytes = disk.f_bavail * disk.f_frsize
            self._looked_at = now
        return self._free_bytes >= self._free_bytes_min
