"""What every store of peers promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.domain.peer import Peer, PeerCapabilities, PeerStatus
from agency.errors import PeerForeign, PeerNotFound, TooManyPeers
from agency.ports.store import Store
from tests.contract.conftest import Opener
from tests.contract.making import T0, at


def make_peer(peer_id: str = "a:b:1", **more: Any) -> Peer:
    told: dict[str, Any] = {
        "owner": "ann",
        "capabilities": PeerCapabilities(services=("search", "sum"), metadata={"n": [1, None]}),
        "endpoints": ("https://example.org/é",),
        "heartbeat_interval_s": 2.5,
        "status": PeerStatus.IDLE,
        "registered_at": T0,
        "last_seen_at": T0,
        **more,
    }
    return Peer(id=peer_id, **told)


async def test_peer_is_read_as_it_was_put(opener: Opener) -> None:
    async with opener() as store:
        kept, is_new = await store.peers.put(make_peer(), peers_max=1)

    async with opener() as store:
        assert kept == await store.peers.get("a:b:1")
    assert (kept, is_new) == (make_peer(), True)


async def test_peer_that_tells_anew_stays_registered_since_the_first_time(store: Store) -> None:
    await store.peers.put(make_peer(), peers_max=1)
    changed = make_peer(
        capabilities=PeerCapabilities(), status=PeerStatus.BUSY, registered_at=at(9),
        last_seen_at=at(9), endpoints=(), heartbeat_interval_s=9.0,
    )  # fmt: skip

    kept, is_new = await store.peers.put(changed, peers_max=1)

    assert (kept, is_new) == (replace(changed, registered_at=T0), False)


async def test_id_belongs_to_who_has_registered_it(store: Store) -> None:
    await store.peers.put(make_peer(), peers_max=5)

    with pytest.raises(PeerForeign):
        await store.peers.put(make_peer(owner="bob", endpoints=[]), peers_max=5)
    with pytest.raises(PeerForeign):
        await store.peers.touch("a:b:1", owner="bob", status=None, now=at(5))
    assert make_peer() == await store.peers.get("a:b:1")


async def test_there_are_so_many_peers_at_most(store: Store) -> None:
    await store.peers.put(make_peer("a:b:1"), peers_max=2)
    await store.peers.put(make_peer("a:b:2"), peers_max=2)

    with pytest.raises(TooManyPeers):
        await store.peers.put(make_peer("a:b:3"), peers_max=2)
    await store.peers.put(make_peer("a:b:2"), peers_max=2)


async def test_peers_are_listed_by_id_and_found_by_what_they_can_do(store: Store) -> None:
    able = PeerCapabilities(services=["sum"])
    for name in ("c", "a", "b"):
        capabilities = able if name != "b" else PeerCapabilities(services=["summary"])
        await store.peers.put(make_peer(f"n:{name}:1", capabilities=capabilities), peers_max=9)

    async def ids(service: str | None, after: str = "", limit: int = 9) -> list[str]:
        found = await store.peers.list(service=service, after=after, limit=limit)
        return [peer.id for peer in found]

    assert await ids(None) == ["n:a:1", "n:b:1", "n:c:1"]
    assert await ids(None, after="n:a:1", limit=1) == ["n:b:1"]
    assert await ids("sum") == ["n:a:1", "n:c:1"]
    assert await ids("su") == []


async def test_sign_of_life_is_noted_and_never_goes_back(store: Store) -> None:
    await store.peers.put(make_peer(), peers_max=1)

    touched = await store.peers.touch("a:b:1", owner="ann", status=PeerStatus.ERROR, now=at(60))
    again = await store.peers.touch("a:b:1", owner="ann", status=None, now=at(30))

    assert touched == replace(make_peer(), status=PeerStatus.ERROR, last_seen_at=at(60))
    assert again == touched


async def test_silent_peer_is_offline_after_three_intervals() -> None:
    peer = make_peer()

    assert peer.at(at(7.5)) == peer
    assert peer.at(at(7.6)).status is PeerStatus.OFFLINE


async def test_forgotten_peer_is_gone(store: Store) -> None:
    await store.peers.put(make_peer(), peers_max=1)

    await store.peers.delete("a:b:1")

    for call in (
        store.peers.get("a:b:1"),
        store.peers.delete("a:b:1"),
        store.peers.touch("a:b:1", owner="ann", status=None, now=T0),
    ):
        with pytest.raises(PeerNotFound):
            await call
