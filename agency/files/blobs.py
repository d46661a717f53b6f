"""Contents of files, each once, under the SHA-256 of what it holds.

A content is written and synced under another name before it gets its own, and its folder is synced
before anybody is told its hash: what has a hash is whole, also after a power cut. Nothing is ever
changed; what nobody refers to is swept away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agency.core import beneath
from agency.errors import StoreFull, WorkspaceLost

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 20
"""Read and written at once: what a file of any size costs of memory."""

SPARE_S = 3600.0
"""A content that was written or found again so recently is not swept: a version that is just being
kept may be about to refer to it."""

SYNC_THREADS = 8
"""Syncs under way at once: file systems do those that meet each other together."""

_HASH = re.compile(r"[0-9a-f]{64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Damaged(Exception):
    """A content is not what its hash says, or it is gone."""


class Blobs:
    """A folder of contents. Used from threads; one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if need be; what an interrupted write has left is removed."""
        self._folder = folder
        self._new = folder / "new"
        self._new.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for left in self._new.iterdir():
            left.unlink()
        # Between a look at a content's age and its end nobody may find it again.
        self._lock = threading.Lock()

    def path_of(self, hash: str) -> Path:
        """Tell where a content is, or would be."""
        assert _HASH.fullmatch(hash), hash
        return self._folder / hash[:2] / hash[2:]

    def find(self, hash: str) -> int | None:
        """Tell the size of a content; None if it is not there. It is spared by sweeps for a while.

        What is there may be damaged: only reading it finds out.
        """
        path = self.path_of(hash)
        with self._lock, contextlib.suppress(FileNotFoundError):
            os.utime(path)
            return path.stat().st_size
        return None

    def read(self, hash: str, bytes_max: int) -> bytes:
        """Read a content that is small enough for memory.

        Raises:
            Damaged: it is not there, not what it should be, or too large.
        """
        content = bytearray()
        for piece in self.pieces(hash):
            content += piece
            if len(content) > bytes_max:
                raise Damaged(f"The content {hash} has more than {bytes_max} bytes.")
        return bytes(content)

    def pieces(self, hash: str) -> Iterator[bytes]:
        """Read a content piece by piece; that it is damaged is told after the last one.

        Raises:
            Damaged: it is not there, or not what it should be.
        """
        digest = hashlib.sha256()
        try:
            with self.path_of(hash).open("rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    digest.update(piece)
                    yield piece
        except FileNotFoundError as error:
            raise Damaged(f"The content {hash} is not there.") from error
        if digest.hexdigest() != hash:
            self._put_aside(hash)
            raise Damaged(f"The content {hash} is damaged.")

    def _put_aside(self, hash: str) -> None:
        """Take a damaged content away, so that the next one to keep the same writes it anew."""
        log.error("a stored file is damaged", extra={"hash": hash})
        path = self.path_of(hash)
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(path.name + ".damaged"))

    def batch(self) -> Batch:
        """Begin to store contents that are wanted together."""
        return Batch(self)

    def hashes(self) -> Iterator[str]:
        """List what is stored."""
        for folder in sorted(self._folder.iterdir()):
            if len(folder.name) == 2:
                for path in folder.iterdir():
                    if _HASH.fullmatch(folder.name + path.name):
                        yield folder.name + path.name

    def sweep(self, is_needed: Callable[[str], bool], *, now_s: float | None = None) -> int:
        """Delete what nobody needs and is not new, and tell how many bytes that were."""
        before_s = (time.time() if now_s is None else now_s) - SPARE_S
        freed = 0
        for hash in self.hashes():
            if is_needed(hash):
                continue
            path = self.path_of(hash)
            with self._lock, contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if found.st_mtime < before_s:
                    path.unlink()
                    freed += found.st_size
        return freed

    @contextlib.contextmanager
    def fresh(self) -> Iterator[tuple[Path, int]]:
        """Open a new file, not yet a content; it is removed if the block raises."""
        path = self._new / secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(path, flags, 0o400)
        try:
            yield path, file
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(file)


class Batch:
    """Contents that become durable together, with as few syncs as possible.

    What was added and not committed is removed by `drop`.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._written: dict[str, Path] = {}

    def add(self, content: bytes) -> str:
        """Store bytes, and hand back their hash."""
        hash = hashlib.sha256(content).hexdigest()
        if hash in self._written or self._blobs.find(hash) == len(content):
            return hash
        with full_told(), self._blobs.fresh() as (path, file):
            beneath.write_all(file, content)
        self._written[hash] = path
        return hash

    def add_file(self, source: int, bytes_max: int) -> tuple[str, int]:
        """Store what is read from a descriptor, and hand back its hash and size.

        The hash is that of what is stored, also if the file is changed meanwhile.

        Raises:
            OverflowError: it has more than ``bytes_max`` bytes.
        """
        digest = hashlib.sha256()
        size = 0
        with full_told(), self._blobs.fresh() as (path, file):
            while piece := os.read(source, PIECE_BYTES):
                size += len(piece)
                if size > bytes_max:
                    raise OverflowError(size)
                digest.update(piece)
                beneath.write_all(file, piece)
        hash = digest.hexdigest()
        if hash in self._written or self._blobs.find(hash) == size:
            path.unlink()
        else:
            self._written[hash] = path
        return hash, size

    def commit(self) -> None:
        """Sync what was added, and give it its name.

        Raises:
            StoreFull: there is no room; nothing that is named is damaged.
        """
        if not self._written:
            return
        with full_told():
            if len(self._written) == 1:
                sync(next(iter(self._written.values())))
            else:
                with ThreadPoolExecutor(SYNC_THREADS, "sync-files") as threads:
                    list(threads.map(sync, self._written.values()))
            folders = set()
            is_new = False
            for hash, path in self._written.items():
                place = self._blobs.path_of(hash)
                if not place.parent.exists():
                    place.parent.mkdir(mode=0o700, exist_ok=True)
                    is_new = True
                path.rename(place)
                folders.add(place.parent)
            for folder in sorted(folders):
                sync(folder)
            if is_new:
                sync(self._blobs.path_of("0" * 64).parent.parent)
        self._written.clear()

    def drop(self) -> None:
        """Remove what was added and not committed."""
        for path in self._written.values():
            path.unlink(missing_ok=True)
        self._written.clear()


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # On macOS an fsync leaves it in the cache of the drive.
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None and path.is_file():
            fcntl.fcntl(file, full)
        else:
            os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def full_told() -> Iterator[None]:
    """Tell a full disk as our own error."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull("The disk has no room for the files of the run.") from error
        raise


def lost(error: Damaged) -> WorkspaceLost:
    """Tell that a state cannot be put back."""
    return WorkspaceLost(f"The files of the run cannot be put back: {error}")
