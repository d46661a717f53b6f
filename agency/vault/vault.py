"""The vault: secrets in the store, sealed with a key that is not there.

The values are held in memory while the daemon runs, because texts are searched for them. When the
key is missing or another one, only the vault is locked, and everything else works: whoever needs a
secret is told to come back later, and finds the vault open once the key is back, without a
restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agency.core.clock import Clock, monotonic_s
from agency.core.ids import new_id
from agency.domain.secret import SealedSecret, StoredKey, check_name, check_value
from agency.errors import (
    PlaceNotWritable,
    RekeyRefused,
    SecretBroken,
    SecretNotFound,
    SecretsChanged,
    VaultLocked,
)
from agency.ports.secret import SecretStore
from agency.ports.vault import Rekeyed, SecretInfo, UsageSource, VaultState
from agency.vault.keys import CREDENTIAL_NEXT, Key, KeyPlaces, KeyUnusable, write_key
from agency.vault.redaction import Redactor, is_redacted
from agency.vault.references import find_references, replace_references
from agency.vault.sealing import seal, unseal

log = logging.getLogger(__name__)

SECRETS_MAX = 1000
"""Secrets of one store: each text that is recorded is searched for all of them."""

FORMER_VALUES_MAX = 1000
"""Values that were replaced or deleted and are still searched for until the daemon ends, because
processes that were started with them go on."""

LOOK_AGAIN_S = 2.0
"""A locked vault looks for its key this often at most, when somebody needs a secret."""

_PAGE_ROWS = 500


class StoredVault:
    """The secrets of a store; see `agency.ports.vault.Secrets`."""

    def __init__(self, *, store: SecretStore, places: KeyPlaces, clock: Clock) -> None:
        self._store = store
        self._places = places
        self._clock = clock
        self._lock = asyncio.Lock()
        self._key: Key | None = None
        self._reason = "The vault was not opened yet."
        self._hint = ""
        self._looked_s = float("-inf")
        self._is_stale = False
        self._values: dict[str, str] = {}
        self._broken: set[str] = set()
        self._former: deque[tuple[str, str]] = deque(maxlen=FORMER_VALUES_MAX)
        self._redactor = Redactor(())
        self._usages: list[UsageSource] = []

    # --- open

    async def open(self) -> None:
        """Find the key, and open all that was sealed with it; a locked vault is logged."""
        async with self._lock:
            await self._open()
        if self._reason:
            log.error("vault is locked", extra={"reason": self._reason, "hint": self._hint})

    async def _open(self) -> None:
        self._looked_s = monotonic_s()
        stored = await self._store.key()
        has_secrets = bool(await self._store.list(after=None, limit=1))
        wanted = stored if has_secrets else None
        keys, faults = await asyncio.to_thread(self._look)
        key = _choose(keys, wanted)
        values, broken = dict[str, str](), set[str]()
        if key is not None and has_secrets:
            sealed = await self._all()
            values, broken = await asyncio.to_thread(_unseal_all, sealed, key)
        # Not before: after a read that has failed all is as it was, and is read anew next time.
        self._key, self._is_stale = key, False
        self._reason, self._hint = self._why_locked(key, wanted, keys, faults)
        for name in [one for one, value in self._values.items() if values.get(one) != value]:
            self._forget(name)
        self._values, self._broken = values, broken
        if key is not None and has_secrets:
            await self._settle(key)
        for name in sorted(broken):
            log.error("secret cannot be read", extra={"secret": name})
        self._renew()

    def _look(self) -> tuple[list[Key], list[str]]:
        keys, faults = [], []
        for place in self._places.all():
            try:
                key = place.load()
            except KeyUnusable as error:
                faults.append(str(error))
            else:
                keys += [key] if key is not None else []
        return keys, faults

    def _why_locked(
        self,
        key: Key | None,
        wanted: StoredKey | None,
        keys: Sequence[Key],
        faults: Sequence[str],
    ) -> tuple[str, str]:
        if key is not None:
            return "", ""
        if wanted is None:
            # Without secrets a missing key is made when it is needed, but none is put beside one
            # that somebody has meant to be used.
            if not faults:
                return "", ""
            return f"The key cannot be used: {'; '.join(faults)}.", "Mend that, or move it away."
        if faults:
            return (
                f"The secrets need the key {wanted.id}, and {'; '.join(faults)}.",
                "Mend that; nothing has to be started again.",
            )
        if keys:
            other = ", ".join(f"the one in {one.source} is {one.id}" for one in keys)
            return (
                f"The secrets were encrypted with the key {wanted.id}, and {other}.",
                f"Put the right key back to {self._places.file}; old ones are beside it as "
                f"{self._places.file.name}.old-KEY.",
            )
        return (
            f"The secrets were encrypted with the key {wanted.id}, and there is none in "
            f"{self._places.file}.",
            "Put the key back from where you keep a copy of it, or delete all secrets and set "
            "them again; nothing has to be started again.",
        )

    async def _settle(self, key: Key) -> None:
        """Finish a change of the key that was cut off after its commit."""
        try:
            await asyncio.to_thread(self._places.settle, key)
        except OSError as error:
            log.warning("key file keeps its new name", extra={"reason": str(error)})
            return
        if key.source == str(self._places.next_file):
            self._key = replace(key, source=str(self._places.file))

    async def _all(self) -> list[SealedSecret]:
        found: list[SealedSecret] = []
        while True:
            after = found[-1].name if found else None
            page = await self._store.list(after=after, limit=_PAGE_ROWS)
            found += page
            if len(page) < _PAGE_ROWS:
                return found

    def _renew(self) -> None:
        self._redactor = Redactor([*self._values.items(), *self._former])

    # --- the port

    @property
    def state(self) -> VaultState:
        """Whether values can be handed out; see `Secrets.state`."""
        key = self._key
        return VaultState(
            is_locked=bool(self._reason),
            reason=self._reason,
            hint=self._hint,
            key_id=key.id if key is not None and self._values else "",
            key_source=key.source if key is not None else str(self._places.file),
        )

    async def reveal(self, name: str) -> str:
        """Hand out a secret's value; see `Vault.reveal`."""
        await self._look_again()
        return self._value(name)

    async def resolve(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Replace references by values; see `Vault.resolve`."""
        if next(find_references(value), None) is None:
            return value
        await self._look_again()
        return replace_references(value, self._value)

    def redact(self, text: str) -> str:
        """Replace every known secret in a text; see `Vault.redact`."""
        return self._redactor.redact(text)

    def redact_json(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Replace every known secret in a JSON value; see `Vault.redact_json`."""
        return self._redactor.redact_json(value)

    def references(self, value: Any) -> Mapping[str, str]:  # noqa: ANN401  JSON
        """List the references in a JSON value; see `Vault.references`."""
        return dict(find_references(value))

    def add_usage(self, source: UsageSource) -> None:
        """Ask one more who uses which secret; see `Secrets.add_usage`."""
        self._usages.append(source)

    async def list(self, *, after: str | None, limit: int) -> Sequence[SecretInfo]:
        """List secrets by name; see `Secrets.list`."""
        found = await self._store.list(after=after, limit=limit)
        users = await self._users()
        return [self._info(secret, users.get(secret.name, ())) for secret in found]

    async def set(self, name: str, value: str, *, principal: str) -> tuple[SecretInfo, bool]:
        """Store a value under a name; see `Secrets.set`."""
        check_name(name)
        check_value(value)
        async with self._lock:
            key = await self._key_for_sealing()
            now = self._clock.now()
            known = await self._find(name)
            id_ = known.id if known is not None else new_id()
            nonce, sealed = await asyncio.to_thread(seal, value, key, id=id_, name=name)
            secret = SealedSecret(
                id=id_,
                name=name,
                key_id=key.id,
                nonce=nonce,
                sealed=sealed,
                created_at=now,
                updated_at=now,
                updated_by=principal,
            )
            stored, is_new = await self._put(secret, key)
            self._key = key
            self._forget(name)
            self._broken.discard(name)
            self._values[name] = value
            self._renew()
        if not is_redacted(value):
            log.warning("secret is too short to be found in texts", extra={"secret": name})
        users = await self._users()
        return self._info(stored, users.get(name, ())), is_new

    async def delete(self, name: str) -> Sequence[str]:
        """Forget a secret; see `Secrets.delete`."""
        async with self._lock:
            await self._store.delete(name)
            self._forget(name)
            self._broken.discard(name)
            self._renew()
            if self._reason:
                # The last one may have been all that a missing key was needed for.
                await self._open()
        return (await self._users()).get(name, ())

    async def rekey(self) -> Rekeyed:
        """Encrypt all secrets with a new key; see `Secrets.rekey`."""
        # Whoever has asked may hang up; what was begun is finished all the same.
        return await asyncio.shield(self._rekey())

    async def _rekey(self) -> Rekeyed:
        async with self._lock:
            if self._reason or self._is_stale:
                await self._open()
            old = self._require_key()
            sealed = await self._all()
            if old is None or not sealed:
                raise RekeyRefused("There are no secrets that could be encrypted with a new key.")
            if self._broken:
                name = min(self._broken)
                raise RekeyRefused(
                    f"The secret {name!r} cannot be read, and would be lost.",
                    hint=f"Set it again with `agency secret set {name}`, or delete it.",
                )
            new = await asyncio.to_thread(self._make_next, old)
            fresh = await asyncio.to_thread(_reseal_all, sealed, self._values, new)
            try:
                await self._store.rekey(self._stored(old), self._stored(new), fresh)
                kept = await asyncio.to_thread(self._places.settle, new)
            except OSError as error:
                # All secrets are sealed with the new key, which the next start finds as well.
                log.warning("key file keeps its new name", extra={"reason": str(error)})
                kept = ""
            except BaseException:
                self._is_stale = True
                raise
            else:
                log.info("secrets have another key", extra={"key": new.id, "before": old.id})
            await self._open()
        return Rekeyed(
            key_id=new.id,
            key_source=self._key.source if self._key is not None else new.source,
            old_key_id=old.id,
            old_key_kept_in=kept,
            secrets=len(fresh),
        )

    # --- parts

    def _make_next(self, old: Key) -> Key:
        """Find the next key among the credentials, or make one beside the key file.

        Raises:
            RekeyRefused: the key is a credential, and there is no other one.
            PlaceNotWritable: the new key cannot be kept.
        """
        credentials = [place for place in self._places.all() if place.is_credential]
        if old.source in {str(place.path) for place in credentials}:
            for place in credentials:
                try:
                    found = place.load()
                except KeyUnusable as error:
                    raise RekeyRefused(f"The next key cannot be used: {error}.") from error
                if found is not None and found.id != old.id:
                    return found
            raise RekeyRefused(
                f"The key comes from {old.source}, where it cannot be changed from here.",
                hint=f"Give the unit a second credential, LoadCredential={CREDENTIAL_NEXT}:FILE, "
                "and start it again; then do this again.",
            )
        try:
            # Of a change that was cut off before its commit: nothing was sealed with it.
            self._places.next_file.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PlaceNotWritable(str(self._places.next_file), reason) from error
        return write_key(self._places.next_file)

    async def _look_again(self) -> None:
        """Look whether the key is back, if the vault is locked."""
        if not self._is_stale and not self._reason:
            return
        async with self._lock:
            was_locked = bool(self._reason)
            is_time = monotonic_s() - self._looked_s >= LOOK_AGAIN_S
            if self._is_stale or (was_locked and is_time):
                await self._open()
                if was_locked and not self._reason:
                    log.info("vault is open", extra={"key": self._key.id if self._key else ""})

    def _value(self, name: str) -> str:
        if name in self._values:
            return self._values[name]
        self._require_key()
        if name in self._broken:
            raise SecretBroken(name)
        raise SecretNotFound(name[:128])

    def _require_key(self) -> Key | None:
        """Give the key; None when there was no need of one yet.

        Raises:
            VaultLocked: there is a need, and no key.
        """
        if self._reason:
            raise VaultLocked(self._reason, hint=self._hint)
        return self._key

    async def _key_for_sealing(self) -> Key:
        if self._reason or self._is_stale:
            await self._open()
        key = self._require_key()
        if key is None:
            # Somebody may have put one there since the start.
            await self._open()
            key = self._require_key()
        if key is None:
            key = await asyncio.to_thread(write_key, self._places.file)
            log.info("key of the secrets made", extra={"path": key.source, "key": key.id})
        return key

    async def _put(self, secret: SealedSecret, key: Key) -> tuple[SealedSecret, bool]:
        try:
            return await self._store.put(secret, self._stored(key), secrets_max=SECRETS_MAX)
        except SecretsChanged:
            self._is_stale = True
            raise

    def _stored(self, key: Key) -> StoredKey:
        return StoredKey(id=key.id, check=key.check, created_at=self._clock.now())

    async def _find(self, name: str) -> SealedSecret | None:
        try:
            return await self._store.get(name)
        except SecretNotFound:
            return None

    def _forget(self, name: str) -> None:
        value = self._values.pop(name, None)
        if value is not None:
            self._former.append((name, value))

    async def _users(self) -> Mapping[str, Sequence[str]]:
        users: dict[str, list[str]] = {}
        for source in self._usages:
            for user, names in (await source()).items():
                for name in dict.fromkeys(names):
                    users.setdefault(name, []).append(user)
        return {name: sorted(found) for name, found in users.items()}

    def _info(self, secret: SealedSecret, users: Sequence[str]) -> SecretInfo:
        value = self._values.get(secret.name)
        return SecretInfo(
            name=secret.name,
            created_at=secret.created_at,
            updated_at=secret.updated_at,
            updated_by=secret.updated_by,
            used_by=users,
            is_redacted=value is not None and is_redacted(value),
            is_readable=value is not None,
        )


def _choose(keys: Sequence[Key], wanted: StoredKey | None) -> Key | None:
    """Choose the key that is needed; while none is, the first one that there is."""
    if wanted is None:
        return keys[0] if keys else None
    fitting = (one for one in keys if one.id == wanted.id and one.check == wanted.check)
    return next(fitting, None)


def _unseal_all(sealed: Sequence[SealedSecret], key: Key) -> tuple[dict[str, str], set[str]]:
    values, broken = {}, set()
    for secret in sealed:
        try:
            values[secret.name] = unseal(secret, key)
        except SecretBroken:
            broken.add(secret.name)
    return values, broken


def _reseal_all(
    sealed: Sequence[SealedSecret], values: Mapping[str, str], key: Key
) -> list[SealedSecret]:
    fresh = []
    for secret in sealed:
        nonce, body = seal(values[secret.name], key, id=secret.id, name=secret.name)
        fresh.append(replace(secret, key_id=key.id, nonce=nonce, sealed=body))
    return fresh
