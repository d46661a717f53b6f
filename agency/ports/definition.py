"""Where definitions are kept that are data, in all the versions that runs are pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.definition import StoredDefinition
from agency.domain.run import RunKind


class DefinitionStore(Protocol):
    """Stored definitions. Each method is one atomic transaction."""

    async def define(
        self, new: StoredDefinition, *, names_max: int, versions_max: int
    ) -> tuple[StoredDefinition, bool]:
        """Store a version, and let new runs of that name be of it.

        The same version again changes nothing; an older one becomes the current one again.
        Versions that are neither current nor that of any run are forgotten, but for the one that
        was current until now: a run of it may be on its way.

        Returns:
            What is current now, and whether that has changed by this call.

        Raises:
            TooManyDefinitions: there are ``names_max`` names, or ``versions_max`` versions of it
                that runs still need.
        """
        ...

    async def keep(self, new: StoredDefinition) -> None:
        """Keep a version for its runs without making it current; twice is the same as once."""
        ...

    async def find(self, name: str) -> StoredDefinition | None:
        """Read the current version of that name, or None."""
        ...

    async def list(
        self, kind: RunKind, *, after: str | None, limit: int
    ) -> Sequence[StoredDefinition]:
        """Read the current definitions of a kind by name, those after the name ``after``."""
        ...

    async def load(self, *, after: int, limit: int) -> Sequence[tuple[int, StoredDefinition]]:
        """Read a page of all versions with their numbers, those with a number above ``after``."""
        ...

    async def delete(self, name: str, *, now: datetime) -> None:
        """Forget a definition with all its versions.

        Raises:
            DefinitionNotFound: there is none of that name.
            DefinitionInUse: a run of it has not ended, or its compensation may be retried.
        """
        ...
