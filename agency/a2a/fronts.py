"""Everything behind the A2A door, opened when it is first needed.

Importing this module loads the SDK, which takes half a second: do it in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agency.a2a.cards import Cards, WrittenCard
from agency.a2a.jsonrpc import JsonRpc
from agency.a2a.operations import Ground, Pushing
from agency.a2a.places import CARD, agent_url
from agency.a2a.reception import Reception
from agency.a2a.resources import RESOURCES
from agency.a2a.rest import Rest
from agency.a2a.signing import open_signer
from agency.config.schema import Server
from agency.web.access import Access
from agency.web.answers import json_answer
from agency.web.etags import is_match
from agency.web.patience import Patience
from agency.web.published import Publication, Published
from agency.web.services import Services
from agency.web.sse import Streams

if TYPE_CHECKING:
    from agency.a2a.grpc import GrpcFront


class Fronts:
    """What answers at the door."""

    def __init__(self, reception: Reception, access: Access, server: Server) -> None:
        self._reception = reception
        self._access = access
        self._server = server
        self.jsonrpc = JsonRpc(reception).answer
        rest = Rest(reception)
        self.rest = [rest.answering(resource) for resource in RESOURCES]

    def for_grpc(self, streams: Streams) -> GrpcFront:
        """Make what answers over gRPC; its package must be installed."""
        from agency.a2a.grpc import GrpcFront

        host = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        base = self._reception.settings.base_url.rstrip("/")
        address = base or f"http://{host}:{self._server.port}"
        return GrpcFront(self._reception, self._access, streams, address=address)

    async def default_card(self, request: web.Request) -> web.StreamResponse:
        """Answer with the card of whoever is meant when nobody is named."""
        return self._card(request, self._reception.default())

    async def card(self, request: web.Request) -> web.StreamResponse:
        """Answer with somebody's card."""
        return self._card(request, self._reception.published(request.match_info["agent"]))

    async def keys(self, request: web.Request) -> web.StreamResponse:
        """Answer with the keys that the cards are signed with."""
        return json_answer(self._reception.cards.key_set, headers=self._caching)

    async def directory(self, request: web.Request) -> web.StreamResponse:
        """Answer with everybody who can be spoken to."""
        address = self._reception.address_of(request)
        agents = [_line(one, agent_url(address, one.name)) for one in self._reception.list()]
        return json_answer({"agents": agents})

    def _card(self, request: web.Request, published: Published) -> web.Response:
        card = self._reception.cards.written(published, self._reception.address_of(request))
        headers = {
            "Content-Type": "application/json",
            "ETag": card.etag,
            "Last-Modified": format_datetime(card.modified_at, usegmt=True),
            "Vary": "Host",
            **self._caching,
        }
        if _is_known(request, card):
            return web.Response(status=304, headers=headers)
        return web.Response(body=card.body, headers=headers)

    @property
    def _caching(self) -> dict[str, str]:
        return {"Cache-Control": f"public, max-age={self._reception.settings.card_max_age_s}"}


def _line(published: Published, url: str) -> dict[str, Any]:
    return {
        "name": published.name,
        "kind": str(published.kind),
        "description": published.description,
        "url": url,
        "card_url": url + CARD,
    }


def _is_known(request: web.Request, card: WrittenCard) -> bool:
    """Tell whether the caller has the card already. Source: RFC 9110, section 13.2.2."""
    condition = request.headers.get("If-None-Match")
    if condition is not None:
        return is_match(condition, card.etag)
    since = request.if_modified_since
    return since is not None and card.modified_at <= since


async def open_fronts(
    services: Services,
    publication: Publication,
    patience: Patience,
    pushing: Callable[[], Pushing] | None,
) -> Fronts:
    """Open everything behind the door.

    Raises:
        ConfigurationInvalid, SecretNotFound, VaultLocked, SecretBroken: the key that cards are
            signed with is not to be had.
    """
    settings = services.settings.a2a
    access = Access(services.settings.server, services.tokens)
    signer = await open_signer(settings, services.vault)
    push = await asyncio.to_thread(pushing) if pushing is not None else None
    cards = Cards(
        settings,
        services.clock,
        agents=services.agents,
        needs_token=access.needs_token,
        has_push=push is not None,
        signer=signer,
    )
    ground = Ground(services, patience, push)
    return Fronts(Reception(settings, publication, ground, cards), access, services.settings.server)
