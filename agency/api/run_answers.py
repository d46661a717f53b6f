"""Answering with a run: with its tag, as soon as it is what the caller waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from agency.core import json
from agency.ports.store import RunDetail
from agency.web.answers import SERVICES
from agency.web.etags import etag_of, is_match
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of

_Shape = Callable[[RunDetail], dict[str, Any]]


async def answer_with_run(
    request: web.Request, load: Callable[[], Awaitable[RunDetail]], shape: _Shape
) -> web.Response:
    """Answer a reading request for a run.

    With ``Prefer: wait=N`` the answer is held until the run has ended or is suspended. With
    ``If-None-Match`` as well it is held until anything of the run differs from what the caller
    has; 304 says that nothing did for N seconds.
    """
    detail = await load()
    body, etag = _represent(detail, shape)
    headers: dict[str, str] = {}
    condition = request.headers.get("If-None-Match")
    is_known = condition is not None and is_match(condition, etag)
    if "Prefer" in request.headers:
        preference = preference_of(request)
        headers.update(preference.applied)
        if condition is None or is_known:
            detail = await _held(request, detail, shape, preference.wait_s, seen=condition)
            body, etag = _represent(detail, shape)
            is_known = condition is not None and is_match(condition, etag)
    headers["ETag"] = etag
    headers["Cache-Control"] = "no-cache"
    if is_known:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "application/json"
    return web.Response(body=body, headers=headers)


async def _held(
    request: web.Request, detail: RunDetail, shape: _Shape, wait_s: float, *, seen: str | None
) -> RunDetail:
    runs = request.app[SERVICES].runs
    patience = request.app[PATIENCE]
    run_id = detail.run.id
    if wait_s <= 0:
        return detail
    if seen is None:
        return await patience.wait_for(runs, run_id, timeout_s=wait_s)
    condition = seen

    def is_other(found: RunDetail) -> bool:
        return not is_match(condition, _represent(found, shape)[1])

    return await patience.wait_until(runs, run_id, is_other, timeout_s=wait_s)


def _represent(detail: RunDetail, shape: _Shape) -> tuple[bytes, str]:
    body = json.encode(shape(detail))
    return body, etag_of(body)
