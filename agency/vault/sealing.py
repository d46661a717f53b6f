"""Sealing of values: AES-256-GCM with random nonces of 96 bits.

The row's id, the name and the key's id are bound to the sealed value as associated data: a sealed
value that is copied to another row or name does not open. With random nonces a key may seal 2^32
values before the chance that two are alike matters; each value costs one sealing, and a change of
the key one more, so that no counter is needed. Source: NIST SP 800-38D, section 8.3.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from agency.core.json import encode
from agency.domain.secret import SealedSecret
from agency.errors import SecretBroken
from agency.vault.keys import Key

NONCE_BYTES = 12


def seal(value: str, key: Key, *, id: str, name: str) -> tuple[bytes, bytes]:
    """Encrypt a value; hands back a new nonce and what was sealed under it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    bound = _bound(id, name, key.id)
    return nonce, AESGCM(key.secret).encrypt(nonce, value.encode(), bound)


def unseal(secret: SealedSecret, key: Key) -> str:
    """Decrypt a value.

    Raises:
        SecretBroken: it was not sealed with this key for this row under this name.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if secret.key_id != key.id or len(secret.nonce) != NONCE_BYTES:
        raise SecretBroken(secret.name)
    bound = _bound(secret.id, secret.name, secret.key_id)
    try:
        return AESGCM(key.secret).decrypt(secret.nonce, secret.sealed, bound).decode()
    except (InvalidTag, UnicodeDecodeError) as error:
        raise SecretBroken(secret.name) from error


def _bound(*parts: str) -> bytes:
    # JSON keeps the parts apart, whatever is in them.
    whole: Sequence[str] = ("agency-secret-1", *parts)
    return encode(whole)
