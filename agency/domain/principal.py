"""Who calls, and the tokens they show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who made a request. ``name`` is the token's name, or ``local`` without one."""

    name: str
    has_token: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token as it is kept: never the secret, only its hash.

    Attributes:
        name: Unique; what people call it.
        prefix: First characters, so that a token can be recognised.
        secret_hash: SHA-256 of the whole token, hexadecimal. A slow hash is not needed, because
            the secret has 256 random bits.
    """

    name: str
    prefix: str
    secret_hash: str
    created_at: datetime
    revoked_at: datetime | None = None
