"""Channels and subscriptions: what those share who watch the same, and what each has for itself.

See `agency.engine.updates` for the whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.update import Update, UpdateFilter, UpdateType
from agency.engine.patience import until_read
from agency.errors import AgencyError
from agency.ports.updates import UpdatePage

CHUNK_BYTES_MAX = 32 * 1024
"""Frames are joined up to here, and a sink is asked for room after each piece."""
RING_BYTES_MAX = 256 * 1024
RING_FRAMES_MAX = 1024
"""Late frames that a channel keeps, for those that were detached for a moment."""
PAGES_MAX = 4
"""Pages that a channel keeps while some read on from the store."""

Sink = Callable[[bytes], bool]
"""Takes a piece; False when there is no room for more."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a model has just said in a step of a run, one token or several."""

    run_id: str
    step: str
    text: str


def _as_it_is(piece: bytes) -> bytes:
    return piece


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a kind of watchers is told.

    Subscriptions share what was written only if their dialects are equal: make them of functions
    that are made once.

    Attributes:
        update: Writes an update as a frame; empty when it is not told.
        token: Writes tokens as a frame; None when they are not told.
        wrap: Makes of joined frames what goes into the sink.
        has_runs: Updates are handed to ``update`` with their runs.
    """

    update: Callable[[Update], bytes]
    token: Callable[[Token], bytes] | None = None
    wrap: Callable[[bytes], bytes] = _as_it_is
    has_runs: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Joined frames; ``last`` is the number of the last of them."""

    last: int
    frames: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What was read of the store for those who have fallen behind.

    Attributes:
        seen: How far was looked.
        end: Number of the last change of status, and whether the run has ended with it.
    """

    pieces: Sequence[Piece]
    seen: int
    end: tuple[int, bool] | None


class Channel:
    """What all share who want to see the same in the same form.

    Attributes:
        floor: All that is to be seen above this number is in the ring; None until it is live.
        last_end: Number of the newest change of status that it has handed out, and whether that
            was the run's end.
        reading: How many read on from the store now.
    """

    def __init__(self, wanted: UpdateFilter, dialect: Dialect, run_id: str | None) -> None:
        self.wanted = wanted
        self.dialect = dialect
        self.run_id = run_id
        self.users = 0
        self.attached: dict[Subscription, None] = {}
        self.floor: int | None = None
        self.is_live = asyncio.Event()
        self.last_end = (0, False)
        self.reading = 0
        self._pages: dict[int, asyncio.Future[Page]] = {}
        self._ring: deque[tuple[int, bytes]] = deque()
        self._ring_bytes = 0

    def begin(self, position: int) -> None:
        """Be live: all looks from here on are handed out."""
        self.floor = position
        self.is_live.set()

    def write(self, updates: Iterable[Update]) -> Iterator[tuple[int, bytes]]:
        """Write those updates that are wanted, each as a frame with its number."""
        matches, update_frame = self.wanted.matches, self.dialect.update
        for update in updates:
            if matches(update):
                frame = update_frame(update)
                if frame:
                    yield update.id, frame

    def pieces(self, frames: Iterable[tuple[int, bytes]]) -> Iterator[Piece]:
        """Join frames, up to `CHUNK_BYTES_MAX` and one frame more."""
        joined: list[bytes] = []
        size = last = 0
        for last, frame in frames:
            joined.append(frame)
            size += len(frame)
            if size >= CHUNK_BYTES_MAX:
                yield Piece(last, len(joined), self.dialect.wrap(b"".join(joined)))
                joined, size = [], 0
        if joined:
            yield Piece(last, len(joined), self.dialect.wrap(b"".join(joined)))

    async def page(self, hub: Hub, after: int) -> Page:
        """Read on from the store: once for all who ask for the same, as many do after a restart.

        Raises:
            ShuttingDown: the store was closed.
        """
        found = self._pages.get(after)
        if found is None:
            while len(self._pages) >= PAGES_MAX:
                del self._pages[next(iter(self._pages))]
            found = asyncio.ensure_future(self._load(hub, after))
            found.add_done_callback(_look_at)
            self._pages[after] = found
        try:
            page = await asyncio.shield(found)
        except AgencyError:
            # Whoever asks again reads again.
            if self._pages.get(after) is found:
                del self._pages[after]
            raise
        if page.seen == after and self._pages.get(after) is found:
            # There was nothing new then; there may be now.
            del self._pages[after]
        return page

    async def _load(self, hub: Hub, after: int) -> Page:
        page = await until_read(lambda: hub.page(self, after=after))
        end = last_end(page.updates) if self.run_id is not None else None
        return Page(list(self.pieces(self.write(page.updates))), page.seen, end)

    def read_on(self, change: int) -> None:
        """Count those who read on; what was read for them is let go with the last."""
        self.reading += change
        if not self.reading:
            self._pages.clear()

    def hand_out(self, updates: Sequence[Update], before: int, seen: int) -> None:
        """Give what one look has found to all who are attached, and keep it for the others.

        Args:
            updates: What was found above ``before``, up to ``seen``.
            before: Where the look has begun.
            seen: Where it has ended.
        """
        frames = list(self.write(updates))
        self._keep(frames)
        end = last_end(updates) if self.wanted.run_number is not None else None
        if end is not None:
            self.last_end = end
        if self.attached:
            pieces = list(self.pieces(frames))
            for subscription in list(self.attached):
                if subscription.last > before:
                    # It has read on from the store, beyond where the look has begun.
                    rest = [frame for frame in frames if frame[0] > subscription.last]
                    subscription.take(list(self.pieces(rest)), seen)
                else:
                    subscription.take(pieces, seen)
                if end is not None and end[1]:
                    subscription.end()

    def say(self, token: Token) -> None:
        """Show tokens to all who are attached."""
        if self.attached and self.dialect.token is not None:
            piece = self.dialect.wrap(self.dialect.token(token))
            for subscription in list(self.attached):
                subscription.hear(piece)

    def since(self, number: int) -> list[tuple[int, bytes]]:
        """Find the frames above a number that is not below the floor."""
        return [frame for frame in self._ring if frame[0] > number]

    def covers(self, number: int) -> bool:
        """Tell whether all above the number is in the ring."""
        return self.floor is not None and number >= self.floor

    def _keep(self, frames: Sequence[tuple[int, bytes]]) -> None:
        ring = self._ring
        ring.extend(frames)
        self._ring_bytes += sum(len(frame) for _, frame in frames)
        while len(ring) > RING_FRAMES_MAX or self._ring_bytes > RING_BYTES_MAX:
            self.floor, frame = ring.popleft()
            self._ring_bytes -= len(frame)


def _look_at(page: asyncio.Future[Page]) -> None:
    """Take note of how a read has ended that nobody may wait for any more."""
    if not page.cancelled():
        page.exception()


def last_end(updates: Sequence[Update]) -> tuple[int, bool] | None:
    """Find the last change of status: its number, and whether the run has ended with it."""
    for update in reversed(updates):
        if update.type is UpdateType.STATUS:
            return update.id, update.is_end
    return None


class Hub(Protocol):
    """What a subscription needs of the hub."""

    async def page(self, channel: Channel, *, after: int) -> UpdatePage:
        """Read on for one that has fallen behind."""
        ...

    def leave(self, channel: Channel, subscription: Subscription) -> None:
        """Forget a subscription that is over."""
        ...


class Subscription:
    """One who watches. Close it when it is over.

    Read what was `missed`, then `attach` a sink, and wait until it is detached; again and again,
    until `is_ended`.

    Attributes:
        last: All up to this number was handed out.
        frames: How many frames were handed out, tokens left out.
        is_ended: The run has ended and its end was handed out, or the hub is closing.
    """

    def __init__(self, hub: Hub, channel: Channel, last: int) -> None:
        self.last = last
        self.frames = 0
        self.is_ended = False
        self._hub = hub
        self._channel = channel
        self._has_seen_end = False
        self._sink: Sink | None = None
        self._detached = asyncio.Event()
        self.wrap = channel.dialect.wrap

    async def missed(self) -> AsyncIterator[bytes]:
        """Read from the store, piece by piece, what is older than what the channel keeps.

        Raises:
            ShuttingDown: the store was closed.
        """
        channel = self._channel
        channel.read_on(1)
        try:
            while not channel.covers(self.last) and not self.is_ended:
                after = self.last
                page = await channel.page(self._hub, after)
                for piece in page.pieces:
                    self.last = piece.last
                    self.frames += piece.frames
                    yield piece.content
                if page.end is not None:
                    self._has_seen_end = page.end[1]
                self.last = page.seen
                if page.seen == after and not channel.covers(page.seen):
                    # All was read, and the channel was made in the middle of a look.
                    await channel.is_live.wait()
        finally:
            channel.read_on(-1)

    def attach(self, sink: Sink) -> bool:
        """Let all that comes go into the sink at once.

        False when there is more to be read before, or it was ended meanwhile.

        What the channel has kept above `last` goes first. The sink is called on the loop and must
        not block.
        """
        channel = self._channel
        if self.is_ended or not channel.covers(self.last):
            return False
        self._sink = sink
        self._detached.clear()
        channel.attached[self] = None
        number, is_end = channel.last_end
        # The end itself may have filled the sink: then it was handed out, and nothing follows it.
        if number >= self.last:
            self._has_seen_end = is_end
        self.take(list(channel.pieces(channel.since(self.last))), self.last)
        if self._has_seen_end:
            self.end()
        return True

    async def detached(self) -> None:
        """Wait until the sink has no room, or the stream has ended."""
        await self._detached.wait()

    def take(self, pieces: Sequence[Piece], seen: int) -> None:
        """Put pieces into the sink as long as there is room; called by the channel."""
        sink = self._sink
        assert sink is not None, "only those that are attached are handed anything"
        for piece in pieces:
            has_room = sink(piece.content)
            self.last = piece.last
            self.frames += piece.frames
            if not has_room:
                self.detach()
                return
        self.last = max(self.last, seen)

    def hear(self, piece: bytes) -> None:
        """Put tokens into the sink; called by the channel."""
        assert self._sink is not None, "only those that are attached are handed anything"
        if not self._sink(piece):
            self.detach()

    def end(self) -> None:
        """Let it be over, if all was handed out; one that was detached finds the end by itself."""
        if self in self._channel.attached:
            self.is_ended = True
            self.detach()

    def detach(self) -> None:
        """Hand out nothing more, until it is attached again."""
        self._channel.attached.pop(self, None)
        self._sink = None
        self._detached.set()

    def close(self) -> None:
        """Be over. May be called twice."""
        self.is_ended = True
        self.detach()
        self._hub.leave(self._channel, self)
