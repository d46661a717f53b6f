"""Sagas and their runs as JSON."""

from __future__ import annotations

from typing import Any

from agency.api.run_shape import run_json
from agency.domain.run import ENDED, RunStatus
from agency.domain.saga import LegStatus
from agency.web.addresses import run_path, saga_path, saga_run_path
from agency.workflows.saga.leg import Leg, Stage
from agency.workflows.saga.sagas import KnownSaga, SagaRun
from agency.workflows.saga.status import kind_of


def saga_row_json(known: KnownSaga) -> dict[str, Any]:
    """Make the JSON of a saga in a list."""
    definition = known.definition
    path = saga_path(definition.name)
    return {
        "name": definition.name,
        "version": definition.version,
        "description": definition.description,
        "origin": known.origin,
        "source": definition.source,
        "timeout_s": definition.timeout_s,
        "legs": [_leg_json(stage, leg) for stage in known.saga.stages for leg in stage.legs],
        "links": {"self": path, "start": f"{path}/start", "runs": f"{path}/runs"},
    }


def saga_json(known: KnownSaga) -> dict[str, Any]:
    """Make the JSON of one saga."""
    made = saga_row_json(known)
    made["input_schema"] = known.definition.input_codec.schema()
    made["declaration"] = known.saga.declaration
    return made


def saga_run_json(found: SagaRun) -> dict[str, Any]:
    """Make the JSON of a saga's run with its legs."""
    run = found.detail.run
    made = run_json(found.detail)
    made["saga"] = run.workflow
    made["legs"] = [_status_json(leg) for leg in found.legs]
    path = saga_run_path(run.id)
    made["links"] = {
        **made["links"],
        "self": path,
        "run": run_path(run.id),
        "saga": saga_path(run.workflow),
    }
    if run.status not in ENDED:
        made["links"]["abort"] = f"{path}/abort"
    if run.status is RunStatus.COMPENSATION_FAILED:
        made["links"]["retry_compensation"] = f"{path}/retry-compensation"
    return made


def _leg_json(stage: Stage, leg: Leg) -> dict[str, Any]:
    return {
        "id": leg.id,
        "name": leg.title,
        "group": stage.group,
        "kind": kind_of(leg.do),
        "compensation": None if leg.undo is None else kind_of(leg.undo),
        "effect": leg.effect,
        "timeout_s": leg.timeout_s,
        "attempts": leg.retry.attempts,
    }


def _status_json(leg: LegStatus) -> dict[str, Any]:
    return {
        "id": leg.id,
        "name": leg.name,
        "group": leg.group,
        "kind": leg.kind,
        "state": leg.state,
        "result": leg.result,
        "error": leg.error,
        "attempts": leg.attempts,
        "has_compensation": leg.has_compensation,
        "compensation_error": leg.compensation_error,
        "compensation_attempts": leg.compensation_attempts,
        "run_ids": leg.run_ids,
    }
