"""Identifiers: UUIDv7 for new things, derived ones for things that must come out the same."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def new_id() -> str:
    """Make a UUIDv7: unique, and sorting by the time it was made.

    Source: RFC 9562, section 5.7.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    # A third of the time of `uuid.UUID`; each run has one.
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derive_id(*parts: str) -> str:
    """Make the id that always comes out the same for the same parts.

    Source: RFC 9562, section 5.8 (UUIDv8), over SHA-256.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    value = int.from_bytes(digest[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def is_id(text: str) -> bool:
    """Tell whether ``text`` is a UUID in the usual spelling."""
    return _UUID.fullmatch(text) is not None
