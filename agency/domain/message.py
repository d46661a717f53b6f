"""Sessions and their messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be appended to a session, in the commit that it is handed to.

    Attributes:
        role: ``user``, ``assistant``, ``system`` or ``tool``.
        content: JSON value: ``{"text": …}`` and whatever else the role has.
    """

    session_id: str
    role: str
    content: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; ``position`` counts from 1 in its session."""

    session_id: str
    position: int
    role: str
    content: Any
    run_id: str | None
    created_at: datetime
