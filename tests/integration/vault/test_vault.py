"""The vault over a real database and real key files: opened, locked, rekeyed, killed half-way."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agency.config.schema import Server, Settings, Store, Vault
from agency.core.clock import SystemClock
from agency.errors import (
    InvalidInput,
    PlaceNotWritable,
    ReadTooLong,
    RekeyRefused,
    SecretBroken,
    SecretNotFound,
    VaultLocked,
)
from agency.storage.sqlite.secrets import SqliteSecrets
from agency.storage.sqlite.store import SqliteStore, open_store
from agency.vault import vault as vault_room
from agency.vault.keys import KeyPlaces, write_key
from agency.vault.opening import open_vault
from agency.vault.vault import StoredVault
from tests.databases import database_at

CANARY = "canary-7f3b1c9e-value"

Opening = Callable[..., AbstractAsyncContextManager[StoredVault]]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "vault.key"


@pytest.fixture
def opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opening:
    """Opens the vault of the test; closed and opened again it is the same one."""
    monkeypatch.setattr(vault_room, "LOOK_AGAIN_S", 0.0)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)

    @asynccontextmanager
    async def open_it(**vault: str) -> AsyncIterator[StoredVault]:
        settings = replace(
            Settings(),
            server=Server(data_dir=str(data)),
            store=Store(free_bytes_min=0),
            vault=Vault(**vault),
        )
        async with open_store(
            database_at(data / "agency.db"), settings=settings.store, clock=SystemClock()
        ) as store:
            yield await open_vault(settings, SystemClock(), store=store.secrets)

    return open_it


async def test_secret_is_there_after_a_restart(opening: Opening) -> None:
    async with opening() as vault:
        info, is_new = await vault.set("token", CANARY, principal="ann")
        changed, is_new_again = await vault.set("token", CANARY + "2", principal="bob")

    assert (True, False) == (is_new, is_new_again)
    assert (info.created_at, "bob") == (changed.created_at, changed.updated_by)
    async with opening() as vault:
        assert CANARY + "2" == await vault.reveal("token")
        assert "x secret://token y" == vault.redact(f"x {CANARY}2 y")
        assert {"h": f"Bearer {CANARY}2"} == await vault.resolve({"h": "Bearer secret://token"})


async def test_value_is_in_no_file_in_any_encoding(opening: Opening, tmp_path: Path) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        await vault.rekey()
        await vault.set("token", CANARY, principal="ann")
        open_files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    closed_files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

    needles = [CANARY.encode(), CANARY.encode().hex().encode(), CANARY.encode()[4:16]]
    assert [] == [data for data in open_files + closed_files for one in needles if one in data]


async def test_no_key_is_made_before_it_is_needed(opening: Opening, key_file: Path) -> None:
    async with opening() as vault:
        assert not key_file.exists()
        assert (False, "") == (vault.state.is_locked, vault.state.key_id)
        await vault.set("token", CANARY, principal="ann")

    assert 0o600 == key_file.stat().st_mode & 0o777


async def test_missing_key_locks_the_vault_until_it_is_back(
    opening: Opening, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        key_id = vault.state.key_id
    away = key_file.rename(key_file.with_name("away"))

    async with opening() as vault:
        assert "vault is locked" in caplog.messages
        with pytest.raises(VaultLocked) as locked:
            await vault.reveal("token")
        with pytest.raises(VaultLocked):
            await vault.set("other", CANARY, principal="ann")
        with pytest.raises(VaultLocked):
            await vault.rekey()
        names = [(one.name, one.is_readable) for one in await vault.list(after=None, limit=9)]
        state = vault.state
        away.rename(key_file)

        assert CANARY == await vault.reveal("token")

    assert key_id in locked.value.message
    assert str(key_file) in locked.value.message
    assert [("token", False)] == names
    assert (True, locked.value.message) == (state.is_locked, state.reason)


async def test_read_that_fails_while_the_vault_opens_loses_no_secret(
    opening: Opening, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
    away = key_file.rename(key_file.with_name("away"))
    read = SqliteSecrets.list

    async def fail(store: SqliteSecrets, *, after: str | None, limit: int) -> object:
        if limit > 1:
            raise ReadTooLong(1.0)
        return await read(store, after=after, limit=limit)

    async with opening() as vault:
        away.rename(key_file)
        monkeypatch.setattr(SqliteSecrets, "list", fail)
        with pytest.raises(ReadTooLong):
            await vault.reveal("token")
        monkeypatch.setattr(SqliteSecrets, "list", read)

        assert CANARY == await vault.reveal("token")


async def test_wrong_key_is_named_and_never_replaced(opening: Opening, key_file: Path) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        right = vault.state.key_id
    key_file.unlink()
    wrong = write_key(key_file)

    async with opening() as vault:
        with pytest.raises(VaultLocked) as locked:
            await vault.reveal("token")

    assert right in locked.value.message
    assert wrong.id in locked.value.message
    assert wrong.secret.hex() not in str(vars(locked.value))


async def test_key_that_others_may_read_locks_the_vault(opening: Opening, key_file: Path) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
    key_file.chmod(0o644)

    async with opening() as vault:
        with pytest.raises(VaultLocked, match=r"644.*chmod 600"):
            await vault.reveal("token")
        key_file.chmod(0o600)
        assert CANARY == await vault.reveal("token")


async def test_unusable_file_is_not_passed_over_for_a_new_key(
    opening: Opening, key_file: Path
) -> None:
    key_file.write_text("my old key, somehow\n")
    key_file.chmod(0o600)

    async with opening() as vault:
        with pytest.raises(VaultLocked, match="does not hold a key"):
            await vault.set("token", CANARY, principal="ann")

    assert "my old key, somehow\n" == key_file.read_text()


async def test_deleting_all_secrets_opens_a_vault_whose_key_is_lost(
    opening: Opening, key_file: Path
) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
    key_file.unlink()

    async with opening() as vault:
        await vault.delete("token")
        await vault.set("token", "another-value", principal="ann")
        assert "another-value" == await vault.reveal("token")

    async with opening() as vault:
        assert "another-value" == await vault.reveal("token")


async def test_row_under_another_name_does_not_open(
    opening: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opening() as vault:
        await vault.set("admin", CANARY, principal="ann")
        await vault.set("guest", "guest-value", principal="ann")
    database = sqlite3.connect(tmp_path / "data" / "agency.db")
    database.execute(
        "UPDATE secrets SET (nonce, sealed) = (SELECT nonce, sealed FROM secrets"
        " WHERE name = 'admin') WHERE name = 'guest'"
    )
    database.commit()
    database.close()

    async with opening() as vault:
        assert CANARY == await vault.reveal("admin")
        with pytest.raises(SecretBroken):
            await vault.reveal("guest")
        with pytest.raises(RekeyRefused, match="guest"):
            await vault.rekey()
        await vault.set("guest", "mended-value", principal="ann")
        assert "mended-value" == await vault.reveal("guest")
    assert "secret cannot be read" in caplog.messages


async def test_missing_secret_is_not_found(opening: Opening) -> None:
    async with opening() as vault:
        for reference in ("secret://nothing", "secret://", "Bearer secret:// x"):
            with pytest.raises(SecretNotFound):
                await vault.resolve([reference])


BAD = {
    "empty": "",
    "nul": "a\0b-canary",
    "long": "c" * 65_537,
    "wide": "ä" * 40_000,
    "surrogate": "canary\ud800",
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
async def test_value_that_cannot_be_one_is_refused_unseen(opening: Opening, value: str) -> None:
    async with opening() as vault:
        with pytest.raises(InvalidInput) as refused:
            await vault.set("token", value, principal="ann")

    assert "canary" not in str(refused.value)
    assert "cccc" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "-a", "a.", "a b", "a/b", "ä", "a" * 129, "a\n"], ids=repr)
async def test_name_that_cannot_be_one_is_refused(opening: Opening, name: str) -> None:
    async with opening() as vault:
        with pytest.raises(InvalidInput):
            await vault.set(name, CANARY, principal="ann")


async def test_values_of_before_are_still_found_in_texts(opening: Opening) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        await vault.set("token", "another-value", principal="ann")
        await vault.set("gone", "third-value", principal="ann")
        await vault.delete("gone")

        redacted = vault.redact(f"{CANARY} another-value third-value")

    assert "secret://token secret://token secret://gone" == redacted


async def test_users_are_told_of(opening: Opening) -> None:
    async def connections() -> dict[str, list[str]]:
        return {"connection github": ["token", "token"], "connection b": ["other", "token"]}

    async with opening() as vault:
        vault.add_usage(connections)
        await vault.set("token", CANARY, principal="ann")
        [info] = await vault.list(after=None, limit=9)
        users = await vault.delete("token")

    assert ["connection b", "connection github"] == info.used_by == users


# --- rekey


async def test_rekey_keeps_values_and_the_old_key(opening: Opening, key_file: Path) -> None:
    async with opening() as vault:
        values = {f"s{n}": f"value-number-{n}" for n in range(30)}
        for name, value in values.items():
            await vault.set(name, value, principal="ann")
        old = vault.state.key_id

        done = await vault.rekey()

        assert (30, old) == (done.secrets, done.old_key_id)
        assert (done.key_id, str(key_file)) == (vault.state.key_id, vault.state.key_source)
        assert Path(done.old_key_kept_in).name == f"vault.key.old-{old}"
        assert all([await vault.reveal(name) == value for name, value in values.items()])
    async with opening() as vault:
        assert all([await vault.reveal(name) == value for name, value in values.items()])


async def test_rekey_of_nothing_is_refused(opening: Opening) -> None:
    async with opening() as vault:
        with pytest.raises(RekeyRefused):
            await vault.rekey()


@pytest.mark.parametrize("moment", ["before the commit", "after the commit", "between the names"])
async def test_rekey_that_was_cut_off_leaves_all_readable(
    opening: Opening, key_file: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A kill is played by an exception behind which nothing more is done."""

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        old = vault.state.key_id
        with monkeypatch.context() as patched:
            if moment == "before the commit":
                patched.setattr(type(vault._store), "rekey", die)
            elif moment == "after the commit":
                patched.setattr(KeyPlaces, "settle", die)
            else:
                patched.setattr(Path, "replace", die)
            with pytest.raises(Killed):
                await vault.rekey()

    async with opening() as vault:
        assert CANARY == await vault.reveal("token")
        assert (old == vault.state.key_id) == (moment == "before the commit")
        assert str(key_file) == vault.state.key_source
        await vault.set("token", "another-value", principal="ann")
        await vault.rekey()
    async with opening() as vault:
        assert "another-value" == await vault.reveal("token")


