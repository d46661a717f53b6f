"""A run's journal as its execution reads it: what was decided, and in which order.

An entry is found by its key: branch path, name, occurrence. ``quote#1`` is the first step named
``quote`` of the root; ``gather#1.a/charge#2`` the second ``charge`` in the branch ``a`` of the
first ``gather``. Keys with a mark behind belong to the step before it: ``~2`` its second failed
try, ``!1`` its first intent, ``:…`` a wait of its own.

Within a branch recorded keys must be met in recorded order. Between branches there is no order:
each finds its own entries, and what depends on which branch was faster is recorded as a winner.

Where a retry has made a failure void, the code may take another way than before. So in the branch
of such a void, and in those that waited for it, what was recorded later is found by its key alone,
and need not be met at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from agency.core import json
from agency.domain.content import DELIVERED
from agency.domain.entry import ORDERED, Entry, EntryKind
from agency.domain.wait import NewWait, Wait
from agency.engine.suspension import Mismatch
from agency.ports.store import Journal, Void

MARKS = "/#~!:"
"""Characters that names must not hold, because keys are made with them."""

_NEVER = 1 << 63


def branch_of(key: str) -> str:
    """Path of the branch that a key belongs to, ending in ``/``; empty for the root."""
    return key[: key.rfind("/") + 1]


def name_of(key: str) -> str:
    """Name of the step that a key belongs to."""
    return key[key.rfind("/") + 1 : key.rfind("#")]


def has_lost(branch: str, winners: Mapping[str, str]) -> bool:
    """Tell whether a branch, or one above it, has lost to another.

    Args:
        branch: Path of the branch, not of the end.
        winners: Names of the branches that have won, by the key of their group.
    """
    start = 0
    while (end := branch.find("/", start)) >= 0:
        border = branch.find(".", branch.find("#", start))
        winner = winners.get(branch[:border])
        if winner is not None and winner != branch[border + 1 : end]:
            return True
        start = end + 1
    return False


def first_voids_of(voids: Iterable[Void]) -> dict[str, int]:
    """Tell from which number on entries are found by key alone, by branch.

    A branch that has made others goes on when they have ended, so it counts with them.
    """
    first: dict[str, int] = {}
    for void in voids:
        if void.kind in ORDERED:
            branch = branch_of(void.key)
            while True:
                first[branch] = min(first.get(branch, _NEVER), void.number)
                if not branch:
                    break
                branch = branch_of(branch[:-1])
    return first


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
        self._loose: dict[str, set[str]] = {}
        self._loose_met = 0
        self._first_void = _NEVER
        self._met: dict[str, int] = {}
        self._winners: dict[str, str] = {}
        self._intents: dict[str, int] = {}
        self._at_end: dict[str, None] = {}
        self.waits: dict[str, Wait] = {}
        self.left_open: list[str] = []
        self.count = 0
        if journal is not None:
            self._index(journal)

    def _index(self, journal: Journal) -> None:
        voids = first_voids_of(journal.voids)
        self._first_void = min(voids.values(), default=_NEVER)
        for entry in journal.entries:
            self._entries[entry.key] = entry
            self._note(entry)
            if entry.kind is EntryKind.WINNER:
                self._winners[entry.key] = json.decode(entry.body)["name"]
            # What was handed out is found by its key alone.
            if entry.kind in ORDERED and not entry.key.startswith(DELIVERED):
                branch = branch_of(entry.key)
                if entry.number < voids.get(branch, _NEVER):
                    self._expected.setdefault(branch, []).append(entry.key)
                else:
                    self._loose.setdefault(branch, set()).add(entry.key)
        self.count = len(journal.entries)
        for wait in journal.waits:
            self.waits[wait.key] = wait
            if wait.outcome is None:
                self.left_open.append(wait.key)

    @property
    def met(self) -> int:
        """How many recorded entries the code has met so far, in all branches."""
        return sum(self._met.values()) + self._loose_met

    def at_frontier(self, branch: str) -> bool:
        """Tell whether a branch has met all that is recorded for it."""
        expected = self._expected.get(branch)
        return expected is None or self._met.get(branch, 0) >= len(expected)

    def meet(self, branch: str, key: str) -> Entry | None:
        """Find the entry that the code asks for next; None at the frontier.

        Raises:
            Mismatch: another key is recorded next in this branch.
        """
        expected = self._expected.get(branch, ())
        position = self._met.get(branch, 0)
        if position >= len(expected):
            return self._meet_loose(branch, key)
        recorded = expected[position]
        if recorded != key:
            raise Mismatch(branch=branch, recorded=recorded, asked=key)
        self._met[branch] = position + 1
        return self._entries[key]

    def _meet_loose(self, branch: str, key: str) -> Entry | None:
        loose = self._loose.get(branch)
        if loose is None or key not in loose:
            return None
        loose.discard(key)
        self._loose_met += 1
        return self._entries[key]

    def find(self, key: str) -> Entry | None:
        """Find an entry by its key, without regard to order."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Take in an entry that was just recorded, when it will be looked up again."""
        self._entries[entry.key] = entry
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        """Keep apart the few kinds that are looked for without a key."""
        if entry.kind is EntryKind.INTENT:
            key, _, number = entry.key.rpartition("!")
            self._intents[key] = max(self._intents.get(key, 0), int(number))
        elif entry.kind is EntryKind.AT_END:
            self._at_end[entry.key] = None

    def decide(self, group: str, winner: str) -> None:
        """Take note of a winner that was just recorded: what the others have left is not missed."""
        if self._expected:
            self._winners[group] = winner

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

    def belonging(self, key: str) -> list[str]:
        """Keys of a step's outcome, and of its tries and intents as far as they are known."""
        marks = (f"{key}~", f"{key}!")
        return [key, *(known for known in self._entries if known.startswith(marks))]

    def registered(self) -> Iterator[str]:
        """Keys of work that was registered for the end and has not been done."""
        for key in self._at_end:
            if f"!end/{key}" not in self._entries:
                yield key

    def unsettled(self) -> Iterator[tuple[str, int]]:
        """Steps with effect="once" whose last intent has no recorded outcome, with its number."""
        for key, number in self._intents.items():
            if key not in self._entries and f"{key}~{number}" not in self._entries:
                yield key, number

    def open_wait(self, new: NewWait, opened_at: datetime) -> None:
        """Take in a wait that was just opened."""
        if new.key not in self.waits:
            self.waits[new.key] = Wait(
                key=new.key,
                kind=new.kind,
                name=new.name,
                due_at=new.due_at,
                show=new.show,
                target=new.target,
                opened_at=opened_at,
                outcome=None,
                payload=None,
                resolved_at=None,
                resolved_number=0,
            )

    def open_keys(self) -> list[str]:
        """Keys of the waits that have no outcome yet, as far as is known."""
        return [key for key, wait in self.waits.items() if wait.outcome is None]

    def absorb(self, journal: Journal) -> None:
        """Take in what was recorded since this view was made."""
        for entry in journal.entries:
            self._entries.setdefault(entry.key, entry)
            self._note(entry)
        for wait in journal.waits:
            self.waits[wait.key] = wait

    def unmet(self) -> str | None:
        """First recorded key that the code never asked for, or None.

        Branches that lost a ``first`` are left out: they are not run again on replay. So is what
        was recorded after a failure that a retry has made void.
        """
        for branch, expected in self._expected.items():
            position = self._met.get(branch, 0)
            is_left_out = branch.startswith("!end/") or has_lost(branch, self._winners)
            if position < len(expected) and not is_left_out:
                recorded = expected[position]
                if self._entries[recorded].number < self._first_void:
                    return recorded
        return None
