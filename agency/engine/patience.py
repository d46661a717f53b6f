"""Reads that the engine's own work rests on: one that was cut off is made again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agency.errors import ReadTooLong

log = logging.getLogger(__name__)
T = TypeVar("T")


async def until_read(read: Callable[[], Awaitable[T]]) -> T:
    """Read, again and again while it takes too long: a slow disk is a wait, not a failure.

    Each try has the store's own time limit, so that none keeps the log from being copied.
    """
    while True:
        try:
            return await read()
        except ReadTooLong as error:
            log.warning("a read of the engine is made again", extra={"limit_s": error.timeout_s})
