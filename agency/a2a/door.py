"""The A2A door: its routes, and how what is behind them is brought when it is first needed.

This module loads nothing of the SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from agency.a2a.key_file import read_key_file
from agency.a2a.places import AGENT, BASE, CARD, HTTP, KEYS
from agency.a2a.resources import RESOURCES, Resource
from agency.errors import ConfigurationInvalid
from agency.web.answers import SERVICES
from agency.web.patience import PATIENCE
from agency.web.published import Publication
from agency.web.routes import Answering, Door, Route
from agency.web.sse import STREAMS

if TYPE_CHECKING:
    from agency.a2a.fronts import Fronts
    from agency.a2a.operations import Pushing

_TENANT = "/{tenant:[^/:{}]+}"


class Opening:
    """Opens the fronts once, off the loop, however many ask for them at the same time."""

    def __init__(
        self, publication: Publication, pushing: Callable[[], Pushing] | None = None
    ) -> None:
        """Take what they work with; ``pushing`` is called in a thread when they are opened."""
        self._publication = publication
        self._pushing = pushing
        self._fronts: Fronts | None = None
        self._lock = asyncio.Lock()
        self._application: web.Application | None = None

    def open(self, application: web.Application) -> None:
        """Note where the fronts find what they need; serve over gRPC as well if that is wanted."""
        self._application = application
        if application[SERVICES].settings.a2a.signing_key_file:
            application.on_startup.append(_check_key_file)
        if application[SERVICES].settings.a2a.grpc_port:
            application.cleanup_ctx.append(self._grpc)

    async def fronts(self) -> Fronts:
        """Give the fronts.

        Raises:
            AgencyError: as `agency.a2a.fronts.open_fronts`; the next request tries again.
        """
        if self._fronts is None:
            async with self._lock:
                if self._fronts is None:
                    self._fronts = await self._opened()
        return self._fronts

    async def _opened(self) -> Fronts:
        application = self._application
        assert application is not None, "the door was not opened"
        await asyncio.to_thread(import_module, "agency.a2a.fronts")
        from agency.a2a.fronts import open_fronts

        return await open_fronts(
            application[SERVICES], self._publication, application[PATIENCE], self._pushing
        )

    async def _grpc(self, application: web.Application) -> AsyncIterator[None]:
        """Serve over gRPC as long as the application is.

        Raises:
            ConfigurationInvalid: the package is missing.
            PortTaken: somebody else listens there.
        """
        try:
            await asyncio.to_thread(import_module, "grpc.aio")
        except ImportError as error:
            raise ConfigurationInvalid(
                "[a2a] grpc_port is set, and the package for gRPC is not installed.",
                hint="Install it with `pip install agency[grpc]`, or set grpc_port to 0.",
            ) from error
        fronts = await self.fronts()
        await asyncio.to_thread(import_module, "agency.a2a.grpc")
        from agency.a2a.grpc import serving_grpc

        services = application[SERVICES]
        front = fronts.for_grpc(application[STREAMS])
        port = services.settings.a2a.grpc_port
        async with serving_grpc(front, services.settings.server, port=port):
            yield

    def to(self, choose: Callable[[Fronts], Answering]) -> Answering:
        """Make what answers a route with a part of the fronts."""

        async def answer(request: web.Request) -> web.StreamResponse:
            front = choose(self._fronts if self._fronts is not None else await self.fronts())
            return await front(request)

        return answer


async def _check_key_file(application: web.Application) -> None:
    """Check the key of cards when the daemon starts, and not before the first who asks for one.

    Raises:
        ConfigurationInvalid: as `read_key_file`.
    """
    path = Path(application[SERVICES].settings.a2a.signing_key_file)
    await asyncio.to_thread(read_key_file, path)


def make_door(publication: Publication, *, pushing: Callable[[], Pushing] | None = None) -> Door:
    """Make the door.

    Args:
        publication: Who can be spoken to.
        pushing: Makes what keeps push notifications; None when there are none.
    """
    opening = Opening(publication, pushing)
    return Door(routes=_routes(opening), open=opening.open)


def _routes(opening: Opening) -> Sequence[Route]:
    to = opening.to
    rest = [
        _rest(opening, resource, index, prefix)
        # Without a tenant first: a path that could be read both ways has none.
        for prefix in (AGENT + HTTP, AGENT + HTTP + _TENANT)
        for index, resource in enumerate(RESOURCES)
    ]
    return (
        _route("GET", CARD, to(lambda f: f.default_card), "a2aDefaultCard", is_public=True),
        _route("GET", KEYS, to(lambda f: f.keys), "a2aKeys", is_public=True),
        _route("GET", BASE, to(lambda f: f.directory), "a2aDirectory"),
        _route("POST", AGENT, to(lambda f: f.jsonrpc), "a2aCall"),
        _route("POST", AGENT + "/", to(lambda f: f.jsonrpc), "a2aCallSlash"),
        _route("GET", AGENT + CARD, to(lambda f: f.card), "a2aCard", is_public=True),
        *rest,
    )


def _rest(opening: Opening, resource: Resource, index: int, prefix: str) -> Route:
    answer = opening.to(lambda fronts: fronts.rest[index])
    operation = f"a2a{resource.operation}{index}{'Tenant' if _TENANT in prefix else ''}"
    return _route(resource.method, prefix + resource.path, answer, operation)


def _route(
    method: str, path: str, answer: Answering, operation: str, *, is_public: bool = False
) -> Route:
    return Route(
        method=method,
        path=path,
        answer=answer,
        operation=operation,
        summary="A2A",
        is_public=is_public,
        # What is said here is written in the protocol and in the cards.
        is_documented=False,
    )
