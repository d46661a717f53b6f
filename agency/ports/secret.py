"""Where secrets are kept, sealed; what is in them is none of its business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agency.domain.secret import SealedSecret, StoredKey


class SecretStore(Protocol):
    """Sealed secrets, and by which key. Each method is one atomic transaction."""

    async def key(self) -> StoredKey | None:
        """Read what is known of the key in use; None before the first secret."""
        ...

    async def put(
        self, secret: SealedSecret, key: StoredKey, *, secrets_max: int
    ) -> tuple[SealedSecret, bool]:
        """Store a secret, or another value of one of the same name and id.

        The first one makes ``key`` the one in use, and so does any while there are no secrets. The
        moment at which a secret was created stays.

        Returns:
            What is stored now, and whether it is new.

        Raises:
            SecretsChanged: the name belongs to another id, or another key is in use; nothing was
                stored.
            TooManySecrets: there are ``secrets_max`` others.
        """
        ...

    async def get(self, name: str) -> SealedSecret:
        """Read one.

        Raises:
            SecretNotFound: there is none of that name.
        """
        ...

    async def list(self, *, after: str | None, limit: int) -> Sequence[SealedSecret]:
        """Read secrets by name, those after the name ``after``."""
        ...

    async def delete(self, name: str) -> None:
        """Forget one, and its sealed value.

        Raises:
            SecretNotFound: there is none of that name.
        """
        ...

    async def rekey(self, old: StoredKey, new: StoredKey, secrets: Sequence[SealedSecret]) -> None:
        """Replace all sealed values at once, and make ``new`` the key in use.

        ``secrets`` are all there are, each with its id and name, sealed with the new key.

        Raises:
            SecretsChanged: ``old`` is not in use, or ``secrets`` are not all; nothing was changed.
        """
        ...
