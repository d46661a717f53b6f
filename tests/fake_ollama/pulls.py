"""``POST /api/pull`` of the fake: layers as a stream, resumable, with the real one's faults."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

LAYER_BYTES = 400_000
PIECE_BYTES = 100_000


@dataclass(slots=True)
class Registry:
    """What can be fetched, and how far each layer has come.

    Attributes:
        models: Names, with ``:latest`` written out.
        layers: Layers of each model.
        error_line: Comes after the first piece of a layer, in place of the rest; once.
        ends_early: The stream ends after the first piece of a layer, without an error; once.
        hold_after_piece: Wait after so many pieces until ``go_on`` is set; `held` says so.
        done: Bytes by digest; stays when a client leaves, as the real server's partial files do.
    """

    models: set[str] = field(default_factory=set)
    layers: int = 2
    error_line: str = ""
    ends_early: bool = False
    hold_after_piece: int | None = None
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    done: dict[str, int] = field(default_factory=dict)
    _pieces: int = 0

    async def lines(self, name: str) -> AsyncIterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        if name not in self.models:
            yield {"error": "pull model manifest: file does not exist"}
            return
        for number in range(self.layers):
            digest = "sha256:" + hashlib.sha256(f"{name}/{number}".encode()).hexdigest()
            async for line in self._layer(digest):
                yield line
                if "error" in line or "end" in line:
                    return
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    async def _layer(self, digest: str) -> AsyncIterator[dict[str, Any]]:
        base = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": LAYER_BYTES}
        # ``completed`` is omitted while it is 0, as fields marked omitempty are.
        done = self.done.setdefault(digest, 0)
        yield {**base, **({"completed": done} if done else {})}
        while self.done[digest] < LAYER_BYTES:
            self.done[digest] = min(LAYER_BYTES, self.done[digest] + PIECE_BYTES)
            yield {**base, "completed": self.done[digest]}
            self._pieces += 1
            if self.error_line:
                text, self.error_line = self.error_line, ""
                yield {"error": text}
                return
            if self.ends_early:
                self.ends_early = False
                yield {"end": True}
                return
            if self.hold_after_piece is not None and self._pieces >= self.hold_after_piece:
                self.held.set()
                await self.go_on.wait()
