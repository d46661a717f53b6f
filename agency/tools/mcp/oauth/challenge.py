"""What a server demands in `WWW-Authenticate`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agency.core.records import dataclass

HEADER_CHARACTERS_MAX = 8192
"""Longest header that is read; the rest is not looked at."""

_PART = re.compile(
    r"""\s*(?:
        (?P<key>[A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))
      | (?P<scheme>[A-Za-z0-9!#$%&'*+.^_`|~-]+)(?=[\s,]|$)
    )\s*,?""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A demand for a token, or for one that allows more.

    Attributes:
        status: 401 or 403.
        is_bearer: It was a challenge for bearer tokens, and not for something else.
        scope: Scopes that would do, parted by spaces; None when the server does not say.
        resource_metadata: Where the server says who issues its tokens; empty if it does not.
        error: Code as in RFC 6750, section 3.1.
    """

    status: int
    is_bearer: bool = False
    scope: str | None = None
    resource_metadata: str = ""
    error: str = ""

    @property
    def is_step_up(self) -> bool:
        """Tell whether a token was good, and more is needed."""
        return self.status == 403 and self.error == "insufficient_scope"


def read_challenge(status: int, headers: Sequence[str]) -> Challenge:
    """Read the first challenge for bearer tokens.

    Source: RFC 9110, section 11.6.1; RFC 6750, section 3; RFC 9728, section 5.1.

    Args:
        headers: All lines of ``WWW-Authenticate``.
    """
    text = ", ".join(headers)[:HEADER_CHARACTERS_MAX]
    found: dict[str, str] = {}
    is_bearer = False
    scheme = ""
    place = 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None or part.end() == place:
            break
        place = part.end()
        if part["scheme"] is not None:
            if is_bearer and scheme == "bearer":
                break
            scheme = part["scheme"].lower()
            is_bearer = is_bearer or scheme == "bearer"
        elif scheme == "bearer":
            quoted = part["quoted"]
            value = part["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found.setdefault(part["key"].lower(), value)
    return Challenge(
        status=status,
        is_bearer=is_bearer,
        scope=found.get("scope"),
        resource_metadata=found.get("resource_metadata", ""),
        error=found.get("error", ""),
    )
