"""Long-term memory: texts in pieces, embedded and found again."""