async def test_rekey_goes_to_its_end_when_its_caller_leaves(opening: Opening) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
        old = vault.state.key_id
        asked = asyncio.ensure_future(vault.rekey())
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

        await vault.set("token", "another-value", principal="ann")

        assert old != vault.state.key_id
        assert "another-value" == await vault.reveal("token")


async def test_rekey_and_sets_at_once_lose_nothing(opening: Opening) -> None:
    async with opening() as vault:
        await vault.set("s", CANARY, principal="ann")
        await asyncio.gather(
            *(vault.set(f"s{n}", f"value-number-{n}", principal="ann") for n in range(10)),
            vault.rekey(),
            *(vault.set(f"s{n}", f"value-number-{n}", principal="ann") for n in range(10, 20)),
            vault.rekey(),
        )
    async with opening() as vault:
        for n in range(20):
            assert f"value-number-{n}" == await vault.reveal(f"s{n}")


async def test_credential_is_used_before_the_file_and_changed_by_a_second_one(
    opening: Opening, tmp_path: Path, key_file: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    write_key(credentials / "agency-vault-key")
    (credentials / "agency-vault-key").chmod(0o440)

    async with opening(credentials_dir=str(credentials)) as vault:
        await vault.set("token", CANARY, principal="ann")
        assert str(credentials / "agency-vault-key") == vault.state.key_source
        with pytest.raises(RekeyRefused, match="cannot be changed from here"):
            await vault.rekey()
        write_key(credentials / "agency-vault-key-next")
        done = await vault.rekey()
        assert (str(credentials / "agency-vault-key-next"), "") == (
            done.key_source,
            done.old_key_kept_in,
        )
    (credentials / "agency-vault-key-next").replace(credentials / "agency-vault-key")

    async with opening(credentials_dir=str(credentials)) as vault:
        assert CANARY == await vault.reveal("token")
    assert not key_file.exists()


async def test_place_that_cannot_be_written_is_said(opening: Opening, tmp_path: Path) -> None:
    async with opening(key_file=str(tmp_path / "missing" / "key")) as vault:
        with pytest.raises(PlaceNotWritable, match="missing"):
            await vault.set("token", CANARY, principal="ann")


async def test_backup_of_the_database_alone_opens_nothing(tmp_path: Path, opening: Opening) -> None:
    async with opening() as vault:
        await vault.set("token", CANARY, principal="ann")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "agency.db").write_bytes((tmp_path / "data" / "agency.db").read_bytes())
    settings = replace(Settings(), server=Server(data_dir=str(copy)))

    async with open_store(
        copy / "agency.db", settings=Store(free_bytes_min=0), clock=SystemClock()
    ) as store:
        assert isinstance(store, SqliteStore)
        vault = await open_vault(settings, SystemClock(), store=store.secrets)
        with pytest.raises(VaultLocked):
            await vault.reveal("token")
