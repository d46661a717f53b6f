"""Secrets: named values that are stored encrypted and handed out at the last moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

REFERENCE = "secret://"
"""What a reference begins with: ``secret://github-token``."""


class Vault(Protocol):
    """The secrets of this daemon."""

    async def reveal(self, name: str) -> str:
        """Hand out a secret's value; only to what passes it on to a server or a process.

        Raises:
            SecretNotFound: there is none of that name.
            VaultLocked: the key is missing, or not the one that the secrets were encrypted with.
        """
        ...

    async def resolve(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Replace each text in a JSON value that is a reference by the secret's value.

        Raises:
            as `reveal`.
        """
        ...

    def redact(self, text: str) -> str:
        """Replace every known secret in a text, plain or in common encodings, by its reference."""
        ...

    def references(self, value: Any) -> Mapping[str, str]:  # noqa: ANN401  JSON
        """List the references in a JSON value: where they are (a JSON pointer), and to what."""
        ...
