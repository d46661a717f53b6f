"""An event loop in a thread of its own, so that tests may be plain functions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for a thread that waits for them."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        """Run a coroutine to its end, and give what it returns or raise what it raises.

        Raises:
            TimeoutError: it takes longer than ``timeout_s``; it is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():  # the work itself has raised it
                raise
            future.cancel()
            raise TimeoutError(f"It has not ended within {timeout_s:g} s.") from None

    def call(self, callback: Any, *arguments: Any) -> None:  # noqa: ANN401  any function
        """Have a function called in the loop, and do not wait for it."""
        self._loop.call_soon_threadsafe(callback, *arguments)

    def is_current(self) -> bool:
        """Tell whether the caller is in the loop's own thread."""
        return threading.current_thread() is self._thread

    def close(self, *, timeout_s: float) -> None:
        """End the thread; one that does not end in time is left behind as a daemon thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
