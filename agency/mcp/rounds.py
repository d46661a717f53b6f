"""What a client hands back when it sends a request again: sealed, so that only we can write it.

The SDK seals it for the tool, the arguments, the principal and until a moment; the key is ours and
kept, so that it is understood after a restart as well. What is inside is small: the replies that
were used so far, or the run that the call has become.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from agency.core import ids, json
from agency.core.records import dataclass
from agency.mcp.offerings import caller_of

AUDIENCE = "agency"
STATE_BYTES_MAX = 64 * 1024
"""Of what is sealed: it travels with each round, twice."""
STATE_S = 7 * 86_400.0
"""How long a client may take to come back, in seconds: approvals wait for days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is known of a call that was made before.

    Attributes:
        id: The same in all rounds of a call, for what is to be done once.
        replies: By question what the client has replied, as the protocol writes it.
        run_id: The run that the call has become, or empty.
    """

    id: str
    replies: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""

    def to_text(self) -> str:
        """Write it.

        Raises:
            MCPError: the client has replied more than may be carried along.
        """
        text = json.encode({"id": self.id, "replies": self.replies, "run": self.run_id})
        if len(text) > STATE_BYTES_MAX:
            raise MCPError(
                INVALID_PARAMS, f"The replies are larger than {STATE_BYTES_MAX} bytes together."
            )
        return text.decode()


def round_of(text: str | None) -> Round:
    """Read what `Round.to_text` has written, or begin."""
    if text is None:
        return Round(id=ids.new_id())
    found = json.decode(text)
    return Round(id=found["id"], replies=found["replies"], run_id=found["run"])


def make_boundary(key: bytes) -> RequestStateBoundary:
    """Make what seals and opens, before anything else sees a request.

    Args:
        key: 32 random bytes, the same after a restart.
    """
    security = RequestStateSecurity(keys=[key], ttl=STATE_S, bind_principal=_principal)
    return RequestStateBoundary(security, default_audience=AUDIENCE)


def _principal(ctx: ServerRequestContext[Any, Any]) -> str:
    return caller_of(ctx).principal
