"""Measuring a stretch of work from inside the process that does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from bench.counts import Counted


class Meter:
    """Time, processor time, syncs and written bytes between two moments of this process."""

    def __init__(
        self,
        *,
        beside: Callable[[], float] | None = None,
        also: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        """Begin.

        Args:
            beside: Tells the processor time of a server that belongs to the work, in seconds.
            also: Tells what else is counted, by name.
        """
        self._counted = Counted()
        self._beside = beside or (lambda: 0.0)
        self._also: Callable[[], Mapping[str, int]] = also or dict
        self.start()

    def start(self) -> None:
        self._counts = self._counted.read()
        self._others = self._also()
        self._processor_s = time.process_time() + self._beside()
        self._started_s = time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """Tell what has passed since `start`: seconds, and counts where they are counted.

        Returns:
            ``elapsed_s``, ``processor_s`` (all threads, and the server beside), ``syncs`` and
            ``written_bytes``; the last two are None when nothing counts them.
        """
        elapsed_s = time.perf_counter() - self._started_s
        processor_s = time.process_time() + self._beside() - self._processor_s
        counts, before = self._counted.read(), self._counts
        others = self._also()
        return {
            **{name: others[name] - self._others[name] for name in others},
            "elapsed_s": elapsed_s,
            "processor_s": processor_s,
            "syncs": counts.syncs - before.syncs if counts and before else None,
            "written_bytes": (
                counts.written_bytes - before.written_bytes if counts and before else None
            ),
        }
