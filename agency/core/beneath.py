"""Files beneath a folder, reached without ever following a link.

Whoever works in the folder may be hostile and fast: it may put a link where a folder was between
our look and our step. So nothing here is reached by a path: each step is one name, opened from the
folder before it, and refused by the kernel if it is a link.
Source: open(2), ``O_NOFOLLOW``; the attack is known as a symlink race.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

DEPTH_MAX = 64
"""Folders below each other: each costs an open file while it is walked."""

TEMPORARY = ".agency-new-"
"""How a file is called while it is written; what a crash has left of them is no file of a run."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe would else hold up whoever opens it until somebody writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unreachable(OSError):
    """A path does not lead to a file or folder beneath; the text says why, in a sentence."""


def split(path: str) -> tuple[str, ...]:
    """Take a relative path apart; ``.`` and ``..`` are worked out before anything is opened.

    Raises:
        Unreachable: it is absolute, leads out of the folder, or is too deep.
    """
    if "\0" in path:
        raise Unreachable(errno.EINVAL, f"The path {path!r} holds a NUL character.")
    if path.startswith("/"):
        raise Unreachable(errno.EINVAL, f"The path {path!r} is not relative to the workspace.")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise Unreachable(errno.EACCES, f"The path {path!r} leads out of the workspace.")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    if len(parts) > DEPTH_MAX:
        raise Unreachable(errno.ENAMETOOLONG, f"The path {path[:200]!r}… is too deep.")
    return tuple(parts)


@contextlib.contextmanager
def folder(root: Path, parts: tuple[str, ...] = (), *, make: bool = False) -> Iterator[int]:
    """Open a folder beneath ``root``, and hand out its descriptor.

    Args:
        make: Make folders that are not there.

    Raises:
        Unreachable: a part is a link, or no folder.
        FileNotFoundError: it is not there.
    """
    current = os.open(root, _FOLDER)
    try:
        for place, part in enumerate(parts):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=current)
            below = _step(current, part, "/".join(parts[: place + 1]))
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _step(current: int, part: str, path: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=current)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise Unreachable(error.errno, f"{path!r} is a link, which is not followed.") from error
        if error.errno == errno.ENOTDIR:
            is_link = _is_link(current, part)
            what = "a link, which is not followed" if is_link else "no folder"
            raise Unreachable(error.errno, f"{path!r} is {what}.") from error
        raise


def _is_link(current: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=current).st_mode)
    except FileNotFoundError:
        return False


def open_regular(name: str, *, dir_fd: int) -> int:
    """Open a plain file for reading, and nothing else.

    Raises:
        Unreachable: it is a link, a folder, a pipe, a socket or a device.
        FileNotFoundError: it is not there.
    """
    try:
        found = os.open(name, _FILE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise Unreachable(error.errno, f"{name!r} is a link, which is not followed.") from error
        if error.errno in {errno.ENXIO, errno.EOPNOTSUPP}:
            raise Unreachable(error.errno, f"{name!r} is no plain file.") from error
        raise
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    is_folder = stat.S_ISDIR(os.fstat(found).st_mode)
    os.close(found)
    what = "is a folder" if is_folder else "is no plain file"
    raise Unreachable(errno.EISDIR if is_folder else errno.ENXIO, f"{name!r} {what}.")


@contextlib.contextmanager
def file(root: Path, path: str) -> Iterator[int]:
    """Open a plain file beneath ``root`` for reading.

    Raises:
        Unreachable, FileNotFoundError: as `split`, `folder` and `open_regular`.
    """
    parts = split(path)
    if not parts:
        raise Unreachable(errno.EISDIR, f"{path!r} is the workspace itself.")
    with folder(root, parts[:-1]) as above:
        found = open_regular(parts[-1], dir_fd=above)
    try:
        yield found
    finally:
        os.close(found)


def write(root: Path, path: str, content: bytes) -> None:
    """Write a file beneath ``root``, whole or not at all, with the folders above it.

    A file that is there keeps its mode. Nothing is synced.

    Raises:
        Unreachable: as `split` and `folder`, or there is a link or a folder of that name.
        OSError: it cannot be written.
    """
    parts = split(path)
    if not parts:
        raise Unreachable(errno.EISDIR, f"{path!r} is the workspace itself.")
    with folder(root, parts[:-1], make=True) as above:
        mode = _mode_of(above, parts[-1], path)
        temporary = TEMPORARY + secrets.token_hex(8)
        new = os.open(temporary, _NEW, 0o600, dir_fd=above)
        try:
            try:
                write_all(new, content)
                os.fchmod(new, mode)
            finally:
                os.close(new)
            os.rename(temporary, parts[-1], src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=above)
            raise


def _mode_of(above: int, name: str, path: str) -> int:
    """Tell the mode of the file that is replaced, else the one of new files."""
    try:
        found = os.lstat(name, dir_fd=above)
    except FileNotFoundError:
        return 0o644
    if stat.S_ISREG(found.st_mode):
        return stat.S_IMODE(found.st_mode) & 0o777
    what = "a link, which is not followed" if stat.S_ISLNK(found.st_mode) else "no plain file"
    raise Unreachable(errno.EEXIST, f"{path!r} is {what}.")


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it; a single call may write less."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def read_all(descriptor: int, bytes_max: int) -> bytes:
    """Read a file up to so many bytes."""
    pieces = []
    left = bytes_max
    while left > 0 and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def remove(name: str, *, dir_fd: int) -> None:
    """Remove a file, or a folder with all that is in it, however deep; links are not followed.

    Raises:
        OSError: something of it cannot be removed.
    """
    left = [name]
    while left:
        _remove(dir_fd, left.pop(), dir_fd, left, depth=0)


def _remove(above: int, name: str, base: int, left: list[str], *, depth: int) -> None:
    """Remove what is there; what is too deep is moved up to ``base`` and left for later."""
    try:
        found = os.lstat(name, dir_fd=above)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=above)
        return
    if depth >= DEPTH_MAX:
        moved = TEMPORARY + secrets.token_hex(8)
        os.rename(name, moved, src_dir_fd=above, dst_dir_fd=base)
        left.append(moved)
        return
    if found.st_mode & 0o700 != 0o700:
        set_mode(name, 0o700, dir_fd=above)
    below = os.open(name, _FOLDER, dir_fd=above)
    try:
        with os.scandir(below) as entries:
            names = [entry.name for entry in entries]
        for below_it in names:
            _remove(below, below_it, base, left, depth=depth + 1)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=above)


def set_mode(name: str, mode: int, *, dir_fd: int) -> None:
    """Change the mode of a file or folder; a link is refused, not followed.

    Raises:
        OSError: it cannot be changed.
    """
    # fchmodat cannot leave links alone on Linux; a descriptor that is only a path can, by /proc.
    path_only = getattr(os, "O_PATH", None)
    if path_only is None:
        os.chmod(name, mode, dir_fd=dir_fd, follow_symlinks=False)
        return
    found = os.open(name, path_only | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(found).st_mode):
            raise Unreachable(errno.ELOOP, f"{name!r} is a link, which is not followed.")
        Path(f"/proc/self/fd/{found}").chmod(mode)
    finally:
        os.close(found)
