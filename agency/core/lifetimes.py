"""Whatever runs beside others is seen to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(
    serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, name: str, grace_s: float
) -> AsyncIterator[None]:
    """Run ``serve`` beside the body; on exit ask it to stop, wait, then cancel it.

    Args:
        serve: Loop that returns soon after its event is set.
        name: Task name, as it appears in logs.
        grace_s: Seconds between asking and cancelling.

    Raises:
        BaseExceptionGroup: ``serve`` or the body failed; the other was stopped.
    """
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(stop), name=name)
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait([task], timeout=grace_s)
            task.cancel()
