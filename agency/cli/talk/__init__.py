"""Talking with agents in a terminal: what a run does as it does it, and what it asks."""
