"""What a caller prefers: to wait for the result, and how long.

Source: RFC 7240, sections 4.1 (``respond-async``) and 4.3 (``wait``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from agency.core.records import dataclass
from agency.web.answers import SERVICES

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_ASYNC = re.compile(r"\s*respond-async\s*(?:;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preference:
    """How long a request may wait, in seconds; ``applied`` is the header that says so."""

    wait_s: float
    applied: Mapping[str, str]


def preference_of(request: web.Request, *, default_s: float = 0.0) -> Preference:
    """Read ``Prefer``, bounded by ``[server] sync_wait_s``. What cannot be read does not count."""
    bound_s = request.app[SERVICES].settings.server.sync_wait_s
    for line in request.headers.getall("Prefer", ()):
        for part in line.split(","):
            if match := _WAIT.fullmatch(part):
                wait_s = min(float(match[1]), bound_s)
                return Preference(wait_s, {"Preference-Applied": f"wait={wait_s:g}"})
            if _ASYNC.fullmatch(part):
                return Preference(0.0, {"Preference-Applied": "respond-async"})
    return Preference(min(default_s, bound_s), {})
