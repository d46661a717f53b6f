"""Topics on SQLite; the promises are those of `agency.ports.topic.TopicStore`.

There is one writer, so that publishing and waiting are never at work at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.core.limits import TOPIC_BATCH_ROWS_MAX
from agency.core.records import dataclass
from agency.domain.filter import fits
from agency.domain.topic import WAITS_COUNTED_MAX, NewTopicEvent, Topic, TopicEvent, TopicMode
from agency.domain.wait import WaitOutcome
from agency.errors import TopicFull, TopicNotFound
from agency.ports.store import Wake
from agency.ports.topic import Published, Spread, TopicLimits
from agency.storage.sqlite import topic_mail, waits
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_BROADCAST_INLINE_BYTES_MAX = 1024
"""Payloads of broadcasts above this are kept once, not once for each wait that takes them."""

_NUMBER_MAX = (1 << 63) - 1

assert WAITS_COUNTED_MAX == 1000, "the statements count up to it"


@dataclass(frozen=True, slots=True)
class _NewEvent:
    """An event to be published, encoded."""

    new: NewTopicEvent
    payload: bytes
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Step:
    """What looking at one batch of waits for one event came to."""

    wakes: list[Wake]
    is_done: bool


class SqliteTopics:
    """Topics in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def publish(
        self, topic: str, new: NewTopicEvent, *, limits: TopicLimits, now: datetime
    ) -> Published:
        """Put an event into a topic; see `TopicStore.publish`."""
        self._space.check()
        form = _NewEvent(
            new, encode(new.payload), to_micros(new.created_at), to_micros(new.expires_at)
        )
        return await self._writer.submit(
            partial(_publish, topic=topic, form=form, limits=limits, now=to_micros(now))
        )

    async def spread(self, *, limit: int, now: datetime) -> Spread:
        """Look at more waits for the oldest event; see `TopicStore.spread`."""
        return await self._writer.submit(partial(_spread, limit=limit, now=to_micros(now)))

    async def has_spreading(self) -> bool:
        """Tell whether any event is still spreading; see `TopicStore.has_spreading`."""
        return await self._readers.one("find_spreading") is not None

    async def has_events(self) -> bool:
        """Tell whether any topic has an event; see `TopicStore.has_events`."""
        return await self._readers.one("find_any_topic_event") is not None

    async def drop_expired(self, *, limit: int, now: datetime) -> int:
        """Delete events whose time is over; see `TopicStore.drop_expired`."""
        found = await self._readers.one("list_expired_events", {"now": to_micros(now), "limit": 1})
        if found is None:
            return 0
        return await self._writer.submit(partial(_drop_expired, limit=limit, now=to_micros(now)))

    async def get(self, topic: str) -> Topic:
        """Read one topic; see `TopicStore.get`."""
        row = await self._readers.one("get_topic", (topic,))
        assert row is not None
        found = Topic(name=row[0], events=row[1], size_bytes=row[2], waits=row[3])
        if not (found.events or found.waits):
            known = await self._readers.one("find_topic", (topic,))
            if known is None:
                raise TopicNotFound(topic)
        return found

    async def list(self, *, after: str | None, limit: int) -> Sequence[Topic]:
        """Read the topics by name; see `TopicStore.list`."""
        found = await self._readers.all("list_topics", {"after": after or "", "limit": limit})
        return [
            Topic(name=name, events=events, size_bytes=size_bytes, waits=open_waits)
            for name, events, size_bytes, open_waits in found
        ]

    async def events(
        self, topic: str, *, before: int | None, limit: int, now: datetime
    ) -> Sequence[TopicEvent]:
        """Read a topic's events, newest first; see `TopicStore.events`."""
        parameters = {
            "topic": topic,
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
            "now": to_micros(now),
        }
        return [_event_of(row) for row in await self._readers.all("list_topic_events", parameters)]


