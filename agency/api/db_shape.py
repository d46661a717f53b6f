"""What is told of the database as a whole, as JSON."""

from __future__ import annotations

from agency.core.clock import to_text
from agency.documents import CheckDocument, PruneDocument, StatsDocument, VacuumDocument
from agency.engine.retention import Pass
from agency.ports.upkeep import CheckResult, GivenBack, StoreStats


def stats_json(stats: StoreStats) -> StatsDocument:
    """Make the JSON of how large the database is."""
    return {
        "path": stats.path,
        "size_bytes": stats.size_bytes,
        "log_bytes": stats.log_bytes,
        "free_bytes": stats.free_bytes,
        "page_bytes": stats.page_bytes,
        "blocked_s": round(stats.blocked_s, 3),
        "runs": {status.value: runs for status, runs in stats.runs.items()},
        "tables": [
            {"name": table.name, "rows": table.rows, "exact": table.is_exact}
            for table in stats.tables
        ],
        "oldest_at": None if stats.oldest_at is None else to_text(stats.oldest_at),
        "oldest_live_at": None if stats.oldest_live_at is None else to_text(stats.oldest_live_at),
    }


def check_json(result: CheckResult) -> CheckDocument:
    """Make the JSON of what a check has found."""
    return {
        "sound": not result.faults and not result.unchecked,
        "faults": list(result.faults),
        "checked": list(result.checked),
        "unchecked": list(result.unchecked),
        "elapsed_s": round(result.elapsed_s, 3),
    }


def given_json(given: GivenBack) -> VacuumDocument:
    """Make the JSON of what was given back."""
    return {"bytes": given.bytes, "free_bytes": given.free_bytes}


def pass_json(done: Pass) -> PruneDocument:
    """Make the JSON of what a pass has deleted."""
    return {
        "runs": done.runs,
        "kept": done.kept,
        "rows": done.rows,
        "snapshots": done.snapshots,
        "sessions": done.sessions,
        "bytes": done.bytes,
        "elapsed_s": round(done.elapsed_s, 3),
    }
