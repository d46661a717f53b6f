"""Answering with a run: with its tag, as soon as it is what the caller waits for."""

from __future__ import annotations

from aiohttp import web

from agency.api.run_shape import run_json, workflow_json
from agency.core import json
from agency.core.records import dataclass
from agency.ports.store import RunDetail
from agency.web.answers import SERVICES
from agency.web.etags import etag_of, is_match
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of


@dataclass(frozen=True, slots=True)
class Look:
    """A run as it was at one moment, and its representation."""

    detail: RunDetail
    body: bytes
    etag: str


def look_at(detail: RunDetail, *, is_named: bool) -> Look:
    """Represent a run, on the guide's paths when ``is_named``."""
    body = json.encode(workflow_json(detail) if is_named else run_json(detail))
    return Look(detail, body, etag_of(body))


async def answer_with_run(request: web.Request, look: Look, *, is_named: bool) -> web.Response:
    """Answer a reading request for a run that was just looked at.

    With ``Prefer: wait=N`` the answer is held until the run has ended or is suspended. With
    ``If-None-Match`` as well it is held until anything of the run differs from what the caller
    has; 304 says that nothing did for N seconds.
    """
    request_headers = request.headers
    condition = request_headers.get("If-None-Match")
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
    if "Prefer" in request_headers:
        preference = preference_of(request)
        headers.update(preference.applied)
        is_news = condition is not None and not is_match(condition, look.etag)
        if preference.wait_s > 0 and not is_news:
            look = await _held(request, look, preference.wait_s, condition, is_named=is_named)
    headers["ETag"] = look.etag
    if condition is not None and is_match(condition, look.etag):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers)
    return web.Response(body=look.body, headers=headers)


async def _held(
    request: web.Request, look: Look, wait_s: float, condition: str | None, *, is_named: bool
) -> Look:
    """Look again when the run is settled, or differs from what ``condition`` names."""
    runs = request.app[SERVICES].runs
    patience = request.app[PATIENCE]
    run_id = look.detail.run.id
    if condition is None:
        detail = await patience.wait_for(runs, run_id, timeout_s=wait_s)
        return look_at(detail, is_named=is_named)

    def is_other(found: RunDetail) -> bool:
        return not is_match(condition, look_at(found, is_named=is_named).etag)

    detail = await patience.wait_until(runs, run_id, is_other, timeout_s=wait_s)
    return look_at(detail, is_named=is_named)
