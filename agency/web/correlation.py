"""Correlation ids: one for each request, on its answer, its log lines and the runs it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agency.core.ids import new_id

HEADER = "X-Correlation-ID"
ALTERNATIVE = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def correlation_id_of(headers: Mapping[str, str]) -> str:
    """Take over the caller's id if it is sane (it ends up in logs), else make one."""
    given = headers.get(HEADER) or headers.get(ALTERNATIVE)
    if given is not None and _SANE.fullmatch(given) is not None:
        return given
    return new_id()
