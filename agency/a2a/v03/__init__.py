"""Version 0.3 of the protocol, beside 1.0 and on the same operations."""
