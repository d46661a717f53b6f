"""Sealed secrets on SQLite; the promises are those of `agency.ports.secret.SecretStore`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.domain.secret import SealedSecret, StoredKey
from agency.errors import SecretNotFound, SecretsChanged, TooManySecrets
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqliteSecrets:
    """Sealed secrets in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def key(self) -> StoredKey | None:
        """Read what is known of the key in use; see `SecretStore.key`."""
        row = await self._readers.one("find_current_key")
        return None if row is None else _key_of(row)

    async def put(
        self, secret: SealedSecret, key: StoredKey, *, secrets_max: int
    ) -> tuple[SealedSecret, bool]:
        """Store a secret; see `SecretStore.put`."""
        self._space.check()
        work = partial(_put, secret=secret, key=key, secrets_max=secrets_max)
        row, is_new = await self._writer.submit(work)
        return _secret_of(row), is_new

    async def get(self, name: str) -> SealedSecret:
        """Read one; see `SecretStore.get`."""
        row = await self._readers.one("find_secret", (name,))
        if row is None:
            raise SecretNotFound(name)
        return _secret_of(row)

    async def list(self, *, after: str | None, limit: int) -> Sequence[SealedSecret]:
        """Read secrets by name; see `SecretStore.list`."""
        rows = await self._readers.all("list_secrets", {"after": after or "", "limit": limit})
        return [_secret_of(row) for row in rows]

    async def delete(self, name: str) -> None:
        """Forget one; see `SecretStore.delete`."""
        await self._writer.submit(partial(_delete, name=name))

    async def rekey(self, old: StoredKey, new: StoredKey, secrets: Sequence[SealedSecret]) -> None:
        """Replace all sealed values at once; see `SecretStore.rekey`."""
        await self._writer.submit(partial(_rekey, old=old, new=new, secrets=secrets))


def _put(
    tx: Transaction, secret: SealedSecret, key: StoredKey, secrets_max: int
) -> tuple[Row, bool]:
    current = tx.one("find_current_key")
    if current is None or current[0] != key.id:
        if _count(tx.one("count_secrets")):
            raise SecretsChanged
        _use(tx, key)
    if _count(tx.one("count_other_secrets", (secret.name,))) >= secrets_max:
        raise TooManySecrets(secrets_max)
    is_new = tx.one("find_secret", (secret.name,)) is None
    row = tx.one("put_secret", _columns(secret))
    if row is None:
        raise SecretsChanged
    return row, is_new


def _rekey(
    tx: Transaction, old: StoredKey, new: StoredKey, secrets: Sequence[SealedSecret]
) -> None:
    current = tx.one("find_current_key")
    if current is None or current[0] != old.id:
        raise SecretsChanged
    if _count(tx.one("count_secrets")) != len(secrets):
        raise SecretsChanged
    _use(tx, new)
    for secret in secrets:
        row = {
            "id": secret.id,
            "name": secret.name,
            "key_id": secret.key_id,
            "nonce": secret.nonce,
            "sealed": secret.sealed,
            "old_key": old.id,
        }
        if tx.change("reseal_secret", row) != 1:
            raise SecretsChanged


def _use(tx: Transaction, key: StoredKey) -> None:
    tx.change("retire_key")
    row = {"id": key.id, "proof": key.check, "created_at": to_micros(key.created_at)}
    tx.change("add_key", row)


def _delete(tx: Transaction, name: str) -> None:
    if tx.change("delete_secret", (name,)) == 0:
        raise SecretNotFound(name)


def _count(row: Row | None) -> int:
    assert row is not None
    counted: int = row[0]
    return counted


def _columns(secret: SealedSecret) -> dict[str, object]:
    return {
        "id": secret.id,
        "name": secret.name,
        "key_id": secret.key_id,
        "nonce": secret.nonce,
        "sealed": secret.sealed,
        "created_at": to_micros(secret.created_at),
        "updated_at": to_micros(secret.updated_at),
        "updated_by": secret.updated_by,
    }


def _secret_of(row: Row) -> SealedSecret:
    id_, name, key_id, nonce, sealed, created_at, updated_at, updated_by = row
    return SealedSecret(
        id=id_,
        name=name,
        key_id=key_id,
        nonce=nonce,
        sealed=sealed,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        updated_by=updated_by,
    )


def _key_of(row: Row) -> StoredKey:
    return StoredKey(id=row[0], check=row[1], created_at=from_micros(row[2]))
