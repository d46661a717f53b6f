"""``/api/v1/peers``: programs that speak the older envelope, and what each can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from aiohttp import web
from pydantic import BeforeValidator, Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit
from agency.core.clock import to_text
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.peer import HEARTBEAT_S, HEARTBEAT_S_MAX, Peer, PeerCapabilities, PeerStatus
from agency.errors import PeerNotFound
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_text_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "peers"
PATH = "/api/v1/peers"


def _lowered(value: Any) -> Any:  # noqa: ANN401  JSON value
    """Take a status in any case: the older system writes it with a capital letter."""
    return value.lower() if isinstance(value, str) else value


Status = Annotated[PeerStatus, Field(strict=False), BeforeValidator(_lowered)]


class CapabilitiesBody(Body):
    """What a peer can do."""

    services: list[str] = Field(default_factory=list, description="What it is looked for by.")
    protocols: list[str] = Field(default_factory=list)
    message_types: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict, description="Handed on unread.")


class PeerBody(Body):
    """A peer, as it tells of itself."""

    id: str = Field(description="`namespace:name:instance`.")
    capabilities: CapabilitiesBody = Field(default_factory=CapabilitiesBody)
    endpoints: list[str] = Field(default_factory=list, description="Where it is reached.")
    heartbeat_interval_s: Annotated[float, Field(strict=False, gt=0, le=HEARTBEAT_S_MAX)] = Field(
        default=HEARTBEAT_S,
        description="It gives a sign of life so often; after three without one it is offline.",
    )
    status: Status = PeerStatus.ONLINE


class HeartbeatBody(Body):
    """A sign of life."""

    status: Status | None = Field(default=None, description="Left out: as it was.")


class PeerQuery(Query):
    service: str | None = Field(default=None, description="Only those that have it.")
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def register(request: web.Request) -> web.Response:
    """Register a peer, or tell anew what it can do."""
    body = await read_body(request, PeerBody)
    capabilities = PeerCapabilities(
        services=body.capabilities.services,
        protocols=body.capabilities.protocols,
        message_types=body.capabilities.message_types,
        metadata=body.capabilities.metadata,
    )
    peer, is_new = await request.app[SERVICES].peers.register(
        body.id,
        owner=principal_of(request).name,
        capabilities=capabilities,
        endpoints=body.endpoints,
        heartbeat_interval_s=body.heartbeat_interval_s,
        status=body.status,
    )
    headers = {"Location": peer_path(peer.id)} if is_new else {}
    return json_answer(_peer_json(peer), status=201 if is_new else 200, headers=headers)


async def heartbeat(request: web.Request) -> web.Response:
    """Take note of a sign of life."""
    body = await read_body(request, HeartbeatBody, may_be_empty=True)
    peer = await request.app[SERVICES].peers.heartbeat(
        _peer_id(request), owner=principal_of(request).name, status=body.status
    )
    return json_answer(_peer_json(peer))


async def list_peers(request: web.Request) -> web.Response:
    """List peers by id."""
    query = read_query(request, PeerQuery)
    after = parse_text_cursor("peers", query.cursor) if query.cursor is not None else ""
    rows = await request.app[SERVICES].peers.list(
        service=query.service, after=after, limit=query.limit + 1
    )
    page, cursor = cut_page("peers", rows, query.limit, lambda peer: peer.id)
    return json_answer({"peers": [_peer_json(peer) for peer in page], "next_cursor": cursor})


async def show_peer(request: web.Request) -> web.Response:
    """Read one peer."""
    return json_answer(_peer_json(await request.app[SERVICES].peers.get(_peer_id(request))))


async def forget(request: web.Request) -> web.Response:
    """Forget a peer."""
    peer_id = _peer_id(request)
    await request.app[SERVICES].peers.forget(peer_id)
    return json_answer({"id": peer_id, "deleted": True})


def peer_path(peer_id: str) -> str:
    """Tell where a peer is."""
    return f"{PATH}/{quote(peer_id, safe=':')}"


def _peer_id(request: web.Request) -> str:
    peer_id = request.match_info["id"]
    if len(peer_id) > NAME_CHARACTERS_MAX or not peer_id.isprintable():
        raise PeerNotFound(peer_id[:NAME_CHARACTERS_MAX])
    return peer_id


def _peer_json(peer: Peer) -> dict[str, Any]:
    told = peer.capabilities
    return {
        "id": peer.id,
        "owner": peer.owner,
        "status": peer.status,
        "capabilities": {
            "services": list(told.services),
            "protocols": list(told.protocols),
            "message_types": list(told.message_types),
            "metadata": told.metadata,
        },
        "endpoints": list(peer.endpoints),
        "heartbeat_interval_s": peer.heartbeat_interval_s,
        "registered_at": to_text(peer.registered_at),
        "last_seen": to_text(peer.last_seen_at),
        "links": {"self": peer_path(peer.id), "heartbeat": f"{peer_path(peer.id)}/heartbeat"},
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{id}"
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_peers,
            operation="list_peers",
            summary="List peers by id, or those that have a service",
            tag=TAG,
            query=PeerQuery,
            answers={200: "PeerPageAnswer"},
        ),
        Route(
            method="POST",
            path=PATH,
            answer=register,
            operation="register_peer",
            summary="Register a peer, or tell anew what it can do",
            description="It counts as a sign of life. An id belongs to who has registered it.",
            tag=TAG,
            body=PeerBody,
            answers={200: "PeerAnswer", 201: "PeerAnswer"},
            problems=(
                errors.PeerNotAllowed,
                errors.PeerForeign,
                errors.TooManyPeers,
                errors.StoreFull,
            ),
            examples={
                "a librarian": {
                    "id": "research:librarian:1",
                    "capabilities": {"services": ["search"], "message_types": ["Request"]},
                    "endpoints": ["https://librarian.example.com"],
                }
            },
        ),
        Route(
            method="GET",
            path=one,
            answer=show_peer,
            operation="show_peer",
            summary="Read a peer",
            tag=TAG,
            answers={200: "PeerAnswer"},
            problems=(errors.PeerNotFound,),
        ),
        Route(
            method="POST",
            path=one + "/heartbeat",
            answer=heartbeat,
            operation="heartbeat_peer",
            summary="Give a sign of life of a peer",
            tag=TAG,
            body=HeartbeatBody,
            body_may_be_empty=True,
            answers={200: "PeerAnswer"},
            problems=(errors.PeerNotFound, errors.PeerForeign),
            examples={"busy": {"status": "busy"}},
        ),
        Route(
            method="DELETE",
            path=one,
            answer=forget,
            operation="delete_peer",
            summary="Forget a peer",
            tag=TAG,
            answers={200: "PeerDeletedAnswer"},
            problems=(errors.PeerNotFound,),
        ),
    )
