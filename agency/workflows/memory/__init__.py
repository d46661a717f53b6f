"""Durable work on memory: documents added to notebooks, vectors replaced."""
