"""Secrets: named values that are stored encrypted and handed out at the last moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from agency.core.records import dataclass

REFERENCE = "secret://"
"""What a reference begins with: ``secret://github-token``."""


class Vault(Protocol):
    """The secrets of this daemon."""

    async def reveal(self, name: str) -> str:
        """Hand out a secret's value; only to what passes it on to a server or a process.

        Raises:
            SecretNotFound: there is none of that name.
            SecretBroken: what is stored under the name was changed by other means.
            VaultLocked: the key is missing, or not the one that the secrets were encrypted with.
        """
        ...

    async def resolve(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Replace each reference in the texts of a JSON value by the secret's value.

        A text may be a reference, or hold some: ``Bearer secret://github-token``. Only for what
        the owner has configured, never for what a model has written: it would choose the secret.

        Raises:
            as `reveal`.
        """
        ...

    def redact(self, text: str) -> str:
        """Replace every known secret in a text, plain or in common encodings, by its reference.

        Known are those with 8 characters or more. Text that is to be cut is redacted before.
        """
        ...

    def redact_json(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Do so in all texts of a JSON value, names of members included."""
        ...

    def references(self, value: Any) -> Mapping[str, str]:  # noqa: ANN401  JSON
        """List the references in a JSON value: where they are (a JSON pointer), and to what.

        Where one text holds several, the later ones have ``#1``, ``#2`` … behind the pointer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """What is shown of a secret: never its value.

    Attributes:
        used_by: Who refers to it: ``connection github``, ``setting llm.api_key``.
        is_redacted: Texts are searched for it; not when it is too short, and while the vault is
            locked.
        is_readable: Its value can be handed out.
    """

    name: str
    created_at: datetime
    updated_at: datetime
    updated_by: str
    used_by: Sequence[str]
    is_redacted: bool
    is_readable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultState:
    """How the vault is.

    Attributes:
        reason: Why it is locked; empty when it is not.
        hint: What to do about that.
        key_id: Of the key that is in use; empty before the first secret.
        key_source: Where the key comes from, or will be.
    """

    is_locked: bool
    reason: str
    hint: str
    key_id: str
    key_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What a change of the key has done.

    Attributes:
        old_key_kept_in: File in which the old key still is, because copies of the database from
            before need it.
    """

    key_id: str
    key_source: str
    old_key_id: str
    old_key_kept_in: str
    secrets: int


UsageSource = Callable[[], Awaitable[Mapping[str, Sequence[str]]]]
"""Tells who refers to which secrets: names of secrets by who uses them."""


class Secrets(Vault, Protocol):
    """The secrets as their owner sees them."""

    @property
    def state(self) -> VaultState:
        """Whether values can be handed out, and if not, why."""
        ...

    def add_usage(self, source: UsageSource) -> None:
        """Ask ``source``, too, who uses which secret, when they are listed."""
        ...

    async def list(self, *, after: str | None, limit: int) -> Sequence[SecretInfo]:
        """List secrets by name, those after the name ``after``; works while locked, too."""
        ...

    async def set(self, name: str, value: str, *, principal: str) -> tuple[SecretInfo, bool]:
        """Store a value under a name; the key is made for the first one.

        Returns:
            What is shown of it, and whether it is new.

        Raises:
            InvalidInput: it cannot be the name, or the value, of a secret.
            VaultLocked: as `reveal`; forgetting all secrets opens the vault, too.
            TooManySecrets, StoreFull: nothing was stored.
        """
        ...

    async def delete(self, name: str) -> Sequence[str]:
        """Forget a secret; works while locked, too.

        Returns:
            Who still refers to it.

        Raises:
            SecretNotFound: there is none of that name.
        """
        ...

    async def rekey(self) -> Rekeyed:
        """Encrypt all secrets with a new key, all or none; safe to be killed at any moment.

        Raises:
            VaultLocked: as `reveal`.
            RekeyRefused: there is nothing to encrypt, a value is broken, or the key comes from
                where the daemon cannot write and the next one is not there.
            PlaceNotWritable: the new key cannot be kept.
        """
        ...
