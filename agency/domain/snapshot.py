"""A snapshot: a named point of a suspended run from which it can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agency.core.records import dataclass
from agency.domain.wait import Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One suspension of a run.

    Attributes:
        reason: Why it was suspended: the kinds of its waits, or the operator's words.
        entry_number: Newest journal entry at that point.
        waits: What it waited for, as those waits are now.
        spent: The run has gone on since, by any way.
        run_status: Status of the run now.
    """

    id: str
    run_id: str
    run_name: str | None
    workflow: str
    reason: str
    entry_number: int
    created_at: datetime
    waits: Sequence[Wait]
    spent: bool
    run_status: str
