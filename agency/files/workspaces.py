"""The workspaces of all runs, over one store of contents; and what becomes of those not needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from agency.core.ids import is_id
from agency.errors import RunFileNotFound, RunNotFound, WorkspaceLost
from agency.files import tree as trees
from agency.files.blobs import SPARE_S, Blobs, Damaged, lost
from agency.files.folder import Bounds
from agency.files.tree import Kind
from agency.files.workspace import RunWorkspace, load, whole
from agency.ports.workspace import KeptFile, KeptPage, Luggage, VersionStore

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS = 4
"""Workspaces that are kept or put back at once: more only wait for the same disk."""

ROWS = 500
"""Versions that are read at once when it is looked for what is needed."""

PACKED_VERSIONS_MAX = 16
"""Newest versions that go with a run: it goes on with one, and can be forked at the others."""


class FileWorkspaces:
    """All workspaces; the promises are those of `agency.ports.workspace.Workspaces`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        versions: VersionStore,
        bounds: Bounds,
        threads: ThreadPoolExecutor,
        is_busy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._folders = data_dir / "workspaces"
        self._data_dir = data_dir
        self._versions = versions
        self._bounds = bounds
        self._threads = threads
        self._is_busy = is_busy
        self._made: WeakValueDictionary[str, RunWorkspace] = WeakValueDictionary()
        self._in_use: set[RunWorkspace] = set()
        self._blobs: Blobs | None = None

    def of(self, run_id: str) -> RunWorkspace:
        """Give a run's workspace; see `Workspaces.of`."""
        if not is_id(run_id):
            raise RunNotFound(run_id)
        run_id = run_id.lower()
        workspace = self._made.get(run_id)
        if workspace is None:
            workspace = RunWorkspace(
                run_id,
                folder=self._folders / run_id,
                index_path=self._folders / "index" / f"{run_id}.json",
                blobs=self.blobs(),
                bounds=self._bounds,
                versions=self._versions,
                threads=self._threads,
                is_busy=partial(self._is_busy, run_id),
                in_use=self._in_use,
            )
            self._made[run_id] = workspace
        return workspace

    async def reopen(self, run_id: str) -> RunWorkspace:
        """Give a run's workspace in its newest version; see `Workspaces.reopen`."""
        workspace = self.of(run_id)
        await workspace.open(await self._versions.newest(run_id))
        return workspace

    def blobs(self) -> Blobs:
        """Open the store of contents, when it is first asked for."""
        if self._blobs is None:
            self._blobs = Blobs(self._data_dir / "files")
            (self._folders / "index").mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._blobs

    async def list(self, run_id: str, *, after: int, limit: int) -> KeptPage:
        """List files of the newest version; see `Workspaces.list`."""
        name = await self._versions.newest(run_id)
        if name is None:
            return KeptPage(version=None, files=(), files_total=0, bytes_total=0)
        version = await self._in_thread(partial(load, self.blobs(), run_id, name))
        paths = sorted(path for path, entry in version.tree.items() if entry.kind is Kind.FILE)
        files = [
            KeptFile(
                path=path,
                size_bytes=version.tree[path].size,
                hash=version.tree[path].what,
                is_executable=bool(version.tree[path].mode & 0o100),
            )
            for path in paths[after : after + limit]
        ]
        return KeptPage(
            version=name,
            files=files,
            files_total=version.files,
            bytes_total=version.size_bytes,
        )

    async def read(self, run_id: str, path: str) -> tuple[KeptFile, AsyncIterator[bytes]]:
        """Read a file of the newest version; see `Workspaces.read`."""
        name = await self._versions.newest(run_id)
        version = None
        if name is not None:
            version = await self._in_thread(partial(load, self.blobs(), run_id, name))
        entry = version.tree.get(path) if version is not None else None
        if entry is None or entry.kind is not Kind.FILE:
            raise RunFileNotFound(run_id, path[:1024].encode(errors="replace").decode())
        file = KeptFile(
            path=path,
            size_bytes=entry.size,
            hash=entry.what,
            is_executable=bool(entry.mode & 0o100),
        )
        return file, self._pieces(entry.what)

    async def pack(self, run_id: str, *, bytes_max: int) -> Luggage:
        """Choose what of a run's files goes with it; see `Workspaces.pack`."""
        names = await self._versions.used(run_id, limit=PACKED_VERSIONS_MAX)
        if not names:
            return Luggage()
        return await self._in_thread(partial(self._pack, names, bytes_max))

    def _pack(self, names: Sequence[str], bytes_max: int) -> Luggage:
        versions: list[str] = []
        contents: dict[str, int] = {}
        for name in names:
            try:
                wanted = self._sizes(name)
            except WorkspaceLost:
                log.exception("a version of a workspace stays here: it cannot be read")
                break
            more = {hash: size for hash, size in wanted.items() if hash not in contents}
            size = sum(contents.values()) + sum(more.values())
            if size > bytes_max:
                if not versions:
                    return Luggage(left_out_bytes=size)
                break
            versions.insert(0, name)
            contents |= more
        return Luggage(versions=versions, contents=sorted(contents))

    def _sizes(self, name: str) -> dict[str, int]:
        """Find the contents that a version needs, its own and its bases' included."""
        version = load(self.blobs(), "", name)
        sizes = {
            entry.what: entry.size for entry in version.tree.values() if entry.kind is Kind.FILE
        }
        base: str | None = name
        while base is not None:
            sizes[base] = self.blobs().find(base) or 0
            base, _ = self._refers_to(base)
        return sizes

    def content(self, hash: str) -> AsyncIterator[bytes]:
        """Read a content; see `Workspaces.content`."""
        return self._pieces(hash)

    async def unpack(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Store contents that came from elsewhere; see `Workspaces.unpack`."""
        await self._in_thread(partial(self._unpack, contents))

    def _unpack(self, contents: Iterable[tuple[str, bytes]]) -> None:
        batch = self.blobs().batch()
        try:
            for hash, content in contents:
                assert batch.add(content) == hash, hash
            batch.commit()
        except BaseException:
            batch.drop()
            raise

    async def _pieces(self, hash: str) -> AsyncIterator[bytes]:
        pieces = self.blobs().pieces(hash)
        try:
            while (piece := await self._in_thread(partial(next, pieces, None))) is not None:
                yield piece
        except Damaged as error:
            raise lost(error) from error
        finally:
            await self._in_thread(partial(_close, pieces))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await whole(asyncio.get_running_loop().run_in_executor(self._threads, function))

    # --- what is not needed any more ---------------------------------------------------------

    async def sweep(self) -> int:
        """Delete folders of runs that have ended, and contents that no run refers to.

        A folder can be made again from its newest version as long as its run is not forgotten.

        Returns:
            Bytes of the contents that were deleted.
        """
        if not (self._data_dir / "files").exists():
            return 0
        await self._sweep_folders()
        needed: set[str] = set()
        after = 0
        while rows := await self._versions.list(after=after, limit=ROWS):
            names = [row.version for row in rows]
            try:
                await self._in_thread(partial(self._mark, names, needed))
            except WorkspaceLost:
                # What it names is needed, and nobody knows what that is.
                log.exception("files are not swept: a version of a workspace cannot be read")
                return 0
            after = rows[-1].number
        freed = await self._in_thread(partial(self.blobs().sweep, needed.__contains__))
        if freed:
            log.info("files that no run needs are deleted", extra={"bytes": freed})
        return freed

    def _mark(self, names: Sequence[str], needed: set[str]) -> None:
        left = [*names]
        while left:
            name = left.pop()
            if name in needed:
                continue
            base, hashes = self._refers_to(name)
            needed.add(name)
            needed.update(hashes)
            if base is not None:
                left.append(base)

    def _refers_to(self, name: str) -> tuple[str | None, Sequence[str]]:
        try:
            return trees.refers_to(name, self.blobs().read(name, trees.VERSION_BYTES_MAX))
        except (Damaged, trees.NoVersion) as error:
            raise WorkspaceLost(f"A version of a workspace cannot be read: {error}") from error

    async def _sweep_folders(self) -> None:
        for run_id in await self._in_thread(partial(_old_folders, self._folders)):
            if not await self._versions.is_live(run_id):
                await self.of(run_id).discard(partial(self._versions.is_live, run_id))


def _old_folders(folders: Path) -> Sequence[str]:
    if not folders.exists():
        return []
    before_s = time.time() - SPARE_S
    return [
        path.name
        for path in folders.iterdir()
        if is_id(path.name) and path.lstat().st_mtime < before_s
    ]


def _close(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


@asynccontextmanager
async def open_workspaces(
    data_dir: Path,
    *,
    versions: VersionStore,
    bytes_max: int,
    files_max: int,
    is_busy: Callable[[str], bool] = lambda _: False,
) -> AsyncIterator[FileWorkspaces]:
    """Open the workspaces; the data directory is locked for this process.

    Args:
        versions: Which versions runs refer to.
        bytes_max, files_max: Bounds of each workspace.
        is_busy: Tells of a run whether a command of it works on in the background.
    """
    threads = ThreadPoolExecutor(THREADS, "files")
    try:
        yield FileWorkspaces(
            data_dir,
            versions=versions,
            bounds=Bounds(bytes_max, files_max),
            threads=threads,
            is_busy=is_busy,
        )
    finally:
        threads.shutdown()
