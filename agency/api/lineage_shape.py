"""What verbs have done or would do, and families of runs, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.api.run_shape import error_json, links_json
from agency.core.clock import to_text
from agency.domain.lineage import EntryLine, Kin, Retried
from agency.engine.lineage import Family, Preview
from agency.web.addresses import run_path

PREVIEW_ROWS_MAX = 500
"""Entries of each sort that are listed; how many there are is always told."""


def preview_json(done: Preview, asked: str, verb: str, *, dry_run: bool) -> dict[str, Any]:
    """Make the JSON of what a verb has done, or would do."""
    run = done.run
    return {
        "run_id": run.id,
        "verb": verb,
        "of": asked,
        "dry_run": dry_run,
        "status": run.status,
        "generation": run.generation,
        "stays_count": len(done.stays),
        "again_count": len(done.again),
        "stays": _lines_json(done.stays),
        "again": _lines_json(done.again),
        "waits": list(done.waits)[:PREVIEW_ROWS_MAX],
        "links": links_json(run, None),
    }


def _lines_json(entries: Sequence[EntryLine]) -> list[dict[str, Any]]:
    return [
        {"number": entry.number, "key": entry.key, "kind": entry.kind.name.lower()}
        for entry in entries[:PREVIEW_ROWS_MAX]
    ]


def family_json(run_id: str, family: Family) -> dict[str, Any]:
    """Make the JSON of a run's family."""
    return {
        "run_id": run_id,
        "runs": [_kin_json(kin) for kin in family.kin],
        "retries": [_retried_json(retried) for retried in family.retries],
        "is_whole": family.is_whole,
        "links": {"run": run_path(run_id)},
    }


def _kin_json(kin: Kin) -> dict[str, Any]:
    return {
        "run_id": kin.run_id,
        "name": kin.name,
        "workflow": kin.workflow,
        "status": kin.status,
        "created_at": to_text(kin.created_at),
        "generation": kin.generation,
        "relation": kin.relation,
        "of": kin.of or None,
        "is_ancestor": kin.is_ancestor,
        "links": {"self": run_path(kin.run_id)},
    }


def _retried_json(retried: Retried) -> dict[str, Any]:
    return {
        "generation": retried.generation,
        "at": to_text(retried.at),
        "principal": retried.principal,
        "status": retried.status,
        "error": error_json(retried.error),
    }
