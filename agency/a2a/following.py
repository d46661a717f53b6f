"""Following a run: its updates from the hub, as far as they say something of a task.

Each update is written once for all who follow the run, as the hub does for streams of updates.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import orjson

from agency.core import json
from agency.core.clock import from_micros, to_micros
from agency.core.records import dataclass
from agency.domain.content import DELIVERED
from agency.domain.run import ENDED, RunStatus
from agency.domain.update import Update, UpdateFilter, UpdateType
from agency.engine.channel import Dialect, Subscription
from agency.engine.updates import Updates
from agency.errors import ShuttingDown

INBOX_BYTES_MAX = 256 * 1024
"""Updates that wait for a slow reader; beyond it the rest is read from the store later."""

_TYPES = frozenset({UpdateType.STATUS, UpdateType.STEP, UpdateType.PROGRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An update that says something of a task.

    Attributes:
        number: Of the update.
        data: JSON value that belongs to it; None also when it is too large to be told.
        is_whole: ``data`` is all there is.
    """

    number: int
    type: UpdateType
    status: RunStatus
    key: str
    at: datetime
    data: Any
    is_whole: bool

    @property
    def is_end(self) -> bool:
        """The run has ended."""
        return self.type is UpdateType.STATUS and self.status in ENDED


def seen_of(update: Update) -> Seen | None:
    """Read an update; None when it says nothing of a task."""
    if not _is_told(update):
        return None
    return Seen(
        number=update.id,
        type=update.type,
        status=update.status,
        key=update.key,
        at=update.at,
        data=None if update.data is None else json.decode(update.data),
        is_whole=update.data is not None,
    )


def _is_told(update: Update) -> bool:
    if update.type is UpdateType.STEP:
        return update.key.startswith(DELIVERED)
    return update.type in _TYPES


def _write(update: Update) -> bytes:
    if not _is_told(update):
        return b""
    data = None if update.data is None else orjson.Fragment(update.data)
    told = [
        update.id,
        update.type,
        update.status,
        update.key,
        to_micros(update.at),
        data,
        update.data is not None,
    ]
    return json.encode(told) + b"\n"


def _read(piece: bytes) -> Iterator[Seen]:
    for line in piece.splitlines():
        number, kind, status, key, at, data, is_whole = json.decode(line)
        yield Seen(
            number=number,
            type=UpdateType(kind),
            status=RunStatus(status),
            key=key,
            at=from_micros(at),
            data=data,
            is_whole=is_whole,
        )


_DIALECT = Dialect(update=_write)
_WANTED = UpdateFilter(types=_TYPES)


class _Inbox:
    """Pieces that were handed out and not yet read."""

    def __init__(self) -> None:
        self.is_changed = asyncio.Event()
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def take(self, piece: bytes) -> bool:
        """Keep a piece; False when there is no room for more."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.is_changed.set()
        return self._size <= INBOX_BYTES_MAX

    def empty(self) -> Iterator[bytes]:
        """Take the pieces out, the oldest first."""
        while self._pieces:
            piece = self._pieces.popleft()
            self._size -= len(piece)
            yield piece


async def follow(hub: Updates, run_id: str, *, after: int) -> AsyncGenerator[Seen, None]:
    """Follow a run from the update after a number on, until it has ended or the daemon stops.

    Raises:
        RunNotFound: there is none.
        UpdatesAhead: there is no such number yet.
    """
    try:
        subscription = await hub.subscribe_run(run_id, _WANTED, _DIALECT, after=after)
    except ShuttingDown:
        return  # as for those who have begun before
    if subscription is None:
        return
    inbox = _Inbox()
    try:
        while not subscription.is_ended:
            # Closed when it is left, and not some time later.
            async with aclosing(_pieces(subscription, inbox)) as pieces:
                async for piece in pieces:
                    for seen in _read(piece):
                        yield seen
    finally:
        subscription.close()


async def _pieces(subscription: Subscription, inbox: _Inbox) -> AsyncGenerator[bytes, None]:
    """Give what was missed, and then what comes, until the inbox was full once."""
    missed = subscription.missed()
    try:
        async for piece in missed:
            yield piece
    finally:
        if isinstance(missed, AsyncGenerator):
            await missed.aclose()
    if subscription.attach(inbox.take):
        async with aclosing(_attached(subscription, inbox)) as pieces:
            async for piece in pieces:
                yield piece


async def _attached(subscription: Subscription, inbox: _Inbox) -> AsyncGenerator[bytes, None]:
    """Give what is put into an inbox until nothing more will be."""
    detached = asyncio.ensure_future(subscription.detached())
    detached.add_done_callback(lambda _: inbox.is_changed.set())
    try:
        while True:
            for piece in inbox.empty():
                yield piece
            if detached.done():
                break
            inbox.is_changed.clear()
            await inbox.is_changed.wait()
        for piece in inbox.empty():
            yield piece
    finally:
        detached.cancel()
