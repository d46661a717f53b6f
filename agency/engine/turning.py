"""The entry that says that a run compensates: from it on nothing goes forward any more."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from agency.core import json
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import Phase, RunError, RunStatus
from agency.engine.journal import JournalView
from agency.engine.verdict import Verdict

KEY = "!compensating#1"


def make_turn(cause: Verdict, *, at: datetime) -> Entry:
    """Make the entry of a run that does not complete, from how it would have ended."""
    body = {
        "phase": Phase.COMPENSATING,
        "status": cause.status,
        "error": None if cause.error is None else asdict(cause.error),
    }
    return Entry(KEY, EntryKind.PHASE, json.encode(body), at)


def find_turn(journal: JournalView) -> Verdict | None:
    """Tell how a run that compensates would have ended without, or None if it goes forward."""
    entry = journal.find(KEY)
    if entry is None:
        return None
    body = json.decode(entry.body)
    error = None if body["error"] is None else RunError(**body["error"])
    return Verdict(status=RunStatus(body["status"]), error=error)
