"""Secrets, stored encrypted."""
