"""Rows into records. The order of columns is that of the fragments in ``sql/fragments.sql``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.clock import from_micros
from agency.core.json import decode
from agency.domain.entry import Entry, EntryKind
from agency.domain.event import Event
from agency.domain.message import Message
from agency.domain.principal import Token
from agency.domain.run import Phase, Run, RunError, RunKind, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.ports.store import RunDetail, Wake
from agency.storage.sqlite.transaction import Row

RUN_COLUMNS = 41

_STATUSES = {status.value: status for status in RunStatus}
_KINDS = {kind.value: kind for kind in RunKind}
_PHASES = {phase.value: phase for phase in Phase}
_ENTRY_KINDS = {kind.value: kind for kind in EntryKind}
_WAIT_KINDS = {kind.value: kind for kind in WaitKind}
_OUTCOMES = {outcome.value: outcome for outcome in WaitOutcome}


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _value(body: bytes | str | None) -> Any:  # noqa: ANN401  JSON value
    return None if body is None else decode(body)


def error_of(body: bytes | None) -> RunError | None:
    """Read why a run has failed."""
    if body is None:
        return None
    error = decode(body)
    return RunError(**{**error, "steps": tuple(error.get("steps", ()))})


def run_of(row: Row) -> Run:
    """Read ``run_columns``; what follows them is left alone."""
    (
        number,
        run_id,
        name,
        workflow,
        version,
        kind,
        status,
        phase,
        input_body,
        output_body,
        error,
        session_id,
        parent_id,
        forked_from,
        queue,
        priority,
        attempt,
        max_attempts,
        epoch,
        owner,
        available_at,
        deadline_at,
        seed,
        idempotency_key,
        correlation_id,
        principal,
        tags,
        created_at,
        started_at,
        ended_at,
        ending,
        hold,
        crashes,
        provider,
        progress,
        concurrency_key,
        rerun_of,
        forked_at,
        schedule,
        generation,
        changed_at,
    ) = row[:RUN_COLUMNS]
    # Mostly the same moments, and to make one takes as long as ten fields.
    created = from_micros(created_at)
    started = None if started_at is None else from_micros(started_at)
    if changed_at == started_at and started is not None:
        changed = started
    else:
        changed = from_micros(changed_at) if changed_at else created
    return Run(
        number=number,
        id=run_id,
        name=name,
        workflow=workflow,
        version=version,
        kind=_KINDS[kind],
        status=_STATUSES[status],
        phase=_PHASES[phase],
        input=decode(input_body),
        output=_value(output_body),
        error=error_of(error),
        session_id=session_id,
        parent_id=parent_id,
        forked_from=forked_from,
        queue=queue,
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        epoch=epoch,
        owner=owner,
        available_at=created if available_at == created_at else from_micros(available_at),
        deadline_at=_moment(deadline_at),
        seed=int(seed),
        idempotency_key=idempotency_key,
        correlation_id=correlation_id,
        principal=principal,
        tags={} if tags is None else decode(tags),
        created_at=created,
        started_at=started,
        ended_at=_moment(ended_at),
        ending=ending,
        hold=hold,
        crashes=crashes,
        provider=provider,
        progress=_value(progress),
        concurrency_key=concurrency_key,
        rerun_of=rerun_of,
        forked_at=forked_at,
        schedule=schedule,
        generation=generation,
        changed_at=changed,
    )


def detail_of(row: Row, *, claimed_steps: tuple[int, int]) -> RunDetail:
    """Read ``detail_columns``.

    Args:
        row: The row.
        claimed_steps: Epoch of the run's claim and the steps recorded under it, from before the
            row was read; they count only while that claim holds in the row.
    """
    run = run_of(row)
    steps, snapshot_id, behind, waits = row[RUN_COLUMNS:]
    epoch, since = claimed_steps
    if run.status is RunStatus.RUNNING and run.epoch == epoch:
        steps += since
    return RunDetail(
        run=run,
        waits=waits_of(waits),
        steps_executed=steps,
        snapshot_id=snapshot_id,
        behind=behind,
    )


def entry_of(row: Row) -> Entry:
    """Read number, key, kind, body, moment, meta and epoch of an entry."""
    number, key, kind, body, at, meta, epoch = row
    return Entry(key, _ENTRY_KINDS[kind], body, from_micros(at), meta, epoch, number)


def wait_of(row: Row) -> Wait:
    """Read ``wait_columns`` or ``wait_values``."""
    (
        _,
        key,
        kind,
        name,
        due_at,
        show,
        target,
        opened_at,
        outcome,
        payload,
        resolved_at,
        resolved_number,
    ) = row
    return Wait(
        key=key,
        kind=_WAIT_KINDS[kind],
        name=name,
        due_at=_moment(due_at),
        show=_value(show),
        target=target,
        opened_at=from_micros(opened_at),
        outcome=None if outcome is None else _OUTCOMES[outcome],
        payload=_value(payload),
        resolved_at=_moment(resolved_at),
        resolved_number=resolved_number,
    )


def waits_of(listed: str) -> list[Wait]:
    """Read a JSON list of ``wait_values``, oldest first."""
    return [] if listed == "[]" else [wait_of(row) for row in sorted(decode(listed))]


def snapshot_of(row: Row) -> Snapshot:
    """Read ``snapshot_columns``."""
    snapshot_id, run_id, name, workflow, reason, entry_number, created_at, spent, status, waits = (
        row
    )
    return Snapshot(
        id=snapshot_id,
        run_id=run_id,
        run_name=name,
        workflow=workflow,
        reason=reason,
        entry_number=entry_number,
        created_at=from_micros(created_at),
        waits=waits_of(waits),
        spent=bool(spent),
        run_status=status,
    )


def event_of(row: Row) -> Event:
    """Read id, run, name, payload, moment and whether it was taken."""
    event_id, run_id, name, payload, created_at, taken = row
    return Event(
        id=event_id,
        run_id=run_id,
        name=name,
        payload=decode(payload),
        created_at=from_micros(created_at),
        taken=bool(taken),
    )


def message_of(row: Row) -> Message:
    """Read session, position, role, content, run and moment."""
    session_id, position, role, content, run_id, created_at = row
    return Message(
        session_id=session_id,
        position=position,
        role=role,
        content=decode(content),
        run_id=run_id,
        created_at=from_micros(created_at),
    )


def token_of(row: Row) -> Token:
    """Read name, prefix, hash and moments."""
    name, prefix, secret_hash, created_at, revoked_at = row
    return Token(
        name=name,
        prefix=prefix,
        secret_hash=secret_hash,
        created_at=from_micros(created_at),
        revoked_at=_moment(revoked_at),
    )


def wake_of(number: int, run_id: str, status: str) -> Wake:
    """Make a wake from what is stored of its run."""
    return Wake(number, run_id, _STATUSES[status])
