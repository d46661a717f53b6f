"""What the daemon does when it is sent a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Signals as events of the loop.

    Attributes:
        stop: Set by the first SIGTERM or SIGINT.
        hurry: Set by the second; the third ends the process at once, as if nobody caught it.
        hangup: Set by SIGHUP; whoever acts on it clears it.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.hangup = asyncio.Event()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals in the running loop until the end of the block."""
        loop = asyncio.get_running_loop()
        wanted: dict[signal.Signals, Callable[[signal.Signals], None]] = {
            **dict.fromkeys(_STOPPING, self._stop),
            signal.SIGHUP: self._hang_up,
        }
        for number, react in wanted.items():
            loop.add_signal_handler(number, react, number)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    def _stop(self, number: signal.Signals) -> None:
        if not self.stop.is_set():
            log.info("asked to stop", extra={"signal": number.name})
            self.stop.set()
            return
        log.warning("asked to stop again, now at once", extra={"signal": number.name})
        self.hurry.set()
        for other in _STOPPING:
            signal.signal(other, signal.SIG_DFL)

    def _hang_up(self, number: signal.Signals) -> None:
        self.hangup.set()
