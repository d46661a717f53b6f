"""Sessions and messages as JSON."""

from __future__ import annotations

from typing import Any

from agency.core.clock import to_text
from agency.domain.message import Message
from agency.domain.session import Session
from agency.web.addresses import run_path, session_path


def session_json(session: Session) -> dict[str, Any]:
    """Write a session."""
    path = session_path(session.id)
    links = {
        "self": path,
        "messages": f"{path}/messages",
        "export": f"{path}/export",
        "transcript": f"{path}/transcript",
    }
    if session.live_run_id is not None:
        links["run"] = run_path(session.live_run_id)
    if session.parent_id is not None:
        links["parent"] = session_path(session.parent_id)
    return {
        "session_id": session.id,
        "title": session.title or None,
        "first_message": session.first,
        "messages": session.newest,
        "created_at": to_text(session.created_at),
        "last_at": to_text(session.last_at),
        "live_run_id": session.live_run_id,
        "parent_id": session.parent_id,
        "forked_at": session.forked_at or None,
        "forks": session.forks,
        "links": links,
    }


def message_json(message: Message) -> dict[str, Any]:
    """Write a message."""
    return {
        "position": message.position,
        "role": message.role,
        "content": message.content,
        "run_id": message.run_id,
        "created_at": to_text(message.created_at),
    }
