"""A folder and its states: what is in it is stored, and it is put back to what was stored."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from agency.core import beneath
from agency.core.records import dataclass
from agency.errors import WorkspaceTooLarge
from agency.files.blobs import Batch, Blobs, Damaged, full_told
from agency.files.index import Index, Stat, stat_of
from agency.files.tree import Entry, Kind, Tree

LEFT_OUT_MAX = 20
"""Sentences about what cannot be kept; more would be noise."""

_SORTS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a workspace may hold."""

    bytes_max: int
    files_max: int


@dataclass(slots=True)
class Found:
    """What is in a folder now.

    Attributes:
        entries: By path; of a file without the hash of its content.
        stats: Of the files.
        left_out: What cannot be kept, and why.
        strays: Paths of what is there and cannot be kept.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    stats: dict[str, Stat] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def leave_out(self, path: str, why: str) -> None:
        """Note that something cannot be kept."""
        self.strays.append(path)
        if len(self.left_out) < LEFT_OUT_MAX:
            self.left_out.append(f"{_shown(path)} is not kept: {why}.")


class Folder:
    """One folder. Used from one thread at a time.

    Attributes:
        excluded: Folders in it that are neither kept nor touched.
    """

    def __init__(
        self, path: Path, blobs: Blobs, bounds: Bounds, *, excluded: frozenset[str] = frozenset()
    ) -> None:
        self.path = path
        self._blobs = blobs
        self._bounds = bounds
        self._excluded = excluded

    # --- what is there -----------------------------------------------------------------------

    def look(self, *, bounded: bool) -> Found:
        """Look at what is there, without reading any content.

        Args:
            bounded: More than the bounds is refused.

        Raises:
            WorkspaceTooLarge: there is more than may be kept.
        """
        found = Found()
        self._unlock()
        with beneath.folder(self.path) as root:
            self._look(root, "", 0, found, bounded=bounded)
        return found

    def _unlock(self) -> None:
        """Have the folder itself usable, whatever a command has made of its mode."""
        with beneath.folder(self.path.parent) as above:
            mode = stat.S_IMODE(os.lstat(self.path.name, dir_fd=above).st_mode)
            if mode & 0o700 != 0o700:
                beneath.set_mode(self.path.name, mode | 0o700, dir_fd=above)

    def _look(
        self, descriptor: int, above: str, depth: int, found: Found, *, bounded: bool
    ) -> None:
        with os.scandir(descriptor) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = f"{above}{name}"
            if path in self._excluded:
                continue
            try:
                looked = os.lstat(name, dir_fd=descriptor)
            except FileNotFoundError:
                continue  # gone meanwhile
            self._take(descriptor, name, path, looked, found)
            if bounded:
                self._check(found)
            if stat.S_ISDIR(looked.st_mode) and path in found.entries:
                if depth + 1 >= beneath.DEPTH_MAX:
                    del found.entries[path]
                    found.leave_out(path, "it is nested too deeply")
                    continue
                with _opened(descriptor, name, path, looked, found) as below:
                    if below is not None:
                        self._look(below, f"{path}/", depth + 1, found, bounded=bounded)

    def _take(
        self, descriptor: int, name: str, path: str, looked: os.stat_result, found: Found
    ) -> None:
        mode = stat.S_IMODE(looked.st_mode) & 0o777
        match stat.S_IFMT(looked.st_mode):
            case stat.S_IFREG if name.startswith(beneath.TEMPORARY):
                found.strays.append(path)
            case stat.S_IFREG:
                found.entries[path] = Entry(Kind.FILE, mode, looked.st_size)
                found.stats[path] = stat_of(looked)
                found.size_bytes += looked.st_size
            case stat.S_IFDIR:
                # One that its owner cannot use would only be in everybody's way.
                found.entries[path] = Entry(Kind.FOLDER, mode | 0o700)
            case stat.S_IFLNK:
                try:
                    target = os.readlink(name, dir_fd=descriptor)
                except OSError:
                    return
                if leads_inside(path, target):
                    found.entries[path] = Entry(Kind.LINK, 0, 0, target)
                else:
                    found.leave_out(path, f"it is a link that leads out, to {_shown(target)}")
            case other:
                found.leave_out(path, f"it is {_SORTS.get(other, 'no plain file')}")

    def _check(self, found: Found) -> None:
        bounds = self._bounds
        if len(found.entries) > bounds.files_max:
            raise WorkspaceTooLarge(
                f"The workspace has more than {bounds.files_max} files and folders, which is what "
                "[tools] workspace_files_max allows."
            )
        if found.size_bytes > bounds.bytes_max:
            raise WorkspaceTooLarge(
                f"The files of the workspace have more than {bounds.bytes_max} bytes, which is "
                "what [tools] workspace_bytes_max allows."
            )

    # --- from the folder to the store --------------------------------------------------------

    def store(self, index: Index, batch: Batch) -> tuple[dict[str, Entry], list[str]]:
        """Store what has changed since the index was made, and give all there is.

        The index is brought up to date; what is in the batch is not durable yet.

        Returns:
            The tree, and sentences about what could not be kept.

        Raises:
            WorkspaceTooLarge, StoreFull.
        """
        found = self.look(bounded=True)
        tree: dict[str, Entry] = {}
        size = 0
        for path, entry in found.entries.items():
            if entry.kind is not Kind.FILE:
                tree[path] = entry
                continue
            hash = index.find(path, found.stats[path])
            # What the index knows is stored: the run refers to the version that it is from.
            if hash is None:
                kept = self._store_file(path, index, batch, found)
                if kept is None:
                    continue
            else:
                kept = Entry(Kind.FILE, entry.mode, entry.size, hash)
            tree[path] = kept
            size += kept.size
            if size > self._bounds.bytes_max:  # it has grown while it was read
                found.size_bytes = size
                self._check(found)
        index.forget_others(tree)
        return tree, found.left_out

    def _store_file(self, path: str, index: Index, batch: Batch, found: Found) -> Entry | None:
        read_at_ns = time.time_ns()
        try:
            with beneath.file(self.path, path) as file:
                before = os.fstat(file)
                hash, size = batch.add_file(file, self._bounds.bytes_max)
                after = os.fstat(file)
        except FileNotFoundError:
            return None  # gone meanwhile
        except OverflowError:
            found.size_bytes = self._bounds.bytes_max + 1
            self._check(found)
            raise
        except (PermissionError, beneath.Unreachable) as error:
            found.leave_out(path, f"it cannot be read ({error.strerror or error})")
            return None
        if stat_of(before) == stat_of(after):
            index.note(path, stat_of(after), hash, read_at_ns=read_at_ns)
        else:
            index.known.pop(path, None)
        return Entry(Kind.FILE, stat.S_IMODE(after.st_mode) & 0o777, size, hash)

    # --- from the store to the folder --------------------------------------------------------

    def put_back(self, tree: Tree, index: Index) -> None:
        """Bring the folder into a state; what is so already stays untouched.

        May break off at any place; done again, it comes to its end.

        Raises:
            Damaged: a content is not there, or not what it should be.
            StoreFull: there is no room.
        """
        self._refuse_twins(tree)
        found = self.look(bounded=False)
        self._remove_others(tree, found, index)
        with full_told():
            folders = [path for path, entry in sorted(tree.items()) if entry.kind is Kind.FOLDER]
            for path in folders:
                if path not in found.entries:
                    self._put_folder(path, found)
            for path, entry in sorted(tree.items()):
                if entry.kind is Kind.FILE:
                    self._put_file(path, entry, found, index)
                elif entry.kind is Kind.LINK and path not in found.entries:
                    self._put_link(path, entry, found)
            # Last, because a folder that cannot be written takes no files.
            for path in reversed(folders):
                self._put_mode(path, tree[path].mode, found)
        index.forget_others(tree)

    def _refuse_twins(self, tree: Tree) -> None:
        """Refuse names that only differ in case where the file system takes them for one."""
        twin = self.path.with_name(self.path.name.swapcase())
        if twin == self.path or not (twin.exists() and twin.samefile(self.path)):
            return
        seen: dict[str, str] = {}
        for path in tree:
            folded = unicodedata.normalize("NFC", path).casefold()
            if folded in seen:
                both = f"{_shown(seen[folded])} and {_shown(path)}"
                raise Damaged(f"{both} are one name on this file system.")
            seen[folded] = path

    def _remove_others(self, tree: Tree, found: Found, index: Index) -> None:
        """Remove what is not in the state, or of another kind."""
        gone = [
            path
            for path, entry in found.entries.items()
            if path not in tree or tree[path].kind is not entry.kind
        ]
        gone += found.strays
        gone += [
            path
            for path, entry in found.entries.items()
            if entry.kind is Kind.LINK and path in tree and tree[path] != entry
        ]
        removed: set[str] = set()
        for path in sorted(set(gone)):
            if any(f"{above}/" in removed for above in _above(path)):
                continue
            if any(one == path or one.startswith(f"{path}/") for one in self._excluded):
                continue
            with (
                contextlib.suppress(FileNotFoundError),
                self._writable(path, found) as (above, name),
            ):
                beneath.remove(name, dir_fd=above)
            removed.add(f"{path}/")
            found.entries.pop(path, None)
            index.known.pop(path, None)

    @contextlib.contextmanager
    def _writable(self, path: str, found: Found) -> Iterator[tuple[int, str]]:
        """Open the folder of a path, and see that names in it can be changed."""
        *above, name = beneath.split(path)
        with beneath.folder(self.path, tuple(above)) as folder:
            if not os.fstat(folder).st_mode & stat.S_IWUSR:
                os.fchmod(folder, 0o700)
                found.entries.pop("/".join(above), None)  # its mode is not what it was
            yield folder, name

    def _put_folder(self, path: str, found: Found) -> None:
        with self._writable(path, found) as (above, name):
            os.mkdir(name, 0o700, dir_fd=above)

    def _put_mode(self, path: str, mode: int, found: Found) -> None:
        there = found.entries.get(path)
        if there is not None and there.mode == mode:
            return
        *above, name = beneath.split(path)
        with beneath.folder(self.path, tuple(above)) as folder:
            beneath.set_mode(name, mode, dir_fd=folder)

    def _put_file(self, path: str, entry: Entry, found: Found, index: Index) -> None:
        there = found.entries.get(path)
        if there is not None and self._is_same(path, entry, found, index):
            if there.mode != entry.mode:
                self._put_mode(path, entry.mode, found)
                index.known.pop(path, None)
            return
        with self._writable(path, found) as (above, name):
            self._write(name, entry, above)
            looked = os.lstat(name, dir_fd=above)
            index.note(path, stat_of(looked), entry.what, read_at_ns=time.time_ns())

    def _is_same(self, path: str, entry: Entry, found: Found, index: Index) -> bool:
        stat = found.stats[path]
        if stat.size != entry.size:
            return False
        known = index.find(path, stat)
        if known is not None:
            return known == entry.what
        read_at_ns = time.time_ns()
        try:
            with beneath.file(self.path, path) as file:
                before = stat_of(os.fstat(file))
                hash = _hash(file)
                after = stat_of(os.fstat(file))
        except PermissionError:
            return False  # a command has taken it from its owner: it is written anew
        if before != after or hash != entry.what:
            return False
        index.note(path, after, hash, read_at_ns=read_at_ns)
        return True

    def _write(self, name: str, entry: Entry, above: int) -> None:
        new = beneath.TEMPORARY + os.urandom(8).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(new, flags, 0o600, dir_fd=above)
        try:
            try:
                for piece in self._blobs.pieces(entry.what):
                    beneath.write_all(file, piece)
                os.fchmod(file, entry.mode)
            finally:
                os.close(file)
            os.rename(new, name, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=above)
            raise

    def _put_link(self, path: str, entry: Entry, found: Found) -> None:
        with self._writable(path, found) as (above, name):
            os.symlink(entry.what, name, dir_fd=above)


def leads_inside(path: str, target: str) -> bool:
    """Tell whether a link's target is beneath the folder, as far as its words say."""
    if target.startswith("/"):
        return False
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in {"", "."}:
            depth += 1
        if depth < 0:
            return False
    return True


def changes(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> list[str]:
    """List the paths of files and links that differ."""
    paths = {
        path
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
        and Kind.FOLDER not in {e.kind for e in (one.get(path), other.get(path)) if e is not None}
    }
    return sorted(paths)


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@contextlib.contextmanager
def _opened(
    descriptor: int, name: str, path: str, looked: os.stat_result, found: Found
) -> Iterator[int | None]:
    """Open a folder; None, with a note, if it cannot be."""
    try:
        if looked.st_mode & 0o500 != 0o500:
            beneath.set_mode(name, stat.S_IMODE(looked.st_mode) | 0o700, dir_fd=descriptor)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        below = os.open(name, flags, dir_fd=descriptor)
    except OSError as error:
        if error.errno != errno.ENOENT:
            del found.entries[path]
            found.leave_out(path, f"it cannot be read ({error.strerror})")
        yield None
        return
    try:
        yield below
    finally:
        os.close(below)


def _hash(file: int) -> str:
    digest = hashlib.sha256()
    while piece := os.read(file, 1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _shown(path: str) -> str:
    return repr(path[:200].encode(errors="surrogateescape").decode(errors="replace"))
