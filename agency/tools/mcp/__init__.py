"""Tools of MCP servers: their processes, one owner for each, and what they answer."""
