"""Who calls, and the tokens they show."""

from __future__ import annotations

from datetime import datetime

from agency.core import tokens
from agency.core.records import dataclass
from agency.errors import Fault, InvalidInput


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


def make_token(name: str, *, at: datetime) -> tuple[Token, str]:
    """Make a token: what is kept of it, and the secret, which is shown once.

    Raises:
        InvalidInput: the name is not one that fits into paths, logs and commands.
    """
    if not tokens.is_name(name):
        what = "A letter or digit, then up to 63 letters, digits and . _ @ - are needed."
        raise InvalidInput(
            f"{name[:64]!r} cannot be the name of a token.", faults=[Fault("/name", what)]
        )
    secret = tokens.make_token()
    kept = Token(
        name=name,
        prefix=tokens.shown_prefix(secret),
        secret_hash=tokens.secret_hash(secret),
        created_at=at,
    )
    return kept, secret
