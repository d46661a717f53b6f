"""The promises, as questions to the database whose every answer is a fault.

Those of `ALWAYS` hold after each commit; those of `AT_THE_END` when all has come to rest.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from tests.simulation.witness import Witness

CRASHES = 3
"""So many crashes with nothing recorded make a run a dead letter."""

ALWAYS = {
    "a suspended run has no reason to go on": (
        "SELECT id FROM runs WHERE status = 'suspended' AND hold IS NULL AND NOT EXISTS ("
        " SELECT 1 FROM waits WHERE waits.run = runs.number AND outcome IS NULL)"
    ),
    "a suspended run has a wait that was answered for it to go on": (
        "SELECT runs.id, waits.key FROM runs JOIN snapshots ON snapshots.id = runs.snapshot_id"
        " JOIN waits ON waits.run = runs.number WHERE runs.status = 'suspended'"
        " AND runs.hold IS NULL AND runs.ending IS NULL"
        " AND waits.outcome IN ('answered', 'fired', 'timed_out')"
        " AND waits.key IN (SELECT value FROM json_each(snapshots.wait_keys))"
    ),
    "a count by status is not what it counts": (
        "SELECT status, sum(runs) AS counted FROM run_counts GROUP BY status HAVING counted <> ("
        " SELECT count(*) FROM runs WHERE runs.status = run_counts.status)"
    ),
    "a child outlives its parent": (
        "SELECT child.id FROM runs AS child JOIN runs AS parent ON parent.id = child.parent_id"
        " WHERE child.ended_at IS NULL AND child.ending IS NULL AND parent.ended_at IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM retries WHERE retries.run = child.number)"
    ),
    "an entry is of a claim that never was": (
        "SELECT runs.id, key FROM journal JOIN runs ON runs.number = journal.run"
        " WHERE journal.epoch > runs.epoch"
    ),
    "an old attempt has written": "SELECT run, key FROM journal WHERE key GLOB 'zombie*'",
    "an event was taken twice": (
        "SELECT taken_by, count(*) FROM events WHERE taken_by IS NOT NULL"
        " GROUP BY taken_by HAVING count(*) > 1"
    ),
    "an event was handed out twice": (
        "SELECT run, payload, count(*) FROM waits WHERE kind = 'event' AND outcome = 'answered'"
        " GROUP BY run, payload HAVING count(*) > 1"
    ),
    "an event and the wait for it have missed each other": (
        "SELECT waits.run, waits.key FROM waits JOIN events ON events.run = waits.run"
        " AND events.name = waits.name AND events.taken_by IS NULL"
        " WHERE waits.kind = 'event' AND waits.outcome IS NULL"
    ),
    "an ended run waits": (
        "SELECT runs.id, waits.key FROM runs JOIN waits ON waits.run = runs.number"
        " WHERE runs.ended_at IS NOT NULL AND waits.outcome IS NULL"
    ),
    "a run has more attempts than it may": (  # retries of compensations count beyond that
        "SELECT id FROM runs WHERE attempt > max_attempts AND kind <> 'saga'"
    ),
    "two runs of a session are worked on at once": (
        "SELECT session_id, count(*) FROM runs WHERE session_id IS NOT NULL"
        " AND status = 'running' GROUP BY session_id HAVING count(*) > 1"
    ),
    "two runs of a key are worked on at once": (
        "SELECT concurrency_key, count(*) FROM runs WHERE concurrency_key IS NOT NULL"
        " AND status = 'running' AND parent_id IS NULL"
        " GROUP BY concurrency_key HAVING count(*) > 1"
    ),
    "more runs of a queue are worked on than it may": (
        "SELECT queues.name, count(*) FROM queues JOIN runs ON runs.queue = queues.name"
        " WHERE runs.status = 'running' AND queues.concurrency > 0"
        " GROUP BY queues.name HAVING count(*) > queues.concurrency"
    ),
    "a run is worked on by nobody": (
        "SELECT id FROM runs WHERE status = 'running' AND owner IS NULL"
    ),
    "a run that waits to go on has an owner": (
        "SELECT id FROM runs WHERE status <> 'running' AND ended_at IS NULL AND owner IS NOT NULL"
    ),
}

AT_THE_END = {
    "a run has not ended": (
        "SELECT id, status, hold, ending, (SELECT group_concat(key || ' ' || kind) FROM waits"
        " WHERE waits.run = runs.number AND outcome IS NULL) FROM runs WHERE ended_at IS NULL"
    ),
    "work for the end was not done": (
        "SELECT run, key FROM journal AS registered WHERE kind = 9 AND key NOT GLOB 'undo.*'"
        " AND NOT EXISTS ("
        " SELECT 1 FROM journal WHERE run = registered.run"
        " AND key = '!end/' || registered.key)"
    ),
    "a run ended in a way that no run here should": (
        "SELECT id, status, error FROM runs WHERE status NOT IN"
        " ('completed', 'failed', 'dead_letter', 'cancelled', 'timed_out', 'compensated',"
        " 'compensation_failed')"
        " OR json_extract(error, '$.code') = 'engine_fault'"
    ),
    "a run that has not completed tells no reason": (
        "SELECT id, status FROM runs WHERE status <> 'completed' AND error IS NULL"
    ),
}


def check(witness: Witness, connection: sqlite3.Connection, questions: dict[str, str]) -> None:
    """Ask, and note what is at fault."""
    for sentence, sql in questions.items():
        rows = connection.execute(sql).fetchmany(5)
        if rows:
            witness.fault(f"{sentence}: {rows}")


def check_accepted(witness: Witness, connection: sqlite3.Connection) -> None:
    """All that was answered with success is there."""
    runs = {run_id for (run_id,) in connection.execute("SELECT id FROM runs")}
    for run_id in witness.accepted:
        if run_id not in runs:
            witness.fault(f"a run was accepted and is lost: {run_id}")
    events = set(
        connection.execute(
            "SELECT runs.id, events.id FROM events JOIN runs ON runs.number = events.run"
        )
    )
    for run_id, event_id in witness.sent:
        if (run_id, event_id) not in events:
            witness.fault(f"an event was accepted and is lost: {event_id} of {run_id}")


def check_doubts(witness: Witness, connection: sqlite3.Connection) -> None:
    """An effect that may have happened has a recorded outcome, or somebody was asked about it."""
    settled = set(
        connection.execute(
            "SELECT runs.id, key FROM journal JOIN runs ON runs.number = journal.run"
            " WHERE journal.kind IN (1, 2)"
        )
    )
    asked = set(
        connection.execute(
            "SELECT runs.id, substr(key, 1, instr(key, ':') - 1) FROM waits"
            " JOIN runs ON runs.number = waits.run WHERE waits.kind = 'decision'"
        )
    )
    for step in witness.once:
        if witness.effects[step] > 0 and step not in settled and step not in asked:
            witness.fault(f"an effect may have happened, and nobody was asked: {step}")


def check_ends(witness: Witness, connection: sqlite3.Connection) -> Counter[str]:
    """Each run has ended as its code has; gives how many have ended how."""
    statuses: Counter[str] = Counter()
    for row in connection.execute(
        "SELECT id, status, attempt, max_attempts, output, error, parent_id, deadline_at,"
        " (SELECT count(*) FROM retries WHERE retries.run = runs.number),"
        " (SELECT predecessor FROM successions WHERE successor = runs.id) FROM runs"
        " WHERE kind <> 'saga'"
    ):
        run_id, status, attempt, attempts_max, output, error, parent_id, deadline_at, *more = row
        retries, predecessor = more
        statuses[status] += 1
        outcome = witness.outcomes.get(run_id)
        word = outcome.word if outcome is not None else "nothing"
        failures = len(witness.failures.get((run_id, retries), ()))
        place = f"{run_id} ({status}, its code last {word})"
        if status == "dead_letter" and json.loads(error)["code"] == "crash":
            if witness.kills < CRASHES:
                witness.fault(f"it cannot have crashed that often: {place}")
            continue
        match status:
            case "completed":
                if outcome is None or word == "raised":
                    witness.fault(f"a failure was erased: {place}")
                elif word == "returned" and json.loads(output) != outcome.value:
                    witness.fault(f"another output than the code's: {place}")
            case "failed" | "dead_letter":
                if outcome is None or word != "raised":
                    witness.fault(f"a run failed whose code had not: {place}: {error}")
                elif json.loads(error)["message"] != outcome.value:
                    witness.fault(f"another failure than the code's: {place}: {error}")
                if (status == "dead_letter") is not (attempts_max > 1):
                    witness.fault(f"a wrong kind of failure: {place}")
                if attempt != attempts_max:
                    witness.fault(f"it had {attempt} of {attempts_max} tries: {place}")
            case "cancelled":
                # Who was told that it ends means whatever it goes on as.
                if not {run_id, predecessor} & witness.ended_by and parent_id is None:
                    witness.fault(f"nobody has asked for it: {place}")
            case "timed_out":
                if deadline_at is None and parent_id is None:
                    witness.fault(f"it had no deadline: {place}")
        expected = attempt if status in {"failed", "dead_letter"} else attempt - 1
        if status not in {"cancelled", "timed_out"} and failures != expected:
            witness.fault(
                f"its code had {failures} failures, and it is in attempt {attempt}: {place}"
            )
    return statuses
