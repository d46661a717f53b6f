"""Peers on SQLite; the promises are those of `agency.ports.peer.PeerStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.peer import Peer, PeerCapabilities, PeerStatus
from agency.errors import PeerForeign, PeerNotFound, TooManyPeers
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqlitePeers:
    """Peers in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def put(self, peer: Peer, *, peers_max: int) -> tuple[Peer, bool]:
        """Keep a peer; see `PeerStore.put`."""
        self._space.check()
        columns = {
            "id": peer.id,
            "owner": peer.owner,
            "capabilities": encode(asdict(peer.capabilities)),
            "endpoints": encode(list(peer.endpoints)),
            "heartbeat_interval_s": float(peer.heartbeat_interval_s),
            "status": peer.status.value,
            "registered_at": to_micros(peer.registered_at),
            "last_seen_at": to_micros(peer.last_seen_at),
        }
        row, is_new = await self._writer.submit(partial(_put, columns=columns, most=peers_max))
        return _peer_of(row), is_new

    async def get(self, peer_id: str) -> Peer:
        """Read one; see `PeerStore.get`."""
        row = await self._readers.one("find_peer", (peer_id,))
        if row is None:
            raise PeerNotFound(peer_id)
        return _peer_of(row)

    async def list(self, *, service: str | None, after: str, limit: int) -> Sequence[Peer]:
        """Read peers by id; see `PeerStore.list`."""
        parameters = {"service": service, "after": after, "limit": limit}
        return [_peer_of(row) for row in await self._readers.all("list_peers", parameters)]

    async def touch(
        self, peer_id: str, *, owner: str, status: PeerStatus | None, now: datetime
    ) -> Peer:
        """Take note of a sign of life; see `PeerStore.touch`."""
        columns = {
            "id": peer_id,
            "owner": owner,
            "status": None if status is None else status.value,
            "now": to_micros(now),
        }
        return _peer_of(await self._writer.submit(partial(_touch, columns=columns)))

    async def delete(self, peer_id: str) -> None:
        """Forget one; see `PeerStore.delete`."""
        await self._writer.submit(partial(_delete, peer_id=peer_id))


def _put(tx: Transaction, columns: Mapping[str, object], most: int) -> tuple[Row, bool]:
    peer_id = str(columns["id"])
    is_new = tx.one("find_peer", (peer_id,)) is None
    counted = tx.one("count_other_peers", (peer_id,))
    assert counted is not None
    if is_new and counted[0] >= most:
        raise TooManyPeers(most)
    row = tx.one("put_peer", columns)
    if row is None:
        raise PeerForeign(peer_id)
    return row, is_new


def _touch(tx: Transaction, columns: Mapping[str, object]) -> Row:
    row = tx.one("touch_peer", columns)
    if row is None:
        peer_id = str(columns["id"])
        is_there = tx.one("find_peer", (peer_id,)) is not None
        raise PeerForeign(peer_id) if is_there else PeerNotFound(peer_id)
    return row


def _delete(tx: Transaction, peer_id: str) -> None:
    if tx.change("delete_peer", (peer_id,)) == 0:
        raise PeerNotFound(peer_id)


def _peer_of(row: Row) -> Peer:
    peer_id, owner, capabilities, endpoints, interval_s, status, registered_at, last_seen_at = row
    told = decode(capabilities)
    return Peer(
        id=peer_id,
        owner=owner,
        capabilities=PeerCapabilities(
            services=tuple(told["services"]),
            protocols=tuple(told["protocols"]),
            message_types=tuple(told["message_types"]),
            metadata=told["metadata"],
        ),
        endpoints=tuple(decode(endpoints)),
        heartbeat_interval_s=float(interval_s),
        status=PeerStatus(status),
        registered_at=from_micros(registered_at),
        last_seen_at=from_micros(last_seen_at),
    )
