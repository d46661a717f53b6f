"""Where a conversation stands: its session, its agent and model, and its last run."""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.client import Client
from agency.core.ids import new_id
from agency.documents import MessageDocument, SessionDocument
from agency.errors import SessionNotFound

RECALLED = 2
"""Messages that are shown when a conversation is gone on with."""


@dataclass(slots=True)
class Place:
    """What the next message goes to.

    Attributes:
        run_id: The last run here; empty before the first.
    """

    client: Client
    agent: str | None = None
    model: str | None = None
    session_id: str = field(default_factory=new_id)
    run_id: str = ""

    def leave(self, session_id: str | None = None) -> None:
        """Go to another session, or to a new one."""
        self.session_id = session_id or new_id()
        self.run_id = ""

    def find(self) -> SessionDocument | None:
        """Read the session; None as long as nothing was said in it."""
        try:
            return self.client.session(self.session_id)
        except SessionNotFound:
            return None

    def said(self, newest: int | None = None) -> list[MessageDocument]:
        """Read what people and the model have said, the ``newest`` messages of it."""
        found = self.find()
        if found is None:
            return []
        said = [
            message
            for message in self.client.messages(self.session_id, upto=found["messages"])
            if message["role"] in {"user", "assistant"} and text_of(message)
        ]
        return said if newest is None else said[-newest:]


def newest_session(client: Client) -> str | None:
    """Find the conversation in which something was said last."""
    found = client.sessions().items
    return max(found, key=lambda one: one["last_at"])["session_id"] if found else None


def text_of(message: MessageDocument) -> str:
    """Read the text of a message; empty when it has none."""
    content = message["content"]
    text = content.get("text") if isinstance(content, dict) else None
    return text if isinstance(text, str) else ""
