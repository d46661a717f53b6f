"""Tokens and credentials of pushes, encrypted at rest.

Their key is a secret of the vault, made with the first push that needs one. So they are as safe as
the vault's own key, follow it when that is changed, and cannot be used while the vault is locked.
Each is bound to its task and id: a sealed value that is copied to another push does not open.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping, Sequence

from agency.core import json
from agency.core.records import dataclass
from agency.errors import SecretBroken, SecretNotFound
from agency.ports.vault import Secrets

KEY_NAME = "agency-push-key"
"""Name of the secret that is the key; without it, kept tokens and credentials are lost."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_OWN = "agency"
"""As whom the key is stored."""


@dataclass(frozen=True, slots=True)
class PushSecrets:
    """What is sent along with a notification, and shown to nobody.

    Attributes:
        token: Of the header ``X-A2A-Notification-Token``, or empty.
        credentials: Of the header ``Authorization``, or empty.
    """

    token: str = ""
    credentials: str = ""

    def __repr__(self) -> str:
        return "PushSecrets(…)"


class Sealer:
    """Seals and opens what belongs to pushes."""

    def __init__(self, vault: Secrets) -> None:
        """Take the vault that has the key."""
        self._vault = vault
        self._making = asyncio.Lock()
        vault.add_usage(_usage)

    async def seal(self, secrets: PushSecrets, *, task_id: str, push_id: str) -> bytes | None:
        """Encrypt; None for nothing.

        Raises:
            VaultLocked, TooManySecrets, StoreFull: the key cannot be had.
        """
        if not secrets.token and not secrets.credentials:
            return None
        key = await self._key()
        plain = json.encode([secrets.token, secrets.credentials])
        return await asyncio.to_thread(_seal, plain, key, _bound(task_id, push_id))

    async def open(self, sealed: bytes | None, *, task_id: str, push_id: str) -> PushSecrets:
        """Decrypt what `seal` gave.

        Raises:
            VaultLocked: later it may be possible.
            SecretNotFound, SecretBroken: the key is gone, or another one.
        """
        if sealed is None:
            return PushSecrets()
        key = _read_key(await self._vault.reveal(KEY_NAME))
        plain = await asyncio.to_thread(_open, sealed, key, _bound(task_id, push_id))
        token, credentials = json.decode(plain)
        return PushSecrets(token=token, credentials=credentials)

    async def _key(self) -> bytes:
        async with self._making:
            try:
                return _read_key(await self._vault.reveal(KEY_NAME))
            except SecretNotFound:
                made = os.urandom(_KEY_BYTES)
                text = base64.urlsafe_b64encode(made).decode()
                await self._vault.set(KEY_NAME, text, principal=_OWN)
                return made


async def _usage() -> Mapping[str, Sequence[str]]:
    return {"push notifications": (KEY_NAME,)}


def _read_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError as error:
        raise SecretBroken(KEY_NAME) from error
    if len(key) != _KEY_BYTES:
        raise SecretBroken(KEY_NAME)
    return key


def _seal(plain: bytes, key: bytes, bound: bytes) -> bytes:
    """AES-256-GCM; the nonce of 96 random bits goes before. Source: NIST SP 800-38D, 8.2.2."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _open(sealed: bytes, key: bytes, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise SecretBroken(KEY_NAME) from error


def _bound(task_id: str, push_id: str) -> bytes:
    # JSON keeps the parts apart, whatever is in them.
    return json.encode(["agency-push-1", task_id, push_id])
