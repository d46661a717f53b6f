"""Who asks over MCP: what a request of a client knows beside what the protocol says."""

from __future__ import annotations

from agency.core.records import dataclass

CALLER = "agency.caller"
"""Key in the scope of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request.

    Attributes:
        principal: Name of the token, or ``local``: whose runs are seen, and on whose behalf new
            ones are started.
        has_token: A token says so.
        correlation_id: Of the HTTP request.
    """

    principal: str
    has_token: bool
    correlation_id: str = ""
