"""How the legs of a run are, judged from what is recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.core import json
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import ENDED, Phase, Run, RunStatus
from agency.domain.saga import LegState, LegStatus
from agency.ports.store import Journal
from agency.workflows.saga.http import HttpCall
from agency.workflows.saga.leg import Child, Leg, LegContext, Stage
from agency.workflows.saga.records import LegRecord, read_legs
from agency.workflows.saga.tool import ToolCallOfLeg

_INTERRUPTED: Mapping[str, Any] = {
    "code": "outcome_unknown",
    "error_class": "OutcomeUnknown",
    "message": "It was interrupted; whether it has had its effect is not known.",
    "details": None,
}


def leg_statuses(run: Run, journal: Journal, stages: Sequence[Stage] | None) -> list[LegStatus]:
    """Tell how each leg of a run is.

    Args:
        stages: Legs of the version that the run is pinned to; None if that is not known any more.
            Then only what was begun is told.
    """
    if stages is None:
        stages = _stages_of(journal)
    records = read_legs(stages, journal)
    return [
        _status(run, stage, records[leg.id], is_known=leg.do is not _unknown)
        for stage in stages
        for leg in stage.legs
    ]


def kind_of(part: object) -> str:
    """Name the kind of an action or compensation."""
    match part:
        case Child():
            return part.kind
        case HttpCall():
            return "http"
        case ToolCallOfLeg():
            return "tool"
        case _:
            return "function"


def needs_undo(record: LegRecord) -> bool:
    """Tell whether a leg has to be taken back when its saga does not complete."""
    leg, action = record.leg, record.action
    if record.begun is None or leg.undo is None:
        return False
    if action.is_done:
        return True
    if leg.undo_failed == "always":
        return True
    return record.is_unknown and leg.undo_failed == "unknown"


def _status(run: Run, stage: Stage, record: LegRecord, *, is_known: bool) -> LegStatus:
    leg, action, undo = record.leg, record.action, record.undo
    state = _state(run, record)
    error = action.failures[-1] if action.failures and not action.is_done else None
    if state is not LegState.RUNNING and record.begun is not None and action.outcome is None:
        error = _INTERRUPTED
    return LegStatus(
        id=leg.id,
        name=leg.title,
        group=stage.group,
        kind=kind_of(leg.do) if is_known else "",
        state=state,
        result=json.decode(action.outcome.body) if action.outcome and action.is_done else None,
        error=_shown(error),
        attempts=action.attempts,
        has_compensation=leg.undo is not None,
        compensation_error=_shown(undo.failures[-1] if undo.failures else None),
        compensation_attempts=undo.attempts,
        run_ids=tuple(wait.target for wait in record.children),
    )


def _shown(error: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if error is None:
        return None
    return {name: error.get(name) for name in ("code", "error_class", "message", "details")}


def _state(run: Run, record: LegRecord) -> LegState:
    is_over = run.phase is Phase.COMPENSATING or run.status in ENDED
    if record.begun is None:
        return LegState.SKIPPED if is_over else LegState.PENDING
    if record.undo.is_done:
        return LegState.COMPENSATED
    if record.undo.has_failed:
        return LegState.COMPENSATION_FAILED
    if run.phase is Phase.COMPENSATING and needs_undo(record):
        if run.status is RunStatus.COMPENSATION_FAILED:
            return LegState.COMPENSATION_FAILED
        if run.status not in ENDED:
            return LegState.COMPENSATING
    if record.action.is_done:
        return LegState.DONE
    if record.action.has_failed or is_over:
        return LegState.FAILED
    return LegState.RUNNING


def _stages_of(journal: Journal) -> list[Stage]:
    """Make up the legs that were begun, of a saga that is not there any more."""
    stages: dict[str, list[Leg]] = {}
    for entry in journal.entries:
        if entry.kind is EntryKind.AT_END and entry.key.startswith("undo."):
            leg_id = entry.key.removeprefix("undo.").removesuffix("#1")
            group = _group_of(leg_id, journal.entries)
            stages.setdefault(group or f"!{leg_id}", []).append(Leg(id=leg_id, do=_unknown))
    return [
        Stage(tuple(legs), "" if group.startswith("!") else group) for group, legs in stages.items()
    ]


def _group_of(leg_id: str, entries: Sequence[Entry]) -> str:
    end = f".{leg_id}/{leg_id}#1"
    return next((entry.key.removesuffix(end) for entry in entries if entry.key.endswith(end)), "")


def _unknown(_: LegContext) -> None:
    """Stand for an action that is not known any more."""
