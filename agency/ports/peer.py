"""Where peers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.peer import Peer, PeerStatus


class PeerStore(Protocol):
    """Peers. Each method is one atomic transaction."""

    async def put(self, peer: Peer, *, peers_max: int) -> tuple[Peer, bool]:
        """Keep a peer, or what it tells anew; when it was registered first stays.

        Returns:
            What is kept now, and whether it is new.

        Raises:
            PeerForeign: another principal has registered the id; nothing was changed.
            TooManyPeers: there are ``peers_max`` others.
            StoreFull: nothing was kept.
        """
        ...

    async def get(self, peer_id: str) -> Peer:
        """Read one.

        Raises:
            PeerNotFound: there is none of that id.
        """
        ...

    async def list(self, *, service: str | None, after: str, limit: int) -> Sequence[Peer]:
        """Read peers by id, those after ``after``, and of them those that have the service."""
        ...

    async def touch(
        self, peer_id: str, *, owner: str, status: PeerStatus | None, now: datetime
    ) -> Peer:
        """Take note of a sign of life, and of how it says that it is.

        Raises:
            PeerNotFound: there is none of that id.
            PeerForeign: another principal has registered it; nothing was changed.
        """
        ...

    async def delete(self, peer_id: str) -> None:
        """Forget one, whoever has registered it.

        Raises:
            PeerNotFound: there is none of that id.
        """
        ...
