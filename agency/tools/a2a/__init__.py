"""Speaking with agents of other systems, over A2A."""
