"""The door for messages of the older envelope; what is behind it is loaded with the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from agency.web.published import Publication
from agency.web.routes import Door, Route

if TYPE_CHECKING:
    from agency.a2a.envelope.desk import Desk

PATH = "/a2a/message"


class _LateDesk:
    """A desk that is opened when somebody comes."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication
        self._desk: Desk | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a message; see `Desk.answer`."""
        if self._desk is None:
            from agency.a2a.envelope.desk import Desk

            self._desk = Desk(self._publication)
        return await self._desk.answer(request)


def make_desk_door(publication: Publication) -> Door:
    """Make the door."""
    route = Route(
        method="POST",
        path=PATH,
        answer=_LateDesk(publication).answer,
        operation="a2aMessage",
        summary="Take a message of the older envelope",
        # Its refusals have the shape of its answers, which is told in the documentation.
        is_documented=False,
    )
    return Door(routes=(route,), open=lambda _: None)
