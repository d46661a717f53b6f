"""`SecretStore`: sealed rows, one key in use, all or nothing when it changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.domain.secret import SealedSecret, StoredKey
from agency.errors import SecretNotFound, SecretsChanged, TooManySecrets
from agency.ports.store import Store
from tests.contract.conftest import Opener
from tests.contract.making import T0, at

KEY = StoredKey(id="k1", check=b"one", created_at=T0)
OTHER = StoredKey(id="k2", check=b"two", created_at=at(5))


def make_secret(name: str = "token", **changes: Any) -> SealedSecret:
    plain = SealedSecret(
        id=new_id(),
        name=name,
        key_id="k1",
        nonce=b"n" * 12,
        sealed=b"\x00\xffsealed",
        created_at=T0,
        updated_at=T0,
        updated_by="ann",
    )
    return replace(plain, **changes)


async def put(store: Store, secret: SealedSecret, key: StoredKey = KEY) -> SealedSecret:
    stored, _ = await store.secrets.put(secret, key, secrets_max=10)
    return stored


async def test_secret_is_read_as_it_was_handed_in(opener: Opener) -> None:
    secret = make_secret()
    async with opener() as store:
        assert (secret, True) == await store.secrets.put(secret, KEY, secrets_max=10)

    async with opener() as store:
        assert secret == await store.secrets.get("token")
        assert KEY == await store.secrets.key()


async def test_empty_store_has_no_key(store: Store) -> None:
    assert None is await store.secrets.key()
    assert [] == await store.secrets.list(after=None, limit=10)


async def test_another_value_keeps_the_moment_of_creation(store: Store) -> None:
    first = await put(store, make_secret())
    second = replace(first, sealed=b"x", nonce=b"m" * 12, created_at=at(9), updated_at=at(9))

    stored, is_new = await store.secrets.put(second, KEY, secrets_max=10)

    assert (replace(second, created_at=T0), False) == (stored, is_new)


async def test_name_of_another_row_is_refused_and_nothing_changes(store: Store) -> None:
    first = await put(store, make_secret())

    with pytest.raises(SecretsChanged):
        await put(store, make_secret(sealed=b"y"))

    assert [first] == await store.secrets.list(after=None, limit=10)


async def test_secret_of_another_key_is_refused(store: Store) -> None:
    await put(store, make_secret())

    with pytest.raises(SecretsChanged):
        await put(store, make_secret("second", key_id="k2"), OTHER)

    assert KEY == await store.secrets.key()


async def test_another_key_is_taken_once_there_are_no_secrets(store: Store) -> None:
    await put(store, make_secret())
    await store.secrets.delete("token")

    await put(store, make_secret(key_id="k2"), OTHER)

    assert OTHER == await store.secrets.key()


async def test_limit_counts_others_only(store: Store) -> None:
    first = await put(store, make_secret())
    await store.secrets.put(make_secret("second"), KEY, secrets_max=2)

    with pytest.raises(TooManySecrets):
        await store.secrets.put(make_secret("third"), KEY, secrets_max=2)
    _, is_new = await store.secrets.put(replace(first, sealed=b"z"), KEY, secrets_max=2)

    assert not is_new


async def test_list_goes_on_after_a_name(store: Store) -> None:
    for name in ("c", "a", "b"):
        await put(store, make_secret(name))

    names = [one.name for one in await store.secrets.list(after="a", limit=1)]

    assert ["b"] == names


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(SecretNotFound):
        await store.secrets.get("nothing")
    with pytest.raises(SecretNotFound):
        await store.secrets.delete("nothing")


async def test_rekey_replaces_all_values_at_once(store: Store) -> None:
    secrets = [await put(store, make_secret(name)) for name in ("a", "b")]
    fresh = [replace(one, key_id="k2", sealed=b"new", nonce=b"w" * 12) for one in secrets]

    await store.secrets.rekey(KEY, OTHER, fresh)

    assert fresh == await store.secrets.list(after=None, limit=10)
    assert OTHER == await store.secrets.key()


@pytest.mark.parametrize("left_out", ["one", "key", "renamed"])
async def test_rekey_that_is_not_of_all_changes_nothing(store: Store, left_out: str) -> None:
    secrets = [await put(store, make_secret(name)) for name in ("a", "b")]
    fresh = [replace(one, key_id="k2", sealed=b"new") for one in secrets]
    if left_out == "one":
        fresh = fresh[:1]
    if left_out == "renamed":
        fresh[1] = replace(fresh[1], name="c")

    with pytest.raises(SecretsChanged):
        await store.secrets.rekey(OTHER if left_out == "key" else KEY, OTHER, fresh)

    assert secrets == await store.secrets.list(after=None, limit=10)
    assert KEY == await store.secrets.key()


async def test_rekey_and_another_value_at_once_lose_nothing(store: Store) -> None:
    first = await put(store, make_secret())
    changed = replace(first, sealed=b"changed")

    outcomes = await asyncio.gather(
        store.secrets.rekey(KEY, OTHER, [replace(first, key_id="k2", sealed=b"new")]),
        put(store, changed),
        return_exceptions=True,
    )

    stored = await store.secrets.get("token")
    current = await store.secrets.key()
    assert current is not None
    assert current.id == stored.key_id
    assert any(isinstance(one, SecretsChanged) for one in outcomes) or stored.sealed == b"changed"
