"""Correlation ids: one for each request, on its answer, its log lines and the runs it starts."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping

HEADER = "X-Correlation-ID"
ALTERNATIVE = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class CorrelationIds:
    """Makes ids that no other daemon makes: a random prefix and a number that rises.

    A UUID for each request would cost more than the rest of the guard.
    """

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """Take over the caller's id if it is sane (it ends up in logs), else make one."""
        given = headers.get(HEADER) or headers.get(ALTERNATIVE)
        if given is not None and _SANE.fullmatch(given) is not None:
            return given
        return f"{self._prefix}-{next(self._numbers):x}"
