"""A run's journal as its execution reads it: what was decided, and in which order.

An entry is found by its key: branch path, name, occurrence. ``quote#1`` is the first step named
``quote`` of the root; ``gather#1.a/charge#2`` the second ``charge`` in the branch ``a`` of the
first ``gather``. Keys with a mark behind belong to the step before it: ``~2`` its second failed
try, ``!1`` its first intent, ``:…`` a wait of its own.

Within a branch recorded keys must be met in recorded order. Between branches there is no order:
each finds its own entries, and what depends on which branch was faster is recorded as a winner.
"""

from __future__ import annotations

from collections.abc import Iterator

from agency.core import json
from agency.domain.entry import ORDERED, Entry, EntryKind
from agency.domain.wait import Wait
from agency.engine.suspension import Mismatch
from agency.ports.store import Journal

MARKS = "/#~!:"
"""Characters that names must not hold, because keys are made with them."""


def branch_of(key: str) -> str:
    """Path of the branch that a key belongs to, ending in ``/``; empty for the root."""
    return key[: key.rfind("/") + 1]


class JournalView:
    """What is recorded of one run, and how far each branch has met it.

    Attributes:
        waits: All waits by key, as they were last seen.
        left_open: Keys of the waits that were open when the journal was loaded.
        count: Entries that are recorded.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._entries: dict[str, Entry] = {}
        self._expected: dict[str, list[str]] = {}
        self._met: dict[str, int] = {}
        self.waits: dict[str, Wait] = {}
        self.left_open: list[str] = []
        self.count = 0
        if journal is not None:
            self._index(journal)

    def _index(self, journal: Journal) -> None:
        for entry in journal.entries:
            self._entries[entry.key] = entry
            if entry.kind in ORDERED:
                self._expected.setdefault(branch_of(entry.key), []).append(entry.key)
        self.count = len(journal.entries)
        for wait in journal.waits:
            self.waits[wait.key] = wait
            if wait.outcome is None:
                self.left_open.append(wait.key)

    def at_frontier(self, branch: str) -> bool:
        """Tell whether a branch has met all that is recorded for it."""
        expected = self._expected.get(branch)
        return expected is None or self._met.get(branch, 0) >= len(expected)

    def meet(self, branch: str, key: str) -> Entry | None:
        """Find the entry that the code asks for next; None at the frontier.

        Raises:
            Mismatch: another key is recorded next in this branch.
        """
        expected = self._expected.get(branch)
        if expected is None:
            return None
        position = self._met.get(branch, 0)
        if position >= len(expected):
            return None
        recorded = expected[position]
        if recorded != key:
            raise Mismatch(branch=branch, recorded=recorded, asked=key)
        self._met[branch] = position + 1
        return self._entries[key]

    def find(self, key: str) -> Entry | None:
        """Find an entry by its key, without regard to order."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Take in an entry that was just recorded, when it will be looked up again."""
        self._entries[entry.key] = entry

    def tries(self, key: str) -> Iterator[dict[str, object]]:
        """Bodies of the failed tries of a step that are recorded, in order."""
        number = 1
        while (entry := self._entries.get(f"{key}~{number}")) is not None:
            yield json.decode(entry.body)
            number += 1

    def intents(self, key: str) -> int:
        """How many times a step with effect="once" was about to be tried."""
        number = 0
        while f"{key}!{number + 1}" in self._entries:
            number += 1
        return number

    def unmet(self) -> str | None:
        """First recorded key that the code never asked for, or None.

        Branches that lost a ``first`` are left out: they are not run again on replay.
        """
        losers = tuple(self._loser_paths())
        for branch, expected in self._expected.items():
            position = self._met.get(branch, 0)
            if position < len(expected) and not self._is_below(branch, losers):
                return expected[position]
        return None

    def _loser_paths(self) -> Iterator[tuple[str, str]]:
        for entry in self._entries.values():
            if entry.kind is EntryKind.WINNER:
                winner = json.decode(entry.body)["name"]
                yield f"{entry.key}.", f"{entry.key}.{winner}/"

    @staticmethod
    def _is_below(branch: str, losers: tuple[tuple[str, str], ...]) -> bool:
        return branch.startswith("!end/") or any(
            branch.startswith(group) and not branch.startswith(winner) for group, winner in losers
        )
