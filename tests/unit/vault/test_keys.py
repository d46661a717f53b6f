"""Keys: read from files of several forms, never from one that others may read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from agency.errors import PlaceNotWritable
from agency.vault.keys import KeyPlace, KeyPlaces, KeyUnusable, make_key, write_key

SECRET = bytes(range(32))


def write(path: Path, data: bytes, mode: int = 0o600) -> KeyPlace:
    path.write_bytes(data)
    path.chmod(mode)
    return KeyPlace(path, is_credential=False)


FORMS = {
    "raw": SECRET,
    "hexadecimal": SECRET.hex().encode() + b"\n",
    "capitals": SECRET.hex().upper().encode(),
    "base64": base64.b64encode(SECRET) + b"\r\n",
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_key_is_the_same_in_each_form(tmp_path: Path, data: bytes) -> None:
    key = write(tmp_path / "k", data).load()

    assert key is not None
    assert make_key(SECRET, source=str(tmp_path / "k")) == key


def test_missing_file_is_no_key(tmp_path: Path) -> None:
    assert None is KeyPlace(tmp_path / "k", is_credential=False).load()


BAD = {
    "empty": b"",
    "short": SECRET[:31],
    "hexadecimal of 31 bytes": SECRET[:31].hex().encode(),
    "huge": b"a" * 100_000,
    "text": b"correct horse battery staple",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_key_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KeyUnusable, match="does not hold a key"):
        write(tmp_path / "k", data).load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777], ids=oct)
def test_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    place = write(tmp_path / "k", FORMS["raw"], mode)

    with pytest.raises(KeyUnusable, match="chmod 600"):
        place.load()
    # The service manager guards its own, and its modes mean something else there.
    assert KeyPlace(place.path, is_credential=True).load() is not None


def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    place = write(tmp_path / "k", FORMS["raw"])
    os.chown(place.path, 12345, 12345)

    with pytest.raises(KeyUnusable, match="12345"):
        place.load()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "k"
    if kind == "folder":
        path.mkdir(mode=0o700)
    else:
        os.mkfifo(path, 0o600)

    with pytest.raises(KeyUnusable):
        KeyPlace(path, is_credential=False).load()


def test_key_that_is_made_is_for_its_owner_only_and_never_the_same(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        first = write_key(tmp_path / "a")
    finally:
        os.umask(old)
    second = write_key(tmp_path / "b")

    assert 0o600 == (tmp_path / "a").stat().st_mode & 0o777
    assert first == KeyPlace(tmp_path / "a", is_credential=False).load()
    assert first.id != second.id
    assert {"a", "b"} == {path.name for path in tmp_path.iterdir()}


def test_key_is_never_written_over_another(tmp_path: Path) -> None:
    key = write_key(tmp_path / "a")

    with pytest.raises(PlaceNotWritable):
        write_key(tmp_path / "a")

    assert key == KeyPlace(tmp_path / "a", is_credential=False).load()


def test_what_is_kept_of_a_key_tells_nothing_of_it() -> None:
    key = make_key(SECRET, source="here")

    kept = key.id.encode() + key.check
    assert SECRET not in kept
    assert key.secret not in kept
    assert SECRET.hex() not in repr(key)
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_settling_gives_the_new_key_the_name_and_keeps_the_old_one(tmp_path: Path) -> None:
    places = KeyPlaces(tmp_path / "vault.key", None)
    old, new = write_key(places.file), write_key(places.next_file)

    kept = places.settle(new)
    again = places.settle(make_key(new.secret, source=str(places.file)))

    assert (str(places.old_file(old.id)), "") == (kept, again)
    assert not places.next_file.exists()
    assert new.id == _id(places.file)
    assert old.id == _id(places.old_file(old.id))


def _id(path: Path) -> str:
    key = KeyPlace(path, is_credential=False).load()
    assert key is not None
    return key.id
