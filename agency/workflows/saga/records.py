"""What is recorded of a saga's legs: read by the saga itself, and by whoever looks at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.wait import Wait, WaitKind
from agency.engine.branch import END_PATH
from agency.engine.compensation import registration_key, undo_key
from agency.errors import OutcomeUnknown
from agency.ports.store import Journal
from agency.workflows.saga.leg import Child, Leg, Stage

_UNKNOWN_CODES = frozenset({"timed_out", OutcomeUnknown.code})
"""Codes of failures after which the effect may be there all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """An action or a compensation as it is recorded.

    Attributes:
        outcome: Its result or final failure, or None.
        failures: Descriptions of its failures so far, the final one last.
        attempts: Tries that have ended.
    """

    outcome: Entry | None
    failures: Sequence[Mapping[str, Any]]
    attempts: int

    @property
    def is_done(self) -> bool:
        return self.outcome is not None and self.outcome.kind is EntryKind.STEP

    @property
    def has_failed(self) -> bool:
        return self.outcome is not None and self.outcome.kind is EntryKind.FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRecord:
    """A leg as it is recorded.

    Attributes:
        begun: The entry that says that it was about to be tried, or None.
        children: Waits for the runs that it has started, in order.
        is_unknown: It may have had its effect, and there is no result.
    """

    leg: Leg
    begun: Entry | None
    action: Attempts
    undo: Attempts
    children: Sequence[Wait]
    is_unknown: bool


def read_legs(stages: Sequence[Stage], journal: Journal) -> dict[str, LegRecord]:
    """Read what is recorded of each leg, by its id."""
    entries = {entry.key: entry for entry in journal.entries}
    waits = {wait.key: wait for wait in journal.waits}
    return {leg.id: _read(stage, leg, entries, waits) for stage in stages for leg in stage.legs}


def unknown_legs(stages: Sequence[Stage], keys: Sequence[str]) -> list[str]:
    """Ids of legs that were begun and that the saga does not have (any more)."""
    known = {registration_key(leg.id) for stage in stages for leg in stage.legs}
    prefix = "undo."
    return [
        key.removeprefix(prefix).removesuffix("#1")
        for key in keys
        if key.startswith(prefix) and key not in known
    ]


def _read(
    stage: Stage, leg: Leg, entries: Mapping[str, Entry], waits: Mapping[str, Wait]
) -> LegRecord:
    key = stage.key_of(leg)
    begun = entries.get(registration_key(leg.id))
    children = _children(stage.path_of(leg) + leg.id, waits)
    action = _attempts(key, entries, children)
    return LegRecord(
        leg=leg,
        begun=begun,
        action=action,
        undo=_attempts(undo_key(leg.id), entries, _undo_children(leg, waits)),
        children=children,
        is_unknown=begun is not None and _is_unknown(leg, key, begun, action, entries, waits),
    )


def _attempts(key: str, entries: Mapping[str, Entry], children: Sequence[Wait]) -> Attempts:
    outcome = entries.get(key)
    failures = [json.decode(entry.body) for entry in _tries(key, entries)]
    if outcome is not None and outcome.kind is EntryKind.FAILURE:
        failures.append(json.decode(outcome.body))
    if children:
        attempts = sum(child.outcome is not None for child in children)
    else:
        is_done = outcome is not None and outcome.kind is EntryKind.STEP
        attempts = len(failures) + is_done
    return Attempts(outcome=outcome, failures=failures, attempts=attempts)


def _tries(key: str, entries: Mapping[str, Entry]) -> Iterator[Entry]:
    number = 1
    while (entry := entries.get(f"{key}~{number}")) is not None:
        yield entry
        number += 1


def _children(prefix: str, waits: Mapping[str, Wait]) -> list[Wait]:
    found = []
    number = 1
    while (wait := waits.get(f"{prefix}.{number}#1")) is not None:
        found.append(wait)
        number += 1
    return found


def _undo_children(leg: Leg, waits: Mapping[str, Wait]) -> list[Wait]:
    """Runs that a compensation has started, also before it was retried by hand."""
    if not isinstance(leg.undo, Child):
        return []
    mark = f"/undo.{leg.id}."
    return [
        wait
        for key, wait in waits.items()
        if wait.kind is WaitKind.CHILD and key.startswith(END_PATH) and mark in key
    ]


def _is_unknown(
    leg: Leg,
    key: str,
    begun: Entry,
    action: Attempts,
    entries: Mapping[str, Entry],
    waits: Mapping[str, Wait],
) -> bool:
    if action.is_done:
        return False
    if leg.effect == "once":
        # Somebody was asked about every try that was in doubt; one without an answer is.
        intents = 0
        while f"{key}!{intents + 1}" in entries:
            intents += 1
        return action.outcome is None and intents > 0 and f"{key}~{intents}" not in entries
    if action.outcome is None or any(_may_have_worked(one) for one in action.failures):
        return True
    return not isinstance(leg.do, Child) and _was_interrupted(key, begun, action, entries, waits)


def _may_have_worked(failure: Mapping[str, Any]) -> bool:
    kinds = failure.get("kinds") or ()
    return failure.get("code") in _UNKNOWN_CODES or OutcomeUnknown.__name__ in kinds


def _was_interrupted(
    key: str,
    begun: Entry,
    action: Attempts,
    entries: Mapping[str, Entry],
    waits: Mapping[str, Wait],
) -> bool:
    """Tell whether a try of a leg that has failed in the end may have been cut off before.

    Each claim of the run raises the epoch. One claim more is accounted for by a pause that was
    stored between two tries; any other began after the run had been cut off, perhaps in a try.
    """
    assert action.outcome is not None
    epochs = [begun.epoch, *(entry.epoch for entry in _tries(key, entries)), action.outcome.epoch]
    pauses = {
        int(name.rpartition(".")[2])
        for name, wait in waits.items()
        if name.startswith(f"{key}:retry") and wait.kind is WaitKind.TIMER
    }
    return any(
        later - earlier > (number in pauses)
        for number, (earlier, later) in enumerate(itertools.pairwise(epochs))
    )
