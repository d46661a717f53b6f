"""A peer: another program that has told who it is, what it can do and where it is reached."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass

PEERS_MAX = 1_000
"""Peers of one daemon: those that can do something are looked for among all of them."""

PEER_LISTS_MAX = 100
"""Services, protocols, kinds of messages and endpoints of one peer, each."""

PEER_METADATA_BYTES_MAX = 16 * 1024
"""What a peer tells of itself beside that, as JSON: lists of peers have all of it."""

HEARTBEAT_S = 30.0
"""A peer that says nothing else gives a sign of life so often."""

HEARTBEAT_S_MAX = 86_400.0
"""Longest time between two signs of life of a peer: a day."""

INTERVALS_MISSED = 3
"""A peer that has been silent for so many of its intervals is offline."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?"
_ID = re.compile(rf"({_PART}):({_PART}):({_PART})")


class PeerStatus(StrEnum):
    """How a peer is, as it says itself; but for OFFLINE, which its silence says."""

    ONLINE = "online"
    BUSY = "busy"
    IDLE = "idle"
    OFFLINE = "offline"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCapabilities:
    """What a peer can do.

    Attributes:
        metadata: JSON object, handed on unread.
    """

    services: Sequence[str] = ()
    protocols: Sequence[str] = ()
    message_types: Sequence[str] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer as it is kept.

    Attributes:
        id: ``namespace:name:instance``.
        owner: Name of the principal who has registered it, and alone may change it.
        endpoints: Addresses where it is reached.
        status: What it has said last; see `at` for what holds now.
    """

    id: str
    owner: str
    capabilities: PeerCapabilities
    endpoints: Sequence[str]
    heartbeat_interval_s: float
    status: PeerStatus
    registered_at: datetime
    last_seen_at: datetime

    def at(self, now: datetime) -> Peer:
        """Give the peer as it is now: one that has been silent for too long is offline."""
        silent = timedelta(seconds=self.heartbeat_interval_s * INTERVALS_MISSED)
        if self.last_seen_at + silent < now:
            return replace(self, status=PeerStatus.OFFLINE)
        return self


def parts_of(peer_id: str) -> tuple[str, str, str] | None:
    """Split ``namespace:name:instance``; None for what is no id of a peer."""
    found = _ID.fullmatch(peer_id)
    return None if found is None else (found[1], found[2], found[3])
