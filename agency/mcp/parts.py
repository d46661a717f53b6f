"""What an MCP server is put together of."""

from __future__ import annotations

from agency.core.records import dataclass
from agency.mcp.calls import Calls
from agency.mcp.changes import Changes
from agency.mcp.means import Means
from agency.mcp.offerings import Offerings
from agency.mcp.published_tools import PublishedTools


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an MCP server is put together of.

    Attributes:
        published: Starts runs for calls, and answers them.
    """

    means: Means
    offerings: Offerings
    published: PublishedTools
    calls: Calls
    changes: Changes
