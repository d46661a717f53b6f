"""Logins at servers of tools: OAuth 2.1 as MCP has it, with tokens that are kept in the vault.

Nothing here waits for a person: a login is begun with one request and finished by another, and
what lies between them is in the vault, so that it survives a restart.
"""
