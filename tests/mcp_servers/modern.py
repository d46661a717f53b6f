"""A server of the newer era, made with the SDK.

``python modern.py`` speaks over stdio, ``python modern.py PORT`` over HTTP.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from mcp.server.request_state import RequestStateSecurity
from mcp_types import CreateMessageResult, SamplingMessage, TextContent, ToolAnnotations
from pydantic import BaseModel

# A key that outlives the process, as a server needs that wants its questions answered later.
server = MCPServer(
    "modern",
    version="1",
    request_state_security=RequestStateSecurity(keys=["a key for tests, 32 characters long!"]),
)


class Who(BaseModel):
    name: str


def who() -> Elicit[Who]:
    return Elicit("Who are you?", Who)


def word() -> Sample:
    content = TextContent(type="text", text="Say a word.")
    return Sample([SamplingMessage(role="user", content=content)], max_tokens=10)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def pid() -> str:
    """Tell which process this is."""
    return str(os.getpid())


@server.tool()
async def slow(seconds: float) -> str:
    """Take some time."""
    await anyio.sleep(seconds)
    return "done"


@server.tool()
def leave() -> str:
    """End the server in the middle of the call."""
    os._exit(7)


@server.tool()
def ask(who: Annotated[Who, Resolve(who)]) -> str:
    """Greet whoever is there."""
    return f"hello {who.name}"


@server.tool()
def ask_model(word: Annotated[CreateMessageResult, Resolve(word)]) -> str:
    """Let the model say a word."""
    assert isinstance(word.content, TextContent)
    return f"the model says {word.content.text}"


@server.tool()
async def grow(context: Context) -> str:
    """Offer one tool more."""

    def grown() -> str:
        """Do nothing."""
        return "nothing"

    server.add_tool(grown)
    await context.notify_tools_changed()
    return "grown"


@server.tool()
def credentials(context: Context) -> str:
    """Tell the header that was sent, as no server should."""
    headers = context.headers
    return "" if headers is None else headers.get("authorization", "")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
