"""Whatever runs beside others is seen to stop, and is heard when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(
    serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    *,
    name: str,
    grace_s: float,
    on_failure: Callable[[BaseException], None],
) -> AsyncIterator[None]:
    """Run ``serve`` beside the body; on exit ask it to stop, wait, then cancel it.

    A failure does not cancel the body, which may have to put things away first: it is told.

    Args:
        serve: Loop that returns soon after its event is set.
        name: Task name, as it appears in logs.
        grace_s: Seconds between asking and cancelling.
        on_failure: Called at once with what ``serve`` has raised.
    """
    stop = asyncio.Event()

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            on_failure(error)

    task = asyncio.get_running_loop().create_task(serve(stop), name=name)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task], timeout=grace_s)
        task.cancel()
        await asyncio.wait([task])
