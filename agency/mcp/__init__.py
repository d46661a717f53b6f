"""The MCP door: agents and workflows as tools of other programs."""
