"""Takes secrets out of what servers say: those of the vault, and those that stand in the setup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.core.records import dataclass
from agency.domain.connection import MASK, ConnectionSetup, plain_secrets
from agency.ports.vault import Vault

SECRET_CHARACTERS_MIN = 8
"""Shorter values are too often a part of something else, as with the vault's."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out.

    Attributes:
        plain: Values of the setup that look like secrets, the longest first.
    """

    vault: Vault | None = None
    plain: Sequence[str] = ()

    @staticmethod
    def of(setup: ConnectionSetup, vault: Vault) -> Redaction:
        """Make the redaction of a connection."""
        values = [_value_at(setup, pointer) for pointer in plain_secrets(setup)]
        words = {word for value in values for word in (value, *value.split())}
        plain = sorted(
            (word for word in words if len(word) >= SECRET_CHARACTERS_MIN), key=len, reverse=True
        )
        return Redaction(vault, plain)

    def text(self, text: str) -> str:
        """Take secrets out of a text."""
        for secret in self.plain:
            text = text.replace(secret, MASK)
        return text if self.vault is None else self.vault.redact(text)

    def json(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Take secrets out of all texts of a JSON value."""
        if self.plain:
            value = self._walk(value)
        return value if self.vault is None else self.vault.redact_json(value)

    def _walk(self, value: Any) -> Any:  # noqa: ANN401  JSON
        if isinstance(value, str):
            for secret in self.plain:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, list):
            return [self._walk(one) for one in value]
        if isinstance(value, dict):
            return {self._walk(key): self._walk(one) for key, one in value.items()}
        return value


def _value_at(setup: ConnectionSetup, pointer: str) -> str:
    _, group, *key = pointer.split("/", 2)
    match group:
        case "env":
            return setup.env[key[0]]
        case "headers":
            return setup.headers[key[0]]
        case "args":
            text = setup.args[int(key[0])]
            return text.partition("=")[2] if text.startswith("-") else text
        case "oauth_client_secret":
            return setup.oauth_client_secret
        case "oauth_key":
            return setup.oauth_key
        case _:
            return setup.url
