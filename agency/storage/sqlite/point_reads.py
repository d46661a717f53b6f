"""Reads of single rows by their id, gathered so that many share one hop to a reader's thread.

A hop costs more than the read. So what is asked for while a hop is under way goes together with
the next one, as writes do in a group commit. A question never joins the hop that is under way,
which may look at an older state than an answer that the caller has seen already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")

BATCH_IDS_MAX = 128
"""Rows of one hop: more keep the interpreter from the loop."""


class PointReads(Generic[Value]):
    """Finds values by id; at most one hop is under way."""

    def __init__(self, load: Callable[[Sequence[str]], Awaitable[Mapping[str, Value]]]) -> None:
        self._load = load
        # A future for each caller: one who leaves does not take the answer from the others.
        self._asked: dict[str, list[asyncio.Future[Value | None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, key: str) -> Value | None:
        """Find the value of an id as it is now; None if there is none.

        Raises:
            whatever loading raises.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Value | None] = loop.create_future()
        self._asked.setdefault(key, []).append(future)
        if self._task is None:
            self._task = loop.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        """Answer until nothing is asked any more."""
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                keys = list(asked)
                for start in range(0, len(keys), BATCH_IDS_MAX):
                    await self._answer(keys[start : start + BATCH_IDS_MAX], asked)
        finally:
            self._task = None

    async def _answer(
        self, keys: Sequence[str], asked: Mapping[str, list[asyncio.Future[Value | None]]]
    ) -> None:
        try:
            found = await self._load(keys)
        except Exception as error:  # noqa: BLE001  raised again by each who has asked
            for key in keys:
                _settle(asked[key], None, error)
            return
        for key in keys:
            _settle(asked[key], found.get(key), None)


def _settle(
    futures: Sequence[asyncio.Future[Value | None]], value: Value | None, error: Exception | None
) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
