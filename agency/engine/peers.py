"""Peers: programs of others that tell what they can do, and are looked up by it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from agency.core import json
from agency.core.clock import Clock
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.peer import (
    HEARTBEAT_S_MAX,
    PEER_LISTS_MAX,
    PEER_METADATA_BYTES_MAX,
    PEERS_MAX,
    Peer,
    PeerCapabilities,
    PeerStatus,
    parts_of,
)
from agency.errors import Fault, InvalidInput, PeerNotAllowed
from agency.ports.peer import PeerStore

URL_CHARACTERS_MAX = 2048
"""Longest address of a peer: what servers commonly take."""

_OFFLINE = "That a peer is offline is told by its silence; it says online, busy, idle or error."


class Peers:
    """Register, renew, find and forget peers. All methods raise the errors of ``agency.errors``."""

    def __init__(self, store: PeerStore, clock: Clock, *, allowed: Sequence[str]) -> None:
        """Take where they are kept, and patterns of the ids that may be there."""
        self._store = store
        self._clock = clock
        self._allowed = tuple(allowed)

    def check_allowed(self, peer_id: str) -> None:
        """Refuse a peer that this daemon does not speak with.

        Raises:
            PeerNotAllowed: no pattern of the settings fits.
        """
        if not any(fnmatchcase(peer_id, pattern) for pattern in self._allowed):
            raise PeerNotAllowed(peer_id[:NAME_CHARACTERS_MAX])

    async def register(
        self,
        peer_id: str,
        *,
        owner: str,
        capabilities: PeerCapabilities,
        endpoints: Sequence[str],
        heartbeat_interval_s: float,
        status: PeerStatus,
    ) -> tuple[Peer, bool]:
        """Keep a peer, or what it tells anew; it counts as a sign of life.

        Returns:
            The peer, and whether it is new.

        Raises:
            InvalidInput, PeerNotAllowed, PeerForeign, TooManyPeers, StoreFull.
        """
        faults = [
            *_faults_of_id(peer_id),
            *_faults_of(capabilities, endpoints, heartbeat_interval_s, status),
        ]
        if faults:
            detail = f"The peer is not valid: {faults[0].where}: {faults[0].what}"
            raise InvalidInput(detail, faults=faults)
        self.check_allowed(peer_id)
        now = self._clock.now()
        peer = Peer(
            id=peer_id,
            owner=owner,
            capabilities=capabilities,
            endpoints=tuple(endpoints),
            heartbeat_interval_s=float(heartbeat_interval_s),
            status=status,
            registered_at=now,
            last_seen_at=now,
        )
        return await self._store.put(peer, peers_max=PEERS_MAX)

    async def get(self, peer_id: str) -> Peer:
        """Read one as it is now. Raises: PeerNotFound."""
        return (await self._store.get(peer_id)).at(self._clock.now())

    async def list(self, *, service: str | None, after: str, limit: int) -> Sequence[Peer]:
        """Read peers by id as they are now, those that have the service, if one is named."""
        now = self._clock.now()
        found = await self._store.list(service=service, after=after, limit=limit)
        return [peer.at(now) for peer in found]

    async def heartbeat(
        self, peer_id: str, *, owner: str, status: PeerStatus | None = None
    ) -> Peer:
        """Take note of a sign of life.

        Raises:
            InvalidInput: it says that it is offline, which its silence says.
            PeerNotFound, PeerForeign.
        """
        if status is PeerStatus.OFFLINE:
            raise InvalidInput(_OFFLINE, faults=[Fault("/status", _OFFLINE)])
        return await self._store.touch(peer_id, owner=owner, status=status, now=self._clock.now())

    async def forget(self, peer_id: str) -> None:
        """Forget one. Raises: PeerNotFound."""
        await self._store.delete(peer_id)


def _faults_of_id(peer_id: str) -> Sequence[Fault]:
    if parts_of(peer_id) is not None:
        return ()
    what = "namespace:name:instance is needed, each of letters, digits, dots, dashes, underscores."
    return (Fault("/id", what, "For example research:librarian:1."),)


def _faults_of(
    capabilities: PeerCapabilities,
    endpoints: Sequence[str],
    heartbeat_interval_s: float,
    status: PeerStatus,
) -> Sequence[Fault]:
    faults = []
    told = capabilities
    lists = {
        "/capabilities/services": told.services,
        "/capabilities/protocols": told.protocols,
        "/capabilities/message_types": told.message_types,
        "/endpoints": endpoints,
    }
    for where, found in lists.items():
        if len(found) > PEER_LISTS_MAX:
            faults.append(Fault(where, f"{PEER_LISTS_MAX} are allowed."))
        longest = URL_CHARACTERS_MAX if where == "/endpoints" else NAME_CHARACTERS_MAX
        if not all(0 < len(one) <= longest and one.isprintable() for one in found):
            faults.append(Fault(where, f"Texts of 1 to {longest} characters are needed."))
    if len(json.encode(told.metadata)) > PEER_METADATA_BYTES_MAX:
        what = f"{PEER_METADATA_BYTES_MAX} bytes of JSON are allowed."
        faults.append(Fault("/capabilities/metadata", what))
    if not 0 < heartbeat_interval_s <= HEARTBEAT_S_MAX:
        what = f"Above 0 and at most {HEARTBEAT_S_MAX:g} seconds are needed."
        faults.append(Fault("/heartbeat_interval_s", what))
    if status is PeerStatus.OFFLINE:
        faults.append(Fault("/status", _OFFLINE))
    return faults
