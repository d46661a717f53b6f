"""The files of a run: a folder that can be put back to any state that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Workspace(Protocol):
    """One run's folder. Only one call at a time changes it.

    A *version* names a kept state. It is durable, can be opened on another machine that shares
    the store of files, and costs only what has changed since others.
    """

    async def open(self, version: str | None) -> Path:
        """Make the folder ready in the state ``version``, and hand back its path.

        Done before each call with the version that the run recorded last: what an interrupted call
        has left behind is gone then. Cheap when the folder is in that state already. None is the
        empty folder that every run begins with.

        Raises:
            WorkspaceLost: the state was kept, and cannot be found any more.
        """
        ...

    async def keep(self) -> str:
        """Keep the folder's present state, synced, and hand back its version.

        Raises:
            WorkspaceTooLarge: too many files or bytes; the folder stays as it is.
            StoreFull: there is no room.
        """
        ...

    async def keep_text(self, name: str, text: str) -> str:
        """Write a text beside the run's own files, for results too long for a prompt.

        Returns:
            The path, relative to the folder, under which the file tools find it.
        """
        ...
