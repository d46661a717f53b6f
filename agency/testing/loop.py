"""An event loop in a thread of its own, so that tests may be plain functions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from agency.core.clock import monotonic_s

T = TypeVar("T")

STALL_S = 10.0
"""The loop is held up when it has not had a turn for so long."""
_AGENCY = str(Path(__file__).parents[1])
_LIBRARY = str(Path(asyncio.__file__).parents[1])


class LoopThread:
    """Runs coroutines for a thread that waits for them."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._is_stuck = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        """Run a coroutine to its end, and give what it returns or raise what it raises.

        Raises:
            TimeoutError: it takes longer than ``timeout_s``, and is cancelled; or the loop is held
                up by code that does not await, and the message says where.
            RuntimeError: called from the loop's own thread, by a step for example.
        """
        if self._is_stuck or threading.current_thread() is self._thread:
            work.close()
            if self._is_stuck:
                raise TimeoutError(
                    "The event loop is held up for ever; nothing can be asked of it."
                )
            raise RuntimeError("The harness cannot be asked by the code that it runs.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        until_s = monotonic_s() + timeout_s
        while True:
            beat = threading.Event()
            self._loop.call_soon_threadsafe(beat.set)
            done, _ = concurrent.futures.wait([future], timeout=min(timeout_s, STALL_S))
            if done:
                return future.result()
            if not beat.is_set():
                self._is_stuck = True
                raise TimeoutError(
                    f"Code has held up the event loop for {STALL_S:g} s, at {self._where()}. Does "
                    "it go on although it is told to leave, by `except BaseException` in a loop?"
                )
            if monotonic_s() >= until_s:
                future.cancel()
                raise TimeoutError(f"It has not ended within {timeout_s:g} s.")

    def _where(self) -> str:
        """Tell where the thread is, in code that is not Agency's if there is any."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        lines = traceback.extract_stack(frame) if frame is not None else []
        foreign = [line for line in lines if not line.filename.startswith((_AGENCY, _LIBRARY))]
        for line in reversed(foreign or lines):
            return f"{line.filename}:{line.lineno}"
        return "an unknown place"

    @property
    def is_stuck(self) -> bool:
        """The loop is held up for ever."""
        return self._is_stuck

    def is_current(self) -> bool:
        """Tell whether the caller is in the loop's own thread."""
        return threading.current_thread() is self._thread

    def close(self, *, timeout_s: float) -> None:
        """End the thread; one that does not end in time is left behind as a daemon thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(0 if self._is_stuck else timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        if not self._is_stuck:  # else nothing of it was closed, and nobody waits for its end
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
