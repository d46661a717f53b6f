"""Keys of model servers: references until the moment of the call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from agency.errors import (
    ModelRefused,
    ModelUnavailable,
    SecretBroken,
    SecretNotFound,
    VaultLocked,
)
from agency.ports.vault import REFERENCE, Vault

ENVIRONMENT = "env://"

SECRET_CHARACTERS_MIN = 6
"""Shorter values are not looked for in texts of servers: they would be found everywhere."""

HIDDEN = "•••"


class Credentials:
    """Resolves references, anew for each call, so that a changed key is used at once."""

    def __init__(
        self, vault: Vault | None, environ: Mapping[str, str] | None = None, *, provider: str
    ) -> None:
        """Take where secrets are.

        Args:
            vault: None where the daemon has none.
            environ: None for the process's own.
            provider: Name, for messages.
        """
        self._vault = vault
        self._environ = os.environ if environ is None else environ
        self._provider = provider

    async def resolve(self, text: str) -> str:
        """Replace the reference that ``text`` is, or ends with, by its value.

        Raises:
            ModelRefused: there is no such secret.
            ModelUnavailable: the vault is locked.
        """
        before, reference = _split(text)
        if not reference:
            return text
        value = (await self._value(reference)).strip()
        if not value or not value.isprintable() or not value.isascii():
            raise ModelRefused(
                f"The secret {reference} of the provider {self._provider!r} is empty, or cannot "
                "stand in a header.",
                hint=f"Store it again, for example with `{_set_hint(reference)}`.",
            )
        return before + value

    async def _value(self, reference: str) -> str:
        if reference.startswith(ENVIRONMENT):
            variable = reference.removeprefix(ENVIRONMENT)
            value = self._environ.get(variable)
            if value is None:
                raise ModelRefused(
                    f"The provider {self._provider!r} needs the environment variable {variable}, "
                    "and it is not set.",
                    hint="Set it where the daemon is started, or keep the key in the vault.",
                )
            return value
        if self._vault is None:
            raise ModelRefused(
                f"The provider {self._provider!r} needs {reference}, and there is no vault.",
                hint=f"Write {ENVIRONMENT}VARIABLE instead.",
            )
        try:
            return await self._vault.reveal(reference.removeprefix(REFERENCE))
        except VaultLocked as error:
            # It opens by itself when its key is back, and runs wait for that.
            away = ModelUnavailable(
                f"model:{self._provider}", f"its key is in the vault. {error.message.rstrip('.')}"
            )
            away.hint = error.hint
            raise away from error
        except (SecretNotFound, SecretBroken) as error:
            raise ModelRefused(
                f"The provider {self._provider!r} has no key: {error.message}", hint=error.hint
            ) from error


def _split(text: str) -> tuple[str, str]:
    """Part what stands before a reference, such as ``Bearer``, from the reference."""
    before, space, last = text.rpartition(" ")
    if last.startswith((REFERENCE, ENVIRONMENT)):
        return before + space, last
    return text, ""


def _set_hint(reference: str) -> str:
    if reference.startswith(ENVIRONMENT):
        return f"export {reference.removeprefix(ENVIRONMENT)}=…"
    return f"agency secret set {reference.removeprefix(REFERENCE)}"


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Hide secrets in a foreign text, so that a server that repeats them writes them nowhere."""
    for secret in secrets:
        if len(secret) >= SECRET_CHARACTERS_MIN:
            text = text.replace(secret, HIDDEN)
    return text


def header_of(line: str) -> tuple[str, str]:
    """Part ``NAME: VALUE``."""
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


async def headers_of(
    lines: Sequence[str], credentials: Credentials
) -> tuple[dict[str, str], list[str]]:
    """Make the headers that settings ask for, and list the secrets that stand in them.

    Raises:
        ModelRefused, ModelUnavailable: as `Credentials.resolve`.
    """
    headers: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in map(header_of, lines):
        headers[name] = await credentials.resolve(value)
        before, reference = _split(value)
        if reference:
            secrets.append(headers[name].removeprefix(before))
    return headers, secrets
