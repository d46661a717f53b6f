"""Entity tags, so that a caller can ask for a thing only if it has changed."""

from __future__ import annotations

import hashlib
import re

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')


def etag_of(body: bytes) -> str:
    """Make the tag of a representation: equal bytes, equal tags. Source: RFC 9110, 8.8.3."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def is_match(condition: str, etag: str) -> bool:
    """Tell whether ``If-None-Match`` names the tag. Source: RFC 9110, 13.1.2 (weak comparison)."""
    return condition.strip() == "*" or etag in _TAG.findall(condition)
