"""The lane: one bounded, fair queue in front of each model.

Ollama works off one request per model at a time and gives the others no sign of life, not even
headers. So we queue on our side, where waiting can be seen and cancelled and counts towards no
limit.

Order: interactive calls before background ones; within each, the keys (sessions or runs) take
turns, so that one busy session does not hold up the others. After `BACKGROUND_EVERY` interactive
calls in a row a waiting background call gets its turn, so that it moves in the end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agency.errors import ModelBusy
from agency.ports.model import Urgency

WAITING_MAX = 1024
"""Calls that wait for one model: four times the default of [engine] runs_max."""

BACKGROUND_EVERY = 8
"""Interactive calls in a row before a waiting background call is let through."""

RETRY_AFTER_S = 5.0


class Lane:
    """The queue of one model."""

    def __init__(self, model: str, *, places: int, waiting_max: int = WAITING_MAX) -> None:
        """Open the lane.

        Args:
            model: Name, for messages.
            places: Calls at once, 1 or more.
            waiting_max: Calls that may wait beside them.
        """
        assert places >= 1
        self._model = model
        self._free = places
        self._places = places
        self._waiting_max = waiting_max
        self._queues = {urgency: _Turns() for urgency in Urgency}
        self._interactive_in_row = 0

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def is_idle(self) -> bool:
        """Nobody works or waits here."""
        return self._free == self._places and self.waiting == 0

    @asynccontextmanager
    async def place(
        self, *, urgency: Urgency = Urgency.INTERACTIVE, turn_key: str = ""
    ) -> AsyncIterator[None]:
        """Wait for a place and hold it for the body.

        Raises:
            ModelBusy: the queue is full.
        """
        await self._enter(urgency, turn_key)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, urgency: Urgency, turn_key: str) -> None:
        if self._free > 0:
            # A place is never free while somebody waits: _leave hands it over.
            self._free -= 1
            return
        if self.waiting >= self._waiting_max:
            error = ModelBusy(
                f"{self._waiting_max} calls wait for the model {self._model!r} already.",
                hint="Send less at once, or raise [llm] concurrency.",
            )
            error.retry_after_s = RETRY_AFTER_S
            raise error
        queue = self._queues[urgency]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.add(turn_key, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                queue.discard(turn_key, turn)
            else:
                # The place was handed over in the moment of the cancel; pass it on.
                self._leave()
            raise

    def _leave(self) -> None:
        turn = self._next()
        if turn is None:
            self._free += 1
        else:
            turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        interactive = self._queues[Urgency.INTERACTIVE]
        background = self._queues[Urgency.BACKGROUND]
        if not (background and self._interactive_in_row >= BACKGROUND_EVERY):
            turn = interactive.take()
            if turn is not None:
                self._interactive_in_row += 1
                return turn
        self._interactive_in_row = 0
        return background.take() or interactive.take()


class Lanes:
    """The lanes of all models of one provider; a lane exists while it is used."""

    def __init__(self, *, places: int, waiting_max: int = WAITING_MAX) -> None:
        """Take the sizes of each lane, as in `Lane`."""
        self._places = places
        self._waiting_max = waiting_max
        self._lanes: dict[str, Lane] = {}

    @property
    def used(self) -> int:
        """Models with a call that works or waits."""
        return len(self._lanes)

    @asynccontextmanager
    async def place(
        self, model: str, *, urgency: Urgency = Urgency.INTERACTIVE, turn_key: str = ""
    ) -> AsyncIterator[None]:
        """Wait for a place at ``model`` and hold it for the body.

        Raises:
            ModelBusy: the queue of that model is full.
        """
        lane = self._lanes.get(model)
        if lane is None:
            lane = Lane(model, places=self._places, waiting_max=self._waiting_max)
            self._lanes[model] = lane
        try:
            async with lane.place(urgency=urgency, turn_key=turn_key):
                yield
        finally:
            # Requests name models freely, so lanes of unknown ones must not pile up.
            if lane.is_idle and self._lanes.get(model) is lane:
                del self._lanes[model]


class _Turns:
    """Futures that wait, by key; the keys take turns."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, turn: asyncio.Future[None]) -> None:
        self._by_key.setdefault(key, deque()).append(turn)
        self._count += 1

    def take(self) -> asyncio.Future[None] | None:
        while self._by_key:
            key, turns = self._by_key.popitem(last=False)
            turn = turns.popleft()
            self._count -= 1
            if turns:
                self._by_key[key] = turns
            # A cancelled waiter is still here until its coroutine has run; skip it.
            if not turn.done():
                return turn
        return None

    def discard(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._by_key.get(key)
        if turns is None or turn not in turns:
            return
        turns.remove(turn)
        self._count -= 1
        if not turns:
            del self._by_key[key]
