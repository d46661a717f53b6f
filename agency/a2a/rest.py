"""HTTP+JSON of version 1.0, and of 0.3 at the same address: the version of the request decides.

Source: A2A 1.0.1, section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from a2a.utils.errors import A2AError
from aiohttp import web
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from agency.a2a import wire
from agency.a2a.calls import OPERATIONS, Call
from agency.a2a.negotiation import V10
from agency.a2a.reception import Reception
from agency.a2a.refusals import Refusal, invalid, refusal_of
from agency.a2a.resources import Resource
from agency.a2a.streams import stream
from agency.a2a.v03 import rest as v03
from agency.errors import AgencyError, ContentTypeRefused
from agency.web.bodies import check_json, read_raw
from agency.web.routes import Answering

MEDIA_TYPE = "application/a2a+json"
"""Of answers. Source: section 11.1, since 1.0.1."""

PLAIN = "application/json"
"""Of errors, which are ``google.rpc.Status`` and none of the protocol's own shapes."""


class Rest:
    """Answers what is asked of an agent's HTTP+JSON interface."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    def answering(self, resource: Resource) -> Answering:
        """Make what answers the requests to a resource."""
        operation = OPERATIONS[resource.operation]

        async def answer(request: web.Request) -> web.StreamResponse:
            target = self._reception.target_of(request)
            try:
                version = self._reception.version_of(request)
                if version == V10:
                    params = await _read(request, resource, operation.request)
                else:
                    params = await v03.read(request, operation, resource.named)
                call = self._reception.call(request, target, operation, params, version=version)
                return await self._do(request, call, v03.writer(call) if version != V10 else None)
            except ContentTypeRefused as error:
                # The protocol's error is about parts of messages; this is about HTTP.
                return _refused(refusal_of(error), status=415)
            except (A2AError, AgencyError) as error:
                return _refused(refusal_of(error))

        return answer

    async def _do(
        self, request: web.Request, call: Call, write: Callable[[Message], Any] | None
    ) -> web.StreamResponse:
        media_type = PLAIN if write is not None else MEDIA_TYPE
        write = write or wire.write
        headers = self._reception.activated(call)
        if call.operation.is_stream:
            if request.method == "HEAD":
                return web.Response(headers={"Content-Type": "text/event-stream"})
            return await stream(
                request, call, write=write, refuse=Refusal.for_http, headers=headers
            )
        made = await wire.apart(await call.answer(), write)
        return _json(made, media_type=media_type, headers=headers)


async def _read(request: web.Request, resource: Resource, kind: type[Message]) -> Message:
    """Make the parameters of a request from its body, its query and its path."""
    if resource.method == "POST" and (request.body_exists or not resource.named):
        params = await wire.heard(await read_object(request), partial(wire.read, kind=kind))
    else:
        params = wire.read(query_of(request, kind), kind)
    for field, part in resource.named.items():
        setattr(params, field, request.match_info[part])
    return params


async def read_object(request: web.Request) -> Any:  # noqa: ANN401  JSON enters here
    """Read the body of a request as JSON.

    Raises:
        ContentTypeRefused: it is said to be something else.
        JSONParseError, InvalidRequestError: as `wire.parse`.
    """
    raw = await read_raw(request)
    check_json(request)
    return wire.parse(raw)


def query_of(request: web.Request, kind: type[Message]) -> dict[str, Any]:
    """Read the parameters of a query as the JSON object that they stand for.

    Source: section 11.5: names in camel case, or as protobuf has them, which its JSON allows as
    well; booleans as true and false; the last of several.

    Raises:
        InvalidParamsError: a truth value is neither true nor false, or a status is none.
    """
    fields: dict[str, FieldDescriptor] = {
        name: field
        for field in kind.DESCRIPTOR.fields
        for name in (field.name, field.camelcase_name)
    }
    found: dict[str, Any] = {}
    for name, text in request.query.items():
        field = fields.get(name)
        if field is None:
            continue
        if field.type == FieldDescriptor.TYPE_BOOL:
            if text.lower() not in {"true", "false"}:
                raise invalid(f"{name} is true or false.", [(name, f"It is {text[:64]!r}.")])
            found[name] = text.lower() == "true"
        elif field.type == FieldDescriptor.TYPE_ENUM and text not in field.enum_type.values_by_name:
            # The reader of JSON would take an unknown name for none.
            raise invalid(f"{name} has an unknown value.", [(name, f"It is {text[:64]!r}.")])
        else:
            found[name] = text
    return found


def _refused(refusal: Refusal, *, status: int | None = None) -> web.Response:
    told = refusal.for_http()
    if status is not None:
        told["error"]["code"] = status
    return _json(
        told,
        media_type=PLAIN,
        status=status or refusal.status,
        headers=refusal.headers,
    )


def _json(
    value: object,
    *,
    media_type: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    told = {"Content-Type": media_type, "Cache-Control": "no-store", **(headers or {})}
    return web.Response(body=wire.encode(value), status=status, headers=told)
