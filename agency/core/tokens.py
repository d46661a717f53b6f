"""API tokens: made of random bits, recognised by a checksum, kept as a hash.

A token reads ``agy_`` + 43 random characters + 6 characters of checksum. The prefix lets people
and secret scanners see what it is, and the checksum tells a mistyped token from a revoked one
without a look into the database.
Source of the form: "Behind GitHub's new authentication token formats", GitHub blog, 2021.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib

PREFIX = "agy_"

RANDOM_BYTES = 32
"""256 bits: not to be guessed, so that a fast hash is enough to keep it."""

SHOWN_CHARACTERS = 12
"""Of a token, in lists: enough to recognise it, and 8 of its 43 random characters."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a token may be called: it appears in paths, logs and shell commands."""

_SHAPE = re.compile(r"agy_[A-Za-z0-9_-]{49}")
_CHECKSUM_CHARACTERS = 6


def make_token() -> str:
    """Make a new token. It is shown once; only `secret_hash` of it is kept."""
    body = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Tell whether ``text`` has the form of a token, its checksum included."""
    if _SHAPE.fullmatch(text) is None:
        return False
    body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
    return hmac.compare_digest(_checksum(body), checksum)


def secret_hash(token: str) -> str:
    """Hash a token as it is kept: SHA-256 in hexadecimal, 64 characters."""
    return hashlib.sha256(token.encode()).hexdigest()


def shown_prefix(token: str) -> str:
    """Cut off what may be shown of a token."""
    return token[:SHOWN_CHARACTERS]


def matches(token: str, kept_hash: str) -> bool:
    """Compare a token with a kept hash, in a time that does not depend on where they differ."""
    return hmac.compare_digest(secret_hash(token), kept_hash)


def is_name(text: str) -> bool:
    """Tell whether ``text`` may be the name of a token."""
    return NAME.fullmatch(text) is not None


def _checksum(body: str) -> str:
    """CRC-32 in six URL-safe characters. It guards against typing errors, not against people."""
    crc = zlib.crc32(body.encode()).to_bytes(4, "big")
    return base64.urlsafe_b64encode(crc).decode().rstrip("=")
