"""Where events are kept that are not for one run.

Publishing and waiting never miss each other: each is one transaction that looks at what the other
has written, and no two transactions on one topic run at the same time. On SQLite there is one
writer; another store locks the row of the topic first. A wait for a topic's event is opened like
any other (`agency.ports.store.NewWait` with a target), and takes in the same commit what is there
for it.

**Queue-style** events are taken by exactly one wait: the oldest that they fit, else the first that
comes while they are kept. **Broadcasts** are taken by all open waits that they fit, and by later
ones of runs that had been started before, as long as they are kept. A run reads the broadcasts in
their order: its next wait for the same name with the same filter goes on after the one taken last,
so that a loop takes each of them once. A wait takes one event, the oldest that fits.

Looking at many waits is done in batches (`spread`), and what is left to do is part of the database:
nothing is lost when the daemon dies in between. Events of a topic reach waits in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from agency.core.records import dataclass
from agency.domain.topic import NewTopicEvent, Topic, TopicEvent

if TYPE_CHECKING:
    from agency.ports.store import Wake


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLimits:
    """How much a topic keeps: events that are neither taken nor expired, and their bytes."""

    events_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An event that was published, or had been before (``is_new`` False).

    Attributes:
        wakes: Runs whose waits have taken it so far.
        is_spreading: There are waits left to look at: call `TopicStore.spread`.
    """

    event_id: str
    is_new: bool
    wakes: Sequence[Wake]
    is_spreading: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What one batch came to; ``is_done`` when nothing is left to spread in any topic."""

    wakes: Sequence[Wake]
    is_done: bool


class TopicStore(Protocol):
    """Mailboxes that any run may wait at."""

    async def publish(
        self, topic: str, new: NewTopicEvent, *, limits: TopicLimits, now: datetime
    ) -> Published:
        """Put an event into a topic, and hand it to the waits that it is for.

        The same id twice counts once while the first is kept. At most
        ``limits.TOPIC_BATCH_ROWS_MAX`` waits are looked at; the rest is left to `spread`.

        Raises:
            TopicFull: it would have to be kept, and there is no room; nothing was done.
        """
        ...

    async def spread(self, *, limit: int, now: datetime) -> Spread:
        """Look at up to ``limit`` more waits for the oldest event that is still spreading."""
        ...

    async def has_spreading(self) -> bool:
        """Tell whether any event is still spreading; a read."""
        ...

    async def has_events(self) -> bool:
        """Tell whether any topic has an event, taken ones included; a read."""
        ...

    async def drop_expired(self, *, limit: int, now: datetime) -> int:
        """Delete up to ``limit`` events whose time is over, and tell how many."""
        ...

    async def get(self, topic: str) -> Topic:
        """Read one topic.

        Raises:
            TopicNotFound: it has no events, and nobody waits for one.
        """
        ...

    async def list(self, *, after: str | None, limit: int) -> Sequence[Topic]:
        """Read the topics by name; ``after`` is the name after which to go on (paging)."""
        ...

    async def events(
        self, topic: str, *, before: int | None, limit: int, now: datetime
    ) -> Sequence[TopicEvent]:
        """Read a topic's events that have not expired, newest first, taken ones as well."""
        ...
