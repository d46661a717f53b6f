"""Queues: their limits, and what operators change at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.queue import Queue, QueueLimits


class QueueStore(Protocol):
    """Named queues. Each method is one atomic transaction, as in `agency.ports.store`.

    A queue is there as soon as it has limits or a run. That a run is claimed only within the
    limits is a promise of `RunStore.claim`.
    """

    async def configure(
        self, limits: Sequence[QueueLimits], *, workflows: Mapping[str, int], now: datetime
    ) -> None:
        """Set all limits anew: of these queues, and how many runs of a workflow are claimed.

        What is not named has no limit any more. Pauses stay, and so does what is left in a bucket
        of tokens, as far as it fits in. A queue that is not named, is not paused and has no runs is
        forgotten.
        """
        ...

    async def list(self, *, after: str | None, limit: int) -> Sequence[Queue]:
        """Read queues by name, those behind ``after``."""
        ...

    async def get(self, name: str) -> Queue:
        """Read one queue.

        Raises:
            QueueNotFound: there is none.
        """
        ...

    async def pause(self, name: str, *, now: datetime) -> None:
        """Let nothing of the queue be claimed, until it is resumed. Twice is the same as once.

        What is claimed already goes on; new runs are accepted.

        Raises:
            QueueNotFound: there is none.
        """
        ...

    async def resume(self, name: str) -> None:
        """Let the queue be claimed from. Nothing happens to one that is not paused.

        Raises:
            QueueNotFound: there is none.
        """
        ...
