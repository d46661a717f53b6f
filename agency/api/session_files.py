"""Sessions as files: JSON lines for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from agency.api.session_shape import message_json, session_json
from agency.core import json
from agency.core.clock import to_text
from agency.domain.message import Message
from agency.domain.session import Session
from agency.ports.session import SessionStore

FORMAT = "agency-session"
FORMAT_VERSION = 1
PAGE_ROWS = 200
"""Messages that are in memory at once while a file is made."""

_HEADINGS: Mapping[str, str] = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "tool": "Tool",
}


async def json_lines(sessions: SessionStore, session: Session) -> AsyncIterator[bytes]:
    """Make the file for programs: a head, a line for each message, and an end."""
    head = {"format": FORMAT, "version": FORMAT_VERSION, "session": session_json(session)}
    yield json.encode(head) + b"\n"
    count = 0
    async for message in _all(sessions, session):
        count += 1
        yield json.encode(message_json(message)) + b"\n"
    yield json.encode({"end": True, "messages": count}) + b"\n"


async def markdown(sessions: SessionStore, session: Session) -> AsyncIterator[bytes]:
    """Make the file for people: what was said, and what tools were asked and answered."""
    title = " ".join((session.title or session.first or session.id).split())
    yield f"# {title}\n\nSession `{session.id}`, begun {to_text(session.created_at)}.\n".encode()
    async for message in _all(sessions, session):
        heading = _HEADINGS.get(message.role, message.role)
        yield f"\n## {heading}\n\n{_body(message.content)}\n".encode()


async def _all(sessions: SessionStore, session: Session) -> AsyncIterator[Message]:
    """Read all that was said when the file was begun."""
    for after in range(0, session.newest, PAGE_ROWS):
        limit = min(PAGE_ROWS, session.newest - after)
        for message in await sessions.page(session.id, after=after, limit=limit):
            yield message


def _body(content: Any) -> str:  # noqa: ANN401  JSON
    if not isinstance(content, Mapping):
        return _block(content)
    text = content.get("text")
    said = text if isinstance(text, str) else ""
    # What else a role has: calls of tools, the model, the name of a tool.
    rest = {name: value for name, value in content.items() if name != "text" and value}
    parts = [said] if said else []
    if set(rest) - {"model"}:
        parts.append(_block(rest))
    return "\n\n".join(parts)


def _block(value: Any) -> str:  # noqa: ANN401  JSON
    text = json.encode(value).decode()
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}json\n{text}\n{fence}"
