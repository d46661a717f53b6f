"""One run's workspace: its folder, the state that it is in, and the versions that it has kept."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from agency.core import beneath
from agency.errors import InvalidInput, WorkspaceLost, WorkspaceTooLarge
from agency.files import index as indexes
from agency.files import tree as trees
from agency.files.blobs import Blobs, Damaged, full_told
from agency.files.folder import Bounds, Folder, changes
from agency.files.index import Index
from agency.files.tree import Tree, Version
from agency.ports.workspace import OWN, PACKAGES, RESULTS, VersionStore

T = TypeVar("T")

NAME_CHARACTERS_MAX = 64
"""Of a kept text's name; what makes it unique comes after it."""

EMPTY = ""
"""As what a version is taken back to: the empty folder that every run begins with."""

RESULTS_SHARE = 4
"""Results have at most this part of what a workspace may hold, and the oldest make room: a run of
hours has more of them than fit, and must not end for it."""

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


class RunWorkspace:
    """A workspace; its promises are those of `agency.ports.workspace.Workspace`."""

    def __init__(  # noqa: PLR0913  one for each place and part
        self,
        run_id: str,
        *,
        folder: Path,
        index_path: Path,
        blobs: Blobs,
        bounds: Bounds,
        versions: VersionStore,
        threads: Executor,
        is_busy: Callable[[], bool],
        in_use: set[RunWorkspace],
    ) -> None:
        """Name the places; nothing is made before it is asked for.

        Args:
            is_busy: Tells whether a command of the run works on in the background.
            in_use: Holds it while it may have changes that are not kept: nobody else may be given
                another object for the same folder, which would put it back.
        """
        self._run_id = run_id
        self._path = folder
        self._index_path = index_path
        self._blobs = blobs
        self._bounds = bounds
        self._folder = Folder(folder, blobs, bounds, excluded=frozenset({PACKAGES}))
        self._versions = versions
        self._threads = threads
        self._is_busy = is_busy
        self._in_use = in_use
        self._turn = asyncio.Lock()
        self._index: Index | None = None
        self._is_open = False
        # The state in which the folder was last.
        self._version: str | None = None
        self._before: tuple[str | None] | None = None
        self._left_out: Sequence[str] = ()
        self._noted: str | None = None

    @property
    def path(self) -> Path:
        """Where the folder is; see `Workspace.path`."""
        return self._path

    @property
    def left_out(self) -> Sequence[str]:
        """What the last `keep` could not keep; see `Workspace.left_out`."""
        return self._left_out

    async def open(self, version: str | None) -> Path:
        """Make the folder ready; see `Workspace.open`."""
        async with self._turn:
            return await self._open(version)

    async def folder(self) -> Path:
        """Hand back the folder as it is; see `Workspace.folder`."""
        async with self._turn:
            return await self._ready()

    async def keep(self) -> str:
        """Keep the present state; see `Workspace.keep`."""
        async with self._turn:
            await self._ready()
            version, index = await self._in_thread(self._keep)
            await self._note(version)
            # Only now: it speaks of contents that are safe because the run refers to them.
            await self._in_thread(partial(indexes.save, self._index_path, index))
            self._index = index
            self._version, self._before = version, None
            if not self._is_busy():
                self._in_use.discard(self)
            return version

    async def discard(self, is_live: Callable[[], Awaitable[bool]]) -> None:
        """Remove the folder, unless the run is live; it can be opened again from what was kept."""
        async with self._turn:
            if await is_live():
                return
            self._is_open, self._index = False, None
            self._in_use.discard(self)
            await self._in_thread(self._remove)

    async def keep_text(self, name: str, text: str) -> str:
        """Write a text beside the run's own files; see `Workspace.keep_text`."""
        content = text.encode(errors="replace")
        digest = hashlib.sha256(content).hexdigest()[:8]
        clean = _UNFIT.sub("-", name).strip("-.")[:NAME_CHARACTERS_MAX] or "text"
        name = f"{clean}-{digest}.txt"
        path = f"{RESULTS}/{name}"
        async with self._turn:
            await self._ready()
            await self._in_thread(partial(self._write_file, path, content))
            await self._in_thread(partial(self._make_room, name))
        return path

    async def put(self, path: str, content: bytes) -> None:
        """Write a file; see `Workspace.put`."""
        if len(content) > self._bounds.bytes_max:
            raise WorkspaceTooLarge(
                f"The file {path!r} has {len(content)} bytes, and [tools] workspace_bytes_max "
                f"allows {self._bounds.bytes_max} for all files."
            )
        await self._write(path, content)

    async def undo(self) -> Sequence[str]:
        """Put the folder back to before the last kept change; see `Workspace.undo`."""
        async with self._turn:
            await self._ready()
            return await self._in_thread(self._undo)

    # --- under the lock ----------------------------------------------------------------------

    async def _ready(self) -> Path:
        if not self._is_open:
            await self._open(await self._versions.newest(self._run_id))
        self._in_use.add(self)
        return self._path

    async def _open(self, version: str | None) -> Path:
        if self._is_open and version == self._version and self._is_busy():
            self._in_use.add(self)
            return self._path
        # Should it break off, it is not known any more what the folder holds.
        self._is_open, self._before = False, None
        await self._in_thread(partial(self._restore, version))
        if version is not None:
            await self._note(version)
        self._is_open, self._version = True, version
        self._in_use.add(self)
        return self._path

    async def _write(self, path: str, content: bytes) -> None:
        async with self._turn:
            await self._ready()
            await self._in_thread(partial(self._write_file, path, content))

    async def _note(self, version: str) -> None:
        if self._noted != version:
            await self._versions.add(self._run_id, version)
            self._noted = version

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """Do it in a thread, and come back only when it is done, also when cancelled."""
        return await whole(asyncio.get_running_loop().run_in_executor(self._threads, function))

    # --- in a thread -------------------------------------------------------------------------

    def _restore(self, version: str | None) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._index is None:
            self._index = indexes.load(self._index_path)
        tree: Tree = self._load(version).tree if version is not None else {}
        try:
            self._folder.put_back(tree, self._index)
        except Damaged as error:
            raise _lost(self._run_id, error) from error

    def _keep(self) -> tuple[str, Index]:
        assert self._index is not None, "it is kept only when it is open"
        # A copy: what is stored now counts as stored only when the run refers to it.
        index = self._index.copy()
        batch = self._blobs.batch()
        try:
            tree, self._left_out = self._folder.store(index, batch)
            name = self._version
            base = self._load(name) if name is not None else None
            if base is None or tree != base.tree:
                version = Version(tree=tree, before=self._before_of(tree, base))
                name = batch.add(trees.write(version, base_name=name, base=base))
            batch.commit()
        except BaseException:
            batch.drop()
            raise
        assert name is not None
        return name, index

    def _before_of(self, tree: Tree, base: Version | None) -> str | None:
        """Tell what a new version is taken back to: nothing is undone that only tools keep."""
        if self._before is not None:
            return self._before[0]
        earlier = base.tree if base is not None else {}
        if all(_is_own(path) for path in changes(tree, earlier)):
            return base.before if base is not None else None
        return self._version or EMPTY

    def _undo(self) -> list[str]:
        assert self._index is not None
        if self._version is None:
            return []
        now = self._load(self._version)
        if now.before is None:
            return []
        earlier = Version(tree={}) if now.before == EMPTY else self._load(now.before)
        tree = {path: entry for path, entry in earlier.tree.items() if not _is_own(path)}
        tree |= {path: entry for path, entry in now.tree.items() if _is_own(path)}
        try:
            self._folder.put_back(tree, self._index)
        except Damaged as error:
            raise _lost(self._run_id, error) from error
        self._before = (earlier.before,)
        return changes(tree, now.tree)

    def _remove(self) -> None:
        self._index_path.unlink(missing_ok=True)
        with beneath.folder(self._path.parent) as above:
            beneath.remove(self._path.name, dir_fd=above)

    def _write_file(self, path: str, content: bytes) -> None:
        try:
            with full_told():
                if _is_own(path):
                    self._clear_way(path)
                beneath.write(self._path, path, content)
        except OSError as error:
            if error.errno == errno.EIO:
                raise
            raise InvalidInput(f"The file {path!r} cannot be written: {error.strerror}") from error

    def _clear_way(self, path: str) -> None:
        """Remove what a command has put where the tools' own folders are: links, files, pipes.

        Else whatever is long could not be told any more, for as long as the run goes on.
        """
        *above, _ = beneath.split(path)
        for place, name in enumerate(above):
            with beneath.folder(self._path, tuple(above[:place])) as folder:
                try:
                    mode = os.lstat(name, dir_fd=folder).st_mode
                except FileNotFoundError:
                    return
                if not stat.S_ISDIR(mode):
                    os.unlink(name, dir_fd=folder)
                    return
                if stat.S_IMODE(mode) & 0o700 != 0o700:
                    beneath.set_mode(name, stat.S_IMODE(mode) | 0o700, dir_fd=folder)

    def _make_room(self, newest: str) -> None:
        """Remove the oldest results while there are more than fit, but for the newest one."""
        with beneath.folder(self._path, beneath.split(RESULTS)) as folder:
            with os.scandir(folder) as entries:
                looked = [
                    (found.st_mtime_ns, entry.name, found.st_size)
                    for entry in entries
                    if stat.S_ISREG((found := entry.stat(follow_symlinks=False)).st_mode)
                ]
            left, size = len(looked), sum(one[2] for one in looked)
            bounds = self._bounds
            for _, name, its_size in sorted(looked):
                is_much = size > bounds.bytes_max // RESULTS_SHARE
                if not is_much and left <= max(1, bounds.files_max // RESULTS_SHARE):
                    return
                if name != newest:
                    os.unlink(name, dir_fd=folder)
                    left, size = left - 1, size - its_size

    def _load(self, name: str) -> Version:
        return load(self._blobs, self._run_id, name)


def load(blobs: Blobs, run_id: str, name: str) -> Version:
    """Read a version.

    Raises:
        WorkspaceLost: it is not there, or damaged.
    """
    try:
        return trees.read(name, partial(blobs.read, bytes_max=trees.VERSION_BYTES_MAX))
    except (Damaged, trees.NoVersion) as error:
        raise _lost(run_id, error) from error


async def whole(future: Awaitable[T]) -> T:
    """Wait for a thread's work to its end; a cancellation comes through only then."""
    work = asyncio.ensure_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled():
            work.exception()  # it is seen: the cancellation comes first
        raise cancelled
    return work.result()


def _is_own(path: str) -> bool:
    return path == OWN or path.startswith(f"{OWN}/")


def _lost(run_id: str, error: Exception) -> WorkspaceLost:
    return WorkspaceLost(
        f"The files of the run {run_id!r} cannot be put back: {error}",
        hint="Restore the folder `files` of the data directory from a backup, or fork the run "
        "from an earlier point.",
    )
