"""Topics: named places for events that are not for one run."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass


class TopicMode(StrEnum):
    """Who takes an event of a topic."""

    QUEUE = "queue"
    """Exactly one wait, the oldest that it fits."""
    BROADCAST = "broadcast"
    """All waits that it fits: those that are open, and later ones of runs that had been started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopicEvent:
    """An event to be published.

    Attributes:
        id: The same id twice in a topic counts once, as long as the first is kept.
        name: What waits ask for.
        payload: JSON value.
        expires_at: Until then it is kept for a wait that it fits.
    """

    id: str
    name: str
    payload: Any
    mode: TopicMode
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicEvent:
    """An event of a topic as the store has it.

    Attributes:
        number: Rises with each event; the order in which they were published.
        payload: JSON value; None once the event was taken: then the wait has it.
        is_taken: A wait has it, of a queue-style event; broadcasts are never taken.
        is_spreading: Not all waits that were open have been looked at yet.
    """

    number: int
    id: str
    topic: str
    name: str
    mode: TopicMode
    payload: Any
    created_at: datetime
    expires_at: datetime
    is_taken: bool
    is_spreading: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic that has events or waits.

    Attributes:
        events: How many are kept: neither taken nor expired, as far as was looked.
        size_bytes: Of their payloads.
        waits: How many waits are open for it; `WAITS_COUNTED_MAX` stands for that many or more.
    """

    name: str
    events: int
    size_bytes: int
    waits: int


WAITS_COUNTED_MAX = 1000
"""Waits of a topic are counted up to here: counting a million would hold up other readers."""
