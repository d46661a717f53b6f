"""Keys: where they come from, what is derived from them, and how a file of one is written.

From the 32 bytes of a key three things are derived, so that none tells anything of another: the
key that values are sealed with, an id to tell keys apart, and a proof by which the right one is
known. Source: RFC 5869, section 2.3, one block each; the first step is not needed for a key that
is random already.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from agency.core.records import dataclass
from agency.errors import PlaceNotWritable

CREDENTIAL = "agency-vault-key"
"""Name of the credential of the service manager."""
CREDENTIAL_NEXT = "agency-vault-key-next"
"""The one that a change of the key goes to."""

KEY_BYTES = 32
_HEX = re.compile(rb"[0-9a-fA-F]{64}")
_FILE_BYTES_MAX = 4096


class KeyUnusable(Exception):
    """There is something where the key should be, and it is no key that may be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key, and what is derived from it.

    Attributes:
        source: Where it comes from, for people.
    """

    source: str
    secret: bytes = field(repr=False)
    id: str
    check: bytes = field(repr=False)


def make_key(secret: bytes, *, source: str) -> Key:
    """Derive from 32 bytes what is needed of them."""
    assert len(secret) == KEY_BYTES
    return Key(
        source=source,
        secret=_derive(secret, b"agency secrets sealing"),
        id=_derive(secret, b"agency secrets key id")[:8].hex(),
        check=_derive(secret, b"agency secrets key check"),
    )


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, purpose + b"\x01", hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """A file that may hold a key.

    Attributes:
        is_credential: The service manager has put it there, and guards it.
    """

    path: Path
    is_credential: bool

    def load(self) -> Key | None:
        """Read the key; None when there is no such file.

        Raises:
            KeyUnusable: others may read it, or it holds something else.
        """
        # A pipe in its place would else be waited at for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyUnusable(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            # Of the file that was opened: one that is put in its place meanwhile is not looked at.
            if not self.is_credential:
                _check_guarded(os.fstat(descriptor), self.path)
            data = os.read(descriptor, _FILE_BYTES_MAX + 1)
        except OSError as error:  # a folder, for example
            raise KeyUnusable(f"{self.path} cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)
        return make_key(_parse(data, self.path), source=str(self.path))


def _check_guarded(status: os.stat_result, path: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise KeyUnusable(f"{path} is not a file")
    if mode & 0o077:
        raise KeyUnusable(
            f"{path} has the mode {mode:o}, so that others may use it; 600 is needed "
            f"(chmod 600 {path})"
        )
    # root may have put it there for the service's user, who then has the right to read it.
    if status.st_uid not in {os.geteuid(), 0}:
        raise KeyUnusable(
            f"{path} belongs to the user with the number {status.st_uid}, and this process runs as "
            f"{os.geteuid()}"
        )


def _parse(data: bytes, path: Path) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode())
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise KeyUnusable(
            f"{path} does not hold a key: 32 bytes are needed, as they are, in hexadecimal or in "
            f"base64 (openssl rand -hex 32)"
        )
    return secret


def write_key(path: Path) -> Key:
    """Make a key, and write it to a file that is not there yet; synced when this returns.

    Raises:
        PlaceNotWritable: that cannot be done, or the file is there.
    """
    secret = os.urandom(KEY_BYTES)
    # Under another name first, so that what is there under the right one is always whole.
    fresh = path.with_name(f"{path.name}.part")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            # The umask may have taken bits away, never given any.
            os.fchmod(file.fileno(), 0o600)
            file.write(secret.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)  # unlike a rename it never replaces a key
        fresh.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise PlaceNotWritable(str(path), error.strerror or str(error)) from error
    return make_key(secret, source=str(path))


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """All places where the key may be.

    Attributes:
        file: The key file, which we make and change.
        credentials: Folder of the service manager's credentials, or None.
    """

    file: Path
    credentials: Path | None

    @property
    def next_file(self) -> Path:
        """Where a new key is until all secrets are sealed with it."""
        return self.file.with_name(f"{self.file.name}.new")

    def old_file(self, key_id: str) -> Path:
        """Where a key is that was in use once."""
        return self.file.with_name(f"{self.file.name}.old-{key_id}")

    def all(self) -> Sequence[KeyPlace]:
        """List them, in the order in which they count."""
        places = []
        if self.credentials is not None:
            places = [
                KeyPlace(self.credentials / name, is_credential=True)
                for name in (CREDENTIAL, CREDENTIAL_NEXT)
            ]
        return [*places, *(KeyPlace(path, is_credential=False) for path in self._files())]

    def _files(self) -> Sequence[Path]:
        return (self.file, self.next_file)

    def settle(self, current: Key) -> str:
        """Give the key in use its own name, if it still has that of a new one.

        Returns:
            The file in which the key that had the name before is now, or empty.

        Raises:
            OSError: that cannot be done; it is done at another time.
        """
        if current.source != str(self.next_file):
            return ""
        kept = ""
        try:
            old = KeyPlace(self.file, is_credential=False).load()
        except KeyUnusable:
            old = None
        if self.file.exists():
            place = self.old_file(old.id if old else "unknown")
            # A second name first: at no moment is there a key without one.
            place.unlink(missing_ok=True)
            os.link(self.file, place)
            kept = str(place)
        self.next_file.replace(self.file)
        sync_folder(self.file.parent)
        return kept
