"""Opening one thing after the other, and saying how long each took, both ways."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from agency.core.clock import monotonic_s

log = logging.getLogger(__name__)
_Opened = TypeVar("_Opened")


@asynccontextmanager
async def phase(name: str, opening: AbstractAsyncContextManager[_Opened]) -> AsyncIterator[_Opened]:
    """Enter a context and log the duration of its opening, and later of its closing."""
    started_s = monotonic_s()
    closing_s: float | None = None
    try:
        async with opening as opened:
            log.debug("opened", extra={"phase": name, "elapsed_s": _since(started_s)})
            try:
                yield opened
            finally:
                closing_s = monotonic_s()
    finally:
        # What could not be opened is not closed.
        if closing_s is not None:
            log.info("closed", extra={"phase": name, "elapsed_s": _since(closing_s)})


def _since(moment_s: float) -> float:
    return round(monotonic_s() - moment_s, 4)
