"""Which calls have left for the server: only those may have happened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

META_KEY = "agency/idempotency_key"
"""Member of ``_meta`` with the same text in each try of one call, for servers that honour it."""


def idempotency_key(call_key: str) -> str:
    """Make the key that servers see: it tells tries of one call from others, and nothing else."""
    return hashlib.sha256(call_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Sent:
    """Idempotency keys of the calls under way that were handed to the wire."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def note(self, message: object) -> None:
        """Look whether a message that is about to be written is a call."""
        if getattr(message, "method", None) == "tools/call":
            key = key_in(getattr(message, "params", None))
            if key:
                self._keys.add(key)

    def add(self, key: str) -> None:
        """Note that a call was handed to the wire."""
        self._keys.add(key)

    def forget(self, key: str) -> None:
        """Note that a call did not arrive, or is over."""
        self._keys.discard(key)

    def __contains__(self, key: object) -> bool:
        return key in self._keys


def key_in(params: Any) -> str:  # noqa: ANN401  JSON
    """Find the idempotency key in the parameters of a call; empty without."""
    meta = params.get("_meta") if isinstance(params, Mapping) else None
    key = meta.get(META_KEY) if isinstance(meta, Mapping) else None
    return key if isinstance(key, str) else ""
