"""What a run has decided and not yet committed: it rides with the next commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.domain.entry import Entry
from agency.domain.message import NewMessage
from agency.domain.run import NewRun
from agency.domain.wait import NewWait
from agency.ports.store import Writes


class Ledger:
    """Writes that are kept until something of the run is committed."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._waits: list[NewWait] = []
        self._children: list[NewRun] = []
        self._progress: Any = None
        self.has_progress = False

    @property
    def is_empty(self) -> bool:
        """Nothing is kept."""
        return not (self._entries or self._waits or self.has_progress or self._children)

    @property
    def waits(self) -> Sequence[NewWait]:
        return self._waits

    def add(
        self,
        *,
        entry: Entry | None = None,
        wait: NewWait | None = None,
        child: NewRun | None = None,
    ) -> None:
        """Keep an entry, a wait or a child for the next commit."""
        if entry is not None:
            self._entries.append(entry)
        if wait is not None:
            self._waits.append(wait)
        if child is not None:
            self._children.append(child)

    def set_progress(self, progress: Any) -> None:  # noqa: ANN401  JSON value
        self._progress = progress
        self.has_progress = True

    def take(
        self,
        entries: Sequence[Entry] = (),
        *,
        messages: Sequence[NewMessage] = (),
        closed_waits: Sequence[str] = (),
    ) -> Writes:
        """Hand out everything that was kept, followed by what is given, and keep nothing."""
        if self.is_empty:
            return Writes(entries=entries, messages=messages, closed_waits=closed_waits)
        writes = Writes(
            entries=(*self._entries, *entries),
            waits=tuple(self._waits),
            closed_waits=closed_waits,
            children=tuple(self._children),
            messages=messages,
            progress=self._progress,
            has_progress=self.has_progress,
        )
        self._entries, self._waits, self._children = [], [], []
        self.has_progress = False
        return writes

    def put_back(self, writes: Writes) -> None:
        """Keep again what could not be committed."""
        self._entries = [*writes.entries, *self._entries]
        self._waits = [*writes.waits, *self._waits]
        self._children = [*writes.children, *self._children]
        if writes.has_progress and not self.has_progress:
            self.set_progress(writes.progress)

    def forget(self, path: str) -> set[str]:
        """Forget the waits and children of a branch that has lost.

        Returns:
            Keys of the waits that were forgotten: the store never learns of them.
        """
        keys = {wait.key for wait in self._waits if wait.key.startswith(path)}
        children = {wait.target for wait in self._waits if wait.key in keys and wait.target}
        self._waits = [wait for wait in self._waits if wait.key not in keys]
        self._entries = [entry for entry in self._entries if entry.key not in keys]
        self._children = [child for child in self._children if child.id not in children]
        return keys
