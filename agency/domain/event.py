"""A named message that a run receives, kept in its mailbox until it is taken."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event in a run's mailbox. ``taken`` once a wait has it."""

    id: str
    run_id: str
    name: str
    payload: Any
    created_at: datetime
    taken: bool
