"""What the world outside of the daemon has seen. It survives every crash.

All of it is noted by those who take part: the functions of steps when they have their effect, the
authors' code when it is handed something, the clients when they are answered. What is noted must
fit the promises at any time, and the database at the end.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

StepKey = tuple[str, str]
TRACE_LINES = int(os.environ.get("TRACE_LINES", "60"))
"""Lines of the trace that are shown of a seed that has failed."""


@dataclass(frozen=True)
class Outcome:
    """What an author's code has ended with."""

    word: str
    value: Any
    attempt: int


class Witness:
    """Notes, and the faults that they show.

    Attributes:
        faults: What should never have happened.
        is_blind: The present life was killed: what it still does has not happened.
        is_broken: In the present life the disk has failed a commit: the process is about to end.
        has_left: The present life leaves runs claimed, as a kill does, also when it ends in order:
            its disk has failed or was too slow.
        kills: Lives that have left runs claimed.
        accepted: Runs whose start was answered, with the workflow's name.
        sent: Events whose delivery was acknowledged: run and id.
        ended_by: Runs whose end somebody has asked for.
        decided_again: How often somebody has asked for a once-step to be repeated.
        failures: What an author's code was seen to fail with, by run and retry; no two
            effects fail alike.
        effects: How often a step had its effect, not counting those that are known as not done.
        once: Steps with effect="once" that were tried.
        outcomes: What the code of a run has last ended with.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.is_blind = False
        self.is_broken = False
        self.has_left = False
        self.kills = 0
        self.accepted: dict[str, str] = {}
        self.sent: set[tuple[str, str]] = set()
        self.ended_by: set[str] = set()
        self.decided_again: Counter[StepKey] = Counter()
        self.failures: dict[tuple[str, int], set[str]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.effects: Counter[StepKey] = Counter()
        self.once: set[StepKey] = set()
        self.connection: sqlite3.Connection | None = None
        self.now_s: Callable[[], float] = lambda: 0.0
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self.digest = 0
        self._acknowledged: dict[StepKey, int] = {}
        self._seen: dict[tuple[str, str, int], Any] = {}
        self._serial = 0

    def note(self, *words: object) -> None:
        """Write a line of the trace."""
        line = f"{self.now_s():12.6f}  {' '.join(map(str, words))}"
        self.trace.append(line)
        self.mix(line)

    def mix(self, line: str) -> None:
        """Let a line count for the digest."""
        # Not `hash`, which is another one in each process.
        self.digest = zlib.crc32(line.encode(), self.digest)

    def fault(self, what: str) -> None:
        if not self.is_blind:
            self.note("FAULT", what)
            self.faults.append(what)

    # --- steps ------------------------------------------------------------------------------

    def begin(self, run_id: str, key: str, *, is_once: bool = False) -> int:
        """A step's function has its effect; gives the effect's serial number."""
        if self.is_blind:
            return 0
        step = (run_id, key)
        self._serial += 1
        self.effects[step] += 1
        self.note("effect", short(run_id), key, self._serial)
        if step in self._acknowledged:
            self.fault(f"a step was done again whose result had been handed over: {step}")
        self._ask_database(run_id, key)
        if is_once:
            self.once.add(step)
        if is_once and self.effects[step] > 1 + self.decided_again[step]:
            self.fault(f"a once-step was repeated unasked: {step}")
        return self._serial

    def not_done(self, run_id: str, key: str) -> None:
        """The effect is known not to have happened after all."""
        self.effects[run_id, key] -= 1

    def acknowledge(self, run_id: str, key: str, serial: int) -> None:
        """The author's code was handed the result of that very effect."""
        if self.is_blind:
            return
        known = self._acknowledged.setdefault((run_id, key), serial)
        if known != serial:
            self.fault(f"of {(run_id, key)} came the result {serial}, and before {known}")

    def see(self, run_id: str, path: str, position: int, value: Any) -> None:
        """What a run was handed, it is handed again on each replay."""
        if self.is_blind:
            return
        place = (run_id, path, position)
        known = self._seen.setdefault(place, value)
        if known != value:
            self.fault(f"at {place} came {value!r}, and before {known!r}")

    def _ask_database(self, run_id: str, key: str) -> None:
        """A step that has begun just now is not recorded, and its run is worked on."""
        assert self.connection is not None
        status, is_recorded = self.connection.execute(
            "SELECT status, EXISTS (SELECT 1 FROM journal WHERE journal.run = runs.number"
            " AND journal.key = ? AND journal.kind IN (1, 2)) FROM runs WHERE runs.id = ?",
            (key, run_id),
        ).fetchone()
        if is_recorded:
            self.fault(f"a recorded step was done again: {(run_id, key)}")
        if status != "running":
            self.fault(f"a step was begun in a run that is {status}: {(run_id, key)}")

    # --- ends -------------------------------------------------------------------------------

    def ended(self, run_id: str, attempt: int, word: str, value: Any = None) -> None:
        """An author's code has come to its end: returned, raised or continued."""
        if self.is_blind:
            return
        self.note("code", word, short(run_id), "attempt", attempt)
        self.outcomes[run_id] = Outcome(word, value, attempt)
        if word == "raised":
            self.failures.setdefault((run_id, self._retries(run_id)), set()).add(value)

    def _retries(self, run_id: str) -> int:
        """How often somebody has retried the run: its attempts count anew each time."""
        assert self.connection is not None
        (retries,) = self.connection.execute(
            "SELECT count(*) FROM retries JOIN runs ON runs.number = retries.run WHERE runs.id = ?",
            (run_id,),
        ).fetchone()
        return int(retries)


@dataclass
class Story:
    """How a seed went."""

    seed: int
    faults: list[str]
    trace: list[str]
    digest: int
    runs: int
    commits: int
    lives: int
    turns: int
    statuses: Counter[str] = field(default_factory=Counter)


def short(run_id: str) -> str:
    return run_id[-6:]
