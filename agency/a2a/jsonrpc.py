"""JSON-RPC of version 1.0, and of 0.3 at the same address: the method's name tells them apart.

Source: A2A 1.0.1, section 9; JSON-RPC 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from a2a.utils.errors import (
    A2AError,
    InvalidRequestError,
    MethodNotFoundError,
    VersionNotSupportedError,
)
from aiohttp import web
from google.protobuf.message import Message

from agency.a2a import wire
from agency.a2a.calls import OPERATIONS, PUSH_DELETE, Call, Target
from agency.a2a.negotiation import V03, V10
from agency.a2a.reception import Reception
from agency.a2a.refusals import Refusal, refusal_of
from agency.a2a.streams import stream
from agency.a2a.v03.vocabulary import METHODS, Method
from agency.errors import AgencyError
from agency.web.bodies import check_json, read_raw

ID_CHARACTERS_MAX = 1024
"""The id of a request is repeated in each event of its stream."""
_WHOLE_MAX = 1 << 63
"""Larger whole numbers are not JSON to many readers."""

Id = str | int | float | None


class JsonRpc:
    """Answers what is posted to an agent's address."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; its errors are told with status 200, as the protocol wants.

        Raises:
            NotPublished: nobody is there.
            BodyTooLarge, BodyLate, BodyMalformed, ContentTypeRefused: the body cannot be read.
        """
        target = self._reception.target_of(request)
        raw = await read_raw(request)
        request_id: Id = None
        try:
            check_json(request)
            body = wire.parse(raw)
            request_id = _id_of(body)
            name = _method_of(body)
            version = self._reception.version_of(request)
            params = body.get("params", {})
            if (operation := OPERATIONS.get(name)) is not None:
                _check_version(name, version)
                message = await wire.heard(params, partial(wire.read, kind=operation.request))
                call = self._reception.call(request, target, operation, message, version=V10)
                return await self._answer_v10(request, call, request_id)
            if version == V03 and (method := METHODS.get(name)) is not None:
                return await self._answer_v03(request, target, method, params, request_id)
            raise MethodNotFoundError(f"There is no method {name[:64]!r} in version {version}.")
        except (A2AError, AgencyError) as error:
            return _refused(request_id, refusal_of(error))

    async def _answer_v10(
        self, request: web.Request, call: Call, request_id: Id
    ) -> web.StreamResponse:
        headers = self._reception.activated(call)
        if call.operation.is_stream:
            return await stream(
                request,
                call,
                write=lambda event: _result(request_id, wire.write(event)),
                refuse=lambda refusal: _error(request_id, refusal),
                headers=headers,
            )
        made = await call.answer()
        result = None if call.operation is PUSH_DELETE else await wire.apart(made, wire.write)
        return _json(_result(request_id, result), headers=headers)

    async def _answer_v03(
        self,
        request: web.Request,
        target: Target,
        method: Method,
        params: object,
        request_id: Id,
    ) -> web.StreamResponse:
        message = await wire.heard(params, method.read)
        call = self._reception.call(request, target, method.operation, message, version=V03)
        headers = self._reception.activated(call)
        if method.operation.is_stream:
            return await stream(
                request,
                call,
                write=lambda event: _result(request_id, method.write(event)),
                refuse=lambda refusal: _error(request_id, refusal),
                headers=headers,
                is_always_stream=True,
            )
        made: Message = await method.answer(call)
        result = await wire.apart(made, method.write)
        return _json(_result(request_id, result), headers=headers)


def _check_version(name: str, version: str) -> None:
    if version != V10:
        raise VersionNotSupportedError(
            f"{name} is a method of version {V10}; the request is in {version}, which is also what "
            "no A2A-Version means."
        )


def _id_of(body: object) -> Id:
    """Read the id of a request, which its answer has, whatever else is wrong with it.

    Raises:
        InvalidRequestError: it is a batch, no object, or its id is none.
    """
    if isinstance(body, list):
        raise InvalidRequestError("Batches are not taken: send one request at a time.")
    if not isinstance(body, dict):
        raise InvalidRequestError("A request is a JSON object.")
    given = body.get("id")
    if given is None:
        return None
    if isinstance(given, str) and len(given) <= ID_CHARACTERS_MAX:
        return given
    if isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < _WHOLE_MAX:
        return given
    raise InvalidRequestError(
        f"The id of a request is a text of at most {ID_CHARACTERS_MAX} characters, or a number."
    )


def _method_of(body: Mapping[str, Any]) -> str:
    if body.get("jsonrpc") != "2.0":
        raise InvalidRequestError("The member jsonrpc must be exactly '2.0'.")
    method = body.get("method")
    if not isinstance(method, str) or not method:
        raise InvalidRequestError("The member method must name a method.")
    return method


def _result(request_id: Id, result: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def _error(request_id: Id, refusal: Refusal) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": refusal.for_rpc()}


def _refused(request_id: Id, refusal: Refusal) -> web.Response:
    status = refusal.rpc_status
    return _json(_error(request_id, refusal), status=status, headers=refusal.headers)


def _json(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    told = {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})}
    return web.Response(body=wire.encode(value), status=status, headers=told)
