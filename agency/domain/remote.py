"""Agents of other systems, and their tasks as they are seen from here. Pure.

A2A's own words stay on its wire: what an agent elsewhere works on for us is a `RemoteTask`, what it
says and hands out is `Content`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.domain.content import CONTENT_KEY, Content, Part, PartKind, content_of

HOPS_TAG = "a2a_hops"
"""Tag of a run that was started over A2A, and of its children: how many calls from one system to
the next have led to it."""

HOPS_HEADER = "X-Agency-Hops"
"""Header in which a request over A2A tells that number to the next system."""

HOPS_KEY = "agency.hops"
"""Member of a message's metadata that tells the same, where headers get lost."""

CALL_WORKFLOW = "call_agent"
"""The built-in workflow that calls an agent elsewhere; each call is a run of it."""

HOPS_COUNTED_MAX = 1_000_000
"""A larger number that somebody claims is taken for this one."""


class RemoteState(StrEnum):
    """How a task of an agent elsewhere is."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Nothing follows any more."""
        return self in _FINAL

    @property
    def waits_for_us(self) -> bool:
        """Nothing follows before it is answered."""
        return self in {RemoteState.INPUT_REQUIRED, RemoteState.AUTH_REQUIRED}

    @property
    def is_settled(self) -> bool:
        """There is nothing to watch until something is done from here."""
        return self.is_final or self.waits_for_us


_FINAL = frozenset(
    {
        RemoteState.COMPLETED,
        RemoteState.FAILED,
        RemoteState.CANCELLED,
        RemoteState.REJECTED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTask:
    """A task of an agent elsewhere, or the message that it has answered with instead of one.

    Attributes:
        id: The other system's; empty for a message.
        said: The message of its status, or the answer itself.
        artifacts: What it has handed out, in its order.
    """

    id: str
    context_id: str
    state: RemoteState
    said: Content = field(default_factory=lambda: Content(parts=()))
    artifacts: Sequence[Content] = ()

    @property
    def is_message(self) -> bool:
        """The agent has answered at once, without a task."""
        return not self.id

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON, for a journal."""
        return {
            "id": self.id,
            "context_id": self.context_id,
            "state": self.state.value,
            "said": self.said.to_json(),
            "artifacts": [one.to_json() for one in self.artifacts],
        }


def remote_task_of(value: Mapping[str, Any]) -> RemoteTask:
    """Read what `RemoteTask.to_json` has written.

    Raises:
        InvalidInput: it is something else.
    """
    return RemoteTask(
        id=value["id"],
        context_id=value["context_id"],
        state=RemoteState(value["state"]),
        said=content_of(value["said"]),
        artifacts=[content_of(one) for one in value["artifacts"]],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteMessage:
    """What is sent to an agent elsewhere.

    Attributes:
        id: The same for each try; a system that knows it does nothing twice.
        context_id: Of a conversation that it goes on with; empty begins one.
        task_id: Of a task that it answers; empty begins one.
        hops: How many calls from one system to the next this one is, from 1.
    """

    id: str
    content: Content
    context_id: str = ""
    task_id: str = ""
    hops: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSkill:
    """Something that an agent elsewhere says it can do."""

    id: str
    name: str
    description: str
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCard:
    """What an agent elsewhere says of itself.

    Attributes:
        card_url: Where the card was found.
        url, binding, protocol: How it is spoken with from here: ``JSONRPC`` or ``HTTP+JSON``,
            ``1.0`` or ``0.3``.
        is_verified: Its signature was checked with the key of the settings.
        document: The card as it came, JSON.
        is_stale: It could not be asked for again, and may have changed.
    """

    name: str
    description: str
    version: str
    card_url: str
    url: str
    binding: str
    protocol: str
    streams: bool
    skills: Sequence[RemoteSkill]
    is_verified: bool
    document: Mapping[str, Any]
    fetched_at: datetime
    is_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAnswer:
    """What a call of an agent elsewhere came to.

    Attributes:
        agent: As it was called: its name, or its address.
        task_id: Of the task there; empty when it has answered at once.
        context_id: Of the conversation, to be handed to the next call that goes on with it.
        text: All texts of the answer, one below the other.
        data: Its one JSON value, or a list of several; None when there is none.
        content: All parts in their order, as JSON; see `parts`.
    """

    agent: str
    task_id: str
    context_id: str
    text: str
    data: Any
    content: list[dict[str, Any]]

    @property
    def parts(self) -> Sequence[Part]:
        """All parts of the answer: texts, values, files, links."""
        return content_of({CONTENT_KEY: self.content}).parts


def text_of(content: Content) -> str:
    """Join the texts of a content, one below the other."""
    texts = [part.text for part in content.parts if part.kind is PartKind.TEXT]
    return "\n".join(texts)


def data_of(content: Content) -> Any:  # noqa: ANN401  a JSON value
    """Give the one JSON value of a content, or a list of several; None when there is none."""
    found = [part.data for part in content.parts if part.kind is PartKind.DATA]
    return found[0] if len(found) == 1 else found or None


def result_of(task: RemoteTask) -> Content:
    """Give what a task came to: all that it has handed out, else what it has said at its end."""
    parts = [part for one in task.artifacts for part in one.parts]
    return Content(parts=parts) if parts else task.said


def hops_of(tags: Mapping[str, str]) -> int:
    """Read how many calls from one system to the next have led to a run; 0 if it began here."""
    return hops_in(tags.get(HOPS_TAG))


def hops_in(value: object) -> int:
    """Read what somebody claims of hops: a header's text, a number of JSON, or nothing.

    What is no number counts as none: it must not be more useful to write nonsense than to leave
    it out.
    """
    if isinstance(value, bool):
        return 0
    if isinstance(value, float):
        value = int(value) if value.is_integer() else 0
    if isinstance(value, str):
        digits = value.strip()
        is_number = digits.isascii() and digits.isdigit() and len(digits) < 10
        value = int(digits) if is_number else 0
    if not isinstance(value, int) or value < 0:
        return 0
    return min(value, HOPS_COUNTED_MAX)


def inherited_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Give the tags that the children of a run have, too."""
    return {HOPS_TAG: tags[HOPS_TAG]} if HOPS_TAG in tags else {}


__all__ = [
    "CALL_WORKFLOW",
    "HOPS_HEADER",
    "HOPS_KEY",
    "HOPS_TAG",
    "RemoteAnswer",
    "RemoteCard",
    "RemoteMessage",
    "RemoteSkill",
    "RemoteState",
    "RemoteTask",
    "data_of",
    "hops_in",
    "hops_of",
    "inherited_tags",
    "remote_task_of",
    "result_of",
    "text_of",
]
