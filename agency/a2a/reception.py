"""Finds who is spoken to, and notes who speaks: what all transports do with a request first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from a2a.server.context import ServerCallContext
from a2a.types import a2a_pb2 as pb
from aiohttp import web
from google.protobuf.message import Message

from agency.a2a.calls import HEADERS_KEY, Call, Caller, Operation, Target
from agency.a2a.cards import Cards
from agency.a2a.negotiation import (
    EXTENSIONS,
    LEGACY_EXTENSIONS,
    VERSION,
    extensions_of,
    version_of,
)
from agency.a2a.operations import ADDRESS, Ground, Operations
from agency.a2a.operations import VERSION as VERSION_KEY
from agency.a2a.places import address_of
from agency.config.schema import A2a
from agency.core.names import DEFAULT_AGENT
from agency.domain.principal import Principal
from agency.errors import NotPublished
from agency.web.answers import principal_of
from agency.web.published import Publication, Published


class Reception:
    """Makes calls of requests."""

    def __init__(
        self, settings: A2a, publication: Publication, ground: Ground, cards: Cards
    ) -> None:
        self.settings = settings
        self.cards = cards
        self._publication = publication
        self._ground = ground

    def list(self) -> list[Published]:
        """List everybody who can be spoken to, by name."""
        return list(self._publication.list())

    def published(self, name: str) -> Published:
        """Find somebody by name.

        Raises:
            NotPublished: nobody has it.
        """
        return self._publication.get(name)

    def default(self) -> Published:
        """Find who is meant when nobody is named.

        Raises:
            NotPublished: nobody is published, or not whom the settings name.
        """
        wanted = self.settings.default_agent
        if wanted:
            return self._publication.get(wanted)
        everybody = self._publication.list()
        for one in everybody:
            if one.name == DEFAULT_AGENT:
                return one
        if not everybody:
            raise NotPublished(DEFAULT_AGENT)
        return everybody[0]

    def target(self, published: Published) -> Target:
        """Make what calls to somebody go to."""
        return Target(
            published=published,
            operations=Operations(self._ground, published),
            extended_card=partial(self._extended_card, published),
        )

    def target_of(self, request: web.Request) -> Target:
        """Find who is spoken to by a request's path.

        Raises:
            NotPublished: nobody has the name.
        """
        return self.target(self.published(request.match_info["agent"]))

    def address_of(self, request: web.Request) -> str:
        """Give the address under which the caller reaches this daemon.

        Raises:
            HostRefused: the request is addressed to no host.
        """
        return address_of(request, self.settings.base_url)

    def version_of(self, request: web.Request) -> str:
        """Tell the version that a request is in.

        Raises:
            VersionNotSupportedError: it is not served.
        """
        return version_of(
            request.headers.get(VERSION),
            request.query.get(VERSION) if request.query_string else None,
            offers_v03=self.settings.v03,
        )

    def call(
        self,
        request: web.Request,
        target: Target,
        operation: Operation,
        params: Message,
        *,
        version: str,
    ) -> Call:
        """Make the call that an HTTP request asks for."""
        headers = request.headers
        named = extensions_of(
            [*headers.getall(EXTENSIONS, ()), *headers.getall(LEGACY_EXTENSIONS, ())]
        )
        return self.make_call(
            target,
            operation,
            params,
            principal=principal_of(request),
            extensions=named,
            state={
                ADDRESS: self.address_of(request),
                VERSION_KEY: version,
                HEADERS_KEY: headers,
            },
            tenant=request.match_info.get("tenant", ""),
        )

    def make_call(
        self,
        target: Target,
        operation: Operation,
        params: Message,
        *,
        principal: Principal,
        extensions: frozenset[str],
        state: Mapping[str, object],
        tenant: str = "",
    ) -> Call:
        """Make a call."""
        context = ServerCallContext(
            state=dict(state),
            user=Caller(principal),
            tenant=tenant or getattr(params, "tenant", ""),
            requested_extensions=set(extensions),
        )
        return Call(
            operation=operation,
            params=params,
            context=context,
            target=target,
            required=tuple(self.settings.required_extensions),
        )

    def activated(self, call: Call) -> dict[str, str]:
        """Tell in headers which of the extensions that a caller named are honoured."""
        offered = {*self.settings.extensions, *self.settings.required_extensions}
        named = sorted(offered & call.context.requested_extensions)
        return {EXTENSIONS: ", ".join(named)} if named else {}

    async def _extended_card(
        self, published: Published, context: ServerCallContext
    ) -> pb.AgentCard:
        return await self.cards.extended(published, context.state[ADDRESS])
