"""Figures of Agency beside those of others, taken in one run: ``python -m bench``."""
