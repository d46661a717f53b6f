"""Tools of our own, and those of others: files, shell, fetch, MCP servers."""
