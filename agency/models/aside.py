"""Work that the loop cannot spare the time for, such as importing a large library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def aside(function: Callable[[], T]) -> T:
    """Call a plain function in a thread of its own, which ends with it.

    Not the loop's default pool: its threads would stay for the life of the daemon. A cancelled
    caller does not wait; the function runs to its end all the same.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="aside")
    try:
        return await asyncio.wrap_future(thread.submit(function))
    finally:
        thread.shutdown(wait=False)
