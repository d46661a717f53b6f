"""A server of tools that does nothing: what a call of it costs is the way there and back."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer

server = MCPServer("nothing", version="1")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


if __name__ == "__main__":
    server.run()
