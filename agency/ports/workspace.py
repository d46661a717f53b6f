"""The files of a run: a folder that can be put back to any state that was kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from agency.core.records import dataclass

OWN = ".agency"
"""Folder in a workspace for what tools keep there: results, notes, installed packages."""

RESULTS = ".agency/results"
"""Where the texts of `Workspace.keep_text` are."""

PACKAGES = ".agency/packages"
"""Installed packages: not kept, because they are large and can be installed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file of a version.

    Attributes:
        path: Relative, with ``/``; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`.
        hash: SHA-256 of the content, hexadecimal.
    """

    path: str
    size_bytes: int
    hash: str
    is_executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPage:
    """Files of the newest version of a run, ordered by path.

    Attributes:
        version: None while nothing was kept.
        files_total, bytes_total: Of the version, not of the page.
    """

    version: str | None
    files: Sequence[KeptFile]
    files_total: int
    bytes_total: int


class Workspace(Protocol):
    """One run's folder. Only one call at a time changes it.

    A *version* names a kept state. It is durable, can be opened on another machine that shares
    the store of files, and costs only what has changed since others.
    """

    @property
    def path(self) -> Path:
        """Where the folder is. What is there is only known after `open` or `folder`."""
        ...

    async def open(self, version: str | None) -> Path:
        """Make the folder ready in the state ``version``, and hand back its path.

        Done before each call with the version that the run recorded last: what an interrupted call
        has left behind is gone then. Cheap when the folder is in that state already. None is the
        empty folder that every run begins with.

        While a command of the run works on in the background, what it has changed since the
        version was kept stays.

        Raises:
            WorkspaceLost: the state was kept, and cannot be found any more.
            StoreFull: there is no room.
        """
        ...

    async def folder(self) -> Path:
        """Hand back the folder as it is; whoever has opened it last has said in which state.

        A folder that this process has not opened yet is opened with the run's newest version.

        Raises:
            as `open`.
        """
        ...

    async def keep(self) -> str:
        """Keep the folder's present state, synced, and hand back its version.

        Raises:
            WorkspaceTooLarge: too many files or bytes; the folder stays as it is.
            StoreFull: there is no room.
        """
        ...

    @property
    def left_out(self) -> Sequence[str]:
        """What the last `keep` could not keep, and why, in sentences; for the model to read."""
        ...

    async def keep_text(self, name: str, text: str) -> str:
        """Write a text beside the run's own files, for results too long for a prompt.

        The oldest texts are removed when all of them have a quarter of what may be kept.

        Returns:
            The path, relative to the folder, under which the file tools find it.
        """
        ...

    async def put(self, path: str, content: bytes) -> None:
        """Write a file, with the folders above it: input of the run. `keep` makes it durable.

        Raises:
            InvalidInput: the path leads out of the folder, or through what is no folder.
            WorkspaceTooLarge: it is larger than a workspace may be.
            StoreFull: there is no room.
        """
        ...

    async def undo(self) -> Sequence[str]:
        """Put the folder back to before the last kept change; nothing under `OWN` is touched.

        Called again after the next `keep`, it goes back one change further.

        Returns:
            Paths that have changed; empty when there is no change to take back.

        Raises:
            as `open`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Luggage:
    """What of a run's files goes with it to another store.

    Attributes:
        versions: The newest ones, oldest first.
        contents: Hashes of all contents that these need, their own ones included.
        left_out_bytes: Of the newest version, when it is too large and so nothing goes.
    """

    versions: Sequence[str] = ()
    contents: Sequence[str] = ()
    left_out_bytes: int = 0


class Workspaces(Protocol):
    """The workspaces of all runs."""

    def of(self, run_id: str) -> Workspace:
        """Give a run's workspace; the same object while anybody has it."""
        ...

    async def reopen(self, run_id: str) -> Workspace:
        """Give a run's workspace opened in its newest version: for callers who record none.

        Raises:
            as `Workspace.open`.
        """
        ...

    async def list(self, run_id: str, *, after: int, limit: int) -> KeptPage:
        """List files of the run's newest version, ordered by path, but for the first ``after``.

        Raises:
            WorkspaceLost: the version cannot be read any more.
        """
        ...

    async def read(self, run_id: str, path: str) -> tuple[KeptFile, AsyncIterator[bytes]]:
        """Read a file of the run's newest version, piece by piece, verified as it is read.

        Raises:
            RunFileNotFound: the version has no such file.
            WorkspaceLost: it cannot be read any more, or is damaged.
        """
        ...

    async def pack(self, run_id: str, *, bytes_max: int) -> Luggage:
        """Choose what of a run's files goes with it elsewhere; the same as long as it rests.

        Args:
            bytes_max: Of all contents together.
        """

    def content(self, hash: str) -> AsyncIterator[bytes]:
        """Read a content piece by piece, verified as it is read.

        Raises:
            WorkspaceLost: it is not there, or damaged.
        """

    async def unpack(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Store contents that came from elsewhere, synced; read in a thread.

        Args:
            contents: Each with its hash, which was checked.

        Raises:
            StoreFull: there is no room.
        """

    async def sweep(self) -> int:
        """Delete what no run needs any more, and tell how many bytes that were."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """That a run refers to a version; ``number`` rises with each use of one by a run."""

    number: int
    run_id: str
    version: str


class VersionStore(Protocol):
    """Which versions of workspaces the runs refer to: these may not be deleted."""

    async def add(self, run_id: str, version: str) -> None:
        """Note that a run refers to a version, and that it is the newest that it has used.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def newest(self, run_id: str) -> str | None:
        """Read which version a run has used last."""
        ...

    async def used(self, run_id: str, *, limit: int) -> Sequence[str]:
        """Read which versions a run has used, the last one first."""
        ...

    async def list(self, *, after: int, limit: int) -> Sequence[VersionRow]:
        """Read the versions that are referred to by runs, page by page, by rising number."""
        ...

    async def is_live(self, run_id: str) -> bool:
        """Tell whether there is such a run, and it has not ended."""
        ...
