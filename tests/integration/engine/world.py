"""What lies outside of workflows, as tests see it."""

from __future__ import annotations

from collections import Counter


class World:
    """Outside, where steps have effects: counts them, and breaks what it is told to."""

    def __init__(self, *broken: str) -> None:
        self.calls: Counter[str] = Counter()
        self.broken = set(broken)

    async def do(self, name: str) -> str:
        self.calls[name] += 1
        if name in self.broken:
            raise OSError(f"{name} is broken")
        return name

    def mend(self) -> None:
        self.broken.clear()
        self.calls.clear()
