"""Topics: events that are not for one run, and seeing that they reach everybody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from agency.config.schema import Engine as EngineSettings
from agency.core import ids, json
from agency.core.clock import Clock
from agency.core.limits import NAME_CHARACTERS_MAX, TOPIC_BATCH_ROWS_MAX, VALUE_BYTES_MAX
from agency.domain.topic import NewTopicEvent, Topic, TopicEvent, TopicMode
from agency.engine.timers import Timer
from agency.errors import Fault, InvalidInput, TopicFull, ValueTooLarge
from agency.ports.store import Store, Wake
from agency.ports.topic import Published, TopicLimits

log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""How often events whose time is over are deleted, while there are any."""
_BATCHES_MAX = 10
"""Transactions that the timer spends on topics before it looks at what else is due."""


class Topics:
    """Publish events, read topics, and hand events to those who wait for them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: EngineSettings,
        timer: Timer,
        woken: Callable[[str, Sequence[Wake]], None],
    ) -> None:
        """Hold the store; events that a dead daemon has left half spread are found by `sweep`.

        Args:
            store: Where topics are.
            clock: Dates events.
            settings: How long and how much topics keep.
            timer: Calls `sweep`.
            woken: Hands on what an event has woken of a run.
        """
        self._topics = store.topics
        self._clock = clock
        self._settings = settings
        self._timer = timer
        self._woken = woken
        self._is_spreading = True
        self._look_at: datetime | None = clock.now()
        self._published = 0

    async def publish(
        self,
        topic: str,
        payload: Any = None,  # noqa: ANN401  JSON value
        *,
        name: str | None = None,
        event_id: str | None = None,
        mode: TopicMode = TopicMode.QUEUE,
        keep_s: float | None = None,
    ) -> Published:
        """Publish an event; the same id twice counts once while the first is kept.

        Args:
            topic: Any name; it needs no making.
            payload: What waits are told.
            name: What waits ask for; by default the topic's own name.
            event_id: Made when it is not given.
            mode: Who takes it.
            keep_s: Seconds that it is kept for waits to come, above 0; by default and at most
                ``[engine] topic_keep_s``.

        Raises:
            InvalidInput: a name or the time cannot be used.
            ValueTooLarge: the payload is larger than one may be.
            TopicFull: it would have to be kept, and there is no room.
        """
        check_topic(topic)
        keep_max_s = self._settings.topic_keep_s
        if keep_s is not None and not 0 < keep_s <= keep_max_s:
            what = f"Above 0 and at most {keep_max_s:g} seconds are possible."
            raise InvalidInput(
                f"keep_s cannot be {keep_s:g}: {what}", faults=[Fault("keep_s", what)]
            )
        size_bytes = len(json.encode(payload))
        if size_bytes > VALUE_BYTES_MAX:
            raise ValueTooLarge("The payload", size_bytes, VALUE_BYTES_MAX)
        now = self._clock.now()
        new = NewTopicEvent(
            id=event_id or ids.new_id(),
            name=name or topic,
            payload=payload,
            mode=mode,
            created_at=now,
            expires_at=now + timedelta(seconds=keep_s or keep_max_s),
        )
        published = await self._publish(topic, new)
        self._published += 1
        self._tell(published.wakes)
        if published.is_spreading:
            self.spread()
        if self._look_at is None:
            self._look_at = now + timedelta(seconds=SWEEP_S)
            self._timer.expect(self._look_at)
        return published

    async def _publish(self, topic: str, new: NewTopicEvent) -> Published:
        limits = TopicLimits(
            events_max=self._settings.topic_events_max, bytes_max=self._settings.topic_bytes_max
        )
        now = self._clock.now()
        try:
            return await self._topics.publish(topic, new, limits=limits, now=now)
        except TopicFull:
            # Some may have expired since the last sweep.
            if not await self._topics.drop_expired(limit=TOPIC_BATCH_ROWS_MAX, now=now):
                raise
        return await self._topics.publish(topic, new, limits=limits, now=now)

    async def get(self, topic: str) -> Topic:
        """Read one topic. Raises: TopicNotFound."""
        return await self._topics.get(topic)

    async def list(self, *, after: str | None, limit: int) -> Sequence[Topic]:
        """Read the topics by name."""
        return await self._topics.list(after=after, limit=limit)

    async def events(self, topic: str, *, before: int | None, limit: int) -> Sequence[TopicEvent]:
        """Read a topic's events, newest first."""
        return await self._topics.events(topic, before=before, limit=limit, now=self._clock.now())

    def spread(self) -> None:
        """Take note that an event is to be handed to those who wait."""
        self._is_spreading = True
        self._timer.expect(self._clock.now())

    async def sweep(self, now: datetime) -> datetime | None:
        """Hand events on and delete what has expired, a few batches of it; the timer calls this.

        Returns:
            When it is to be called again, or None.
        """
        if self._is_spreading:
            await self._spread_some(now)
        if self._look_at is not None and self._look_at <= now:
            await self._drop_some(now)
        return now if self._is_spreading else self._look_at

    async def _spread_some(self, now: datetime) -> None:
        for _ in range(_BATCHES_MAX):
            self._is_spreading = False  # whoever asks from here on is not forgotten
            is_done = False
            try:
                if not await self._topics.has_spreading():
                    is_done = True
                    return
                spread = await self._topics.spread(limit=TOPIC_BATCH_ROWS_MAX, now=now)
                self._tell(spread.wakes)
                is_done = spread.is_done
            finally:
                self._is_spreading = self._is_spreading or not is_done
            if is_done:
                return

    async def _drop_some(self, now: datetime) -> None:
        for _ in range(_BATCHES_MAX):
            if await self._topics.drop_expired(limit=TOPIC_BATCH_ROWS_MAX, now=now) == 0:
                before = self._published
                has_more = await self._topics.has_events()
                # One that was published meanwhile was perhaps not yet to be seen.
                has_more = has_more or self._published > before
                self._look_at = now + timedelta(seconds=SWEEP_S) if has_more else None
                return

    def _tell(self, wakes: Sequence[Wake]) -> None:
        for wake in wakes:
            self._woken(wake.run_id, [wake])


def check_topic(topic: str) -> None:
    """Refuse what cannot be the name of a topic.

    Raises:
        InvalidInput: it is empty, too long, has characters that cannot be shown, or cannot be part
            of an address.
    """
    if not isinstance(topic, str) or not topic or len(topic) > NAME_CHARACTERS_MAX:
        raise InvalidInput(
            f"The name of a topic has 1 to {NAME_CHARACTERS_MAX} characters.",
            faults=[Fault("/topic", f"1 to {NAME_CHARACTERS_MAX} characters are needed.")],
        )
    if not topic.isprintable():
        raise InvalidInput(
            f"The topic {topic!r} cannot be used.",
            faults=[Fault("/topic", "Control characters are not possible.")],
        )
    if topic in {".", ".."}:
        # Callers take them out of addresses before they ask. Source: RFC 3986, section 5.2.4.
        raise InvalidInput(
            f"The topic {topic!r} cannot be used.",
            faults=[Fault("/topic", "It cannot be part of an address.")],
        )