def _publish(
    tx: Transaction, *, topic: str, form: _NewEvent, limits: TopicLimits, now: int
) -> Published:
    new = form.new
    if tx.one("find_topic_event", (topic, new.id)) is not None:
        return Published(event_id=new.id, is_new=False, wakes=(), is_spreading=False)
    tx.change("add_topic", (topic,))
    row = tx.one("find_topic", (topic,))
    assert row is not None, topic
    is_broadcast = new.mode is TopicMode.BROADCAST
    event = tx.insert(
        "insert_topic_event",
        {
            "topic": row[0],
            "mode": new.mode.value,
            "created_at": form.created_at,
            "expires_at": form.expires_at,
            "bytes": len(form.payload),
            "id": new.id,
            "name": new.name,
            "payload": (
                tx.keep(form.payload, _BROADCAST_INLINE_BYTES_MAX)
                if is_broadcast
                else tx.keep(form.payload)
            ),
        },
    )
    tx.change("count_topic", {"topic": row[0], "events": 1, "bytes": len(form.payload)})
    step = _Step([], is_done=False)
    if tx.one("find_spreading_of_topic", {"topic": row[0], "number": event}) is None:
        step = _look(tx, event, limit=TOPIC_BATCH_ROWS_MAX, now=now)
    _check_room(tx, topic, limits)
    return Published(event_id=new.id, is_new=True, wakes=step.wakes, is_spreading=not step.is_done)


def _check_room(tx: Transaction, topic: str, limits: TopicLimits) -> None:
    """Refuse what would have to be kept beyond the limits; the transaction is undone then."""
    row = tx.one("find_topic", (topic,))
    assert row is not None, topic
    _, events, size_bytes = row
    if events > limits.events_max:
        raise TopicFull(topic, f"{limits.events_max} events")
    if size_bytes > limits.bytes_max:
        raise TopicFull(topic, f"{limits.bytes_max} bytes")


def _spread(tx: Transaction, *, limit: int, now: int) -> Spread:
    found = tx.one("find_spreading")
    if found is None:
        return Spread(wakes=(), is_done=True)
    step = _look(tx, found[0], limit=limit, now=now)
    return Spread(wakes=step.wakes, is_done=step.is_done and tx.one("find_spreading") is None)


def _look(tx: Transaction, event: int, *, limit: int, now: int) -> _Step:
    """Look at the next waits for an event, and hand it to those that it fits."""
    row = tx.one("get_spreading", (event,))
    assert row is not None, event
    topic, topic_name, name, mode, spread_to, newest_wait, size_bytes, payload, expires_at = row
    is_queued = mode == TopicMode.QUEUE
    if is_queued and expires_at <= now:
        tx.change("set_spread", {"number": event, "spread_to": None})
        return _Step([], is_done=True)
    body = topic_mail.Body(tx, payload)
    found = tx.all(
        "list_topic_waits",
        {
            "topic": topic_name,
            "name": name,
            "after": spread_to,
            # A queue-style event is for all; to later waits broadcasts are given as they come.
            "last": _NUMBER_MAX if is_queued else newest_wait,
            "limit": limit,
        },
    )
    woken: list[int] = []
    for wait, run, show in found:
        if not fits(topic_mail.where_of(show), body.value):
            continue
        waits.resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
        woken.append(run)
        if is_queued:
            topic_mail.take_queued(tx, event, wait, topic=topic, size_bytes=size_bytes)
            return _Step(waits.wake_all(tx, woken, now=now), is_done=True)
        topic_mail.note_position(
            tx,
            run,
            wait,
            topic=topic_name,
            name=name,
            hashed=topic_mail.filter_hash(show),
            event=event,
        )
    is_done = len(found) < limit
    tx.change("set_spread", {"number": event, "spread_to": None if is_done else found[-1][0]})
    return _Step(waits.wake_all(tx, woken, now=now), is_done=is_done)


def _drop_expired(tx: Transaction, *, limit: int, now: int) -> int:
    found = tx.all("list_expired_events", {"now": now, "limit": limit})
    for number, topic, size_bytes, is_kept, blob in found:
        tx.change("delete_topic_event", (number,))
        if is_kept:
            tx.change("count_topic", {"topic": topic, "events": -1, "bytes": -size_bytes})
        if blob is not None:
            tx.change("delete_lonely_blob", {"hash": blob})
    for topic in {topic for _, topic, *_ in found}:
        tx.change("delete_empty_topic", {"topic": topic})
    return len(found)


def _event_of(row: Row) -> TopicEvent:
    (
        number,
        event_id,
        topic,
        name,
        mode,
        payload,
        created_at,
        expires_at,
        is_taken,
        is_spreading,
    ) = row
    return TopicEvent(
        number=number,
        id=event_id,
        topic=topic,
        name=name,
        mode=TopicMode(mode),
        payload=None if payload is None else decode(payload),
        created_at=from_micros(created_at),
        expires_at=from_micros(expires_at),
        is_taken=bool(is_taken),
        is_spreading=bool(is_spreading),
    )
