"""Calls of agents of other systems."""
