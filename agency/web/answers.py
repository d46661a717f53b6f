"""Answers in JSON, and the keys under which a request finds what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agency.core import json
from agency.domain.principal import Principal
from agency.web.services import Services

SERVICES = web.AppKey("services", Services)

LOCAL = Principal(name="local", has_token=False)
"""Who calls without a token, where none is needed."""

_PRINCIPAL = web.RequestKey("principal", Principal)


def json_answer(
    value: Any,  # noqa: ANN401  JSON value
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with a JSON value that nobody may keep."""
    all_headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if headers is not None:
        all_headers.update(headers)
    return web.Response(body=json.encode(value), status=status, headers=all_headers)


def set_principal(request: web.Request, principal: Principal) -> None:
    """Note who makes the request."""
    request[_PRINCIPAL] = principal


def find_principal(request: web.Request) -> Principal | None:
    """Tell who makes the request, if a token says so."""
    return request.get(_PRINCIPAL)


def principal_of(request: web.Request) -> Principal:
    """Tell who makes the request."""
    principal: Principal = request.get(_PRINCIPAL, LOCAL)
    return principal
