"""What is known from outside after a kill: the effects' log, and the database as it was left."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency.domain.entry import EntryKind

Step = tuple[str, str]
"""Id of a run and key of a step."""

RETRIED = "second"
"""The step that fails at its first try, so that it begins twice."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A line of the log outside."""

    boot: int
    step: Step
    key: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A database as a killed daemon has left it.

    Attributes:
        boot: Number of the daemon.
        integrity: What ``PRAGMA integrity_check`` says.
        recorded: Steps with a recorded outcome.
        runs: Status by run id.
        names: Run id by idempotency key.
        events: Ids of events by run id.
        answered: Waits that have their outcome, by run id and key.
    """

    boot: int
    integrity: str
    recorded: frozenset[Step]
    runs: Mapping[str, str]
    names: Mapping[str, str]
    events: Mapping[str, Sequence[str]]
    answered: frozenset[Step]


def read_effects(log: Path) -> list[Effect]:
    """Read the log that the steps have written; nothing if none has yet."""
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        Effect(line["boot"], (line["run"], line["step"]), line["key"], line["what"])
        for line in lines
    ]


def read_left(database: Path, *, boot: int) -> Left:
    """Read a database that no process has open, without changing it."""
    with tempfile.TemporaryDirectory(prefix="agency-") as folder:
        copy = Path(folder) / database.name
        for suffix in ("", "-wal", "-journal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copy(source, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as connection:
            return _read(connection, boot)


def _read(connection: sqlite3.Connection, boot: int) -> Left:
    def rows(statement: str) -> list[Any]:
        return connection.execute(statement).fetchall()

    integrity = rows("PRAGMA integrity_check")[0][0]
    tables = {name for (name,) in rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "events" not in tables:  # it was killed before its first migration was there
        return Left(
            boot=boot,
            integrity=integrity,
            recorded=frozenset(),
            runs={},
            names={},
            events={},
            answered=frozenset(),
        )
    outcomes = f"({EntryKind.STEP:d}, {EntryKind.FAILURE:d})"
    recorded = rows(
        "SELECT runs.id, journal.key FROM journal JOIN runs ON runs.number = journal.run"
        f" WHERE journal.kind IN {outcomes} AND NOT journal.superseded"
    )
    events: dict[str, list[str]] = {}
    for run_id, event_id in rows(
        "SELECT runs.id, events.id FROM events JOIN runs ON runs.number = events.run"
    ):
        events.setdefault(run_id, []).append(event_id)
    return Left(
        boot=boot,
        integrity=integrity,
        recorded=frozenset((run_id, key) for run_id, key in recorded),
        runs=dict(rows("SELECT id, status FROM runs")),
        names=dict(rows("SELECT idempotency_key, id FROM runs WHERE idempotency_key IS NOT NULL")),
        events=events,
        answered=frozenset(
            rows(
                "SELECT runs.id, waits.key FROM waits JOIN runs ON runs.number = waits.run"
                " WHERE waits.outcome IS NOT NULL"
            )
        ),
    )


def check_effects(effects: Sequence[Effect], lefts: Sequence[Left]) -> None:
    """Check that no step ran again whose outcome was recorded when a daemon was killed.

    Also that every try of a step had the same idempotency key, and that within the life of one
    daemon no step began twice, but those that are tried again on purpose.
    """
    for left in lefts:
        again = [
            effect
            for effect in effects
            if effect.boot > left.boot and effect.what == "begin" and effect.step in left.recorded
        ]
        assert again == [], f"recorded steps ran again after daemon {left.boot} was killed"
    begun = Counter((effect.boot, effect.step) for effect in effects if effect.what == "begin")
    twice = {
        step: times
        for (_, step), times in begun.items()
        if times > (2 if _name(step) == RETRIED else 1)
    }
    assert twice == {}, "steps ran twice in the life of one daemon"
    keys: dict[Step, set[str]] = {}
    for effect in effects:
        keys.setdefault(effect.step, set()).add(effect.key)
    assert {step: found for step, found in keys.items() if len(found) > 1} == {}


def _name(step: Step) -> str:
    return step[1].split("/")[-1].partition("#")[0]
