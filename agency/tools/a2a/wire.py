"""Between A2A's words and ours: tasks, messages, parts.

This module loads the SDK; see `agency.tools.a2a.agents` for when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from agency.domain.content import PARTS_MAX, Content, Part, PartKind
from agency.domain.remote import HOPS_KEY, RemoteMessage, RemoteState, RemoteTask

ARTIFACTS_MAX = 1_000
"""Artifacts of one task, as parts of one content."""

ID = re.compile(r"[^\s/?#%\\\x00-\x1f\x7f]{1,256}")
"""Ids that another system may give: they become part of paths."""

_WHOLE_MAX = float(1 << 53)

_STATES: Mapping[int, RemoteState] = {
    pb.TASK_STATE_SUBMITTED: RemoteState.SUBMITTED,
    pb.TASK_STATE_WORKING: RemoteState.WORKING,
    pb.TASK_STATE_COMPLETED: RemoteState.COMPLETED,
    pb.TASK_STATE_FAILED: RemoteState.FAILED,
    pb.TASK_STATE_CANCELED: RemoteState.CANCELLED,
    pb.TASK_STATE_INPUT_REQUIRED: RemoteState.INPUT_REQUIRED,
    pb.TASK_STATE_REJECTED: RemoteState.REJECTED,
    pb.TASK_STATE_AUTH_REQUIRED: RemoteState.AUTH_REQUIRED,
}


def state_of(number: int) -> RemoteState:
    """Read a state; one that is not known here is no end."""
    return _STATES.get(number, RemoteState.UNKNOWN)


def is_id(text: str) -> bool:
    """Tell whether a text can be an id: it is one part of a path."""
    return ID.fullmatch(text) is not None and text not in {".", ".."}


def check_id(text: str, what: str) -> str:
    """Check an id of another system.

    Raises:
        ValueError: it is missing, too long, or would be more than one part of a path.
    """
    if not is_id(text):
        raise ValueError(f"its {what} is {text[:100]!r}")
    return text


def task_of(task: pb.Task) -> RemoteTask:
    """Read a task.

    Raises:
        ValueError: it cannot be used.
    """
    if len(task.artifacts) > ARTIFACTS_MAX:
        raise ValueError(f"its task has {len(task.artifacts)} artifacts")
    return RemoteTask(
        id=check_id(task.id, "id of a task"),
        context_id=context_of(task.context_id),
        state=state_of(task.status.state),
        said=content_of(task.status.message.parts),
        artifacts=[artifact_of(one) for one in task.artifacts],
    )


def context_of(text: str) -> str:
    """Check the id of a context, which may be missing.

    Raises:
        ValueError: it cannot be used.
    """
    return check_id(text, "id of a context") if text else ""


def answer_of(message: pb.Message) -> RemoteTask:
    """Read a message that was sent instead of a task.

    Raises:
        ValueError: it cannot be used.
    """
    return RemoteTask(
        id="",
        context_id=context_of(message.context_id),
        state=RemoteState.COMPLETED,
        said=content_of(message.parts),
    )


def artifact_of(artifact: pb.Artifact) -> Content:
    """Read an artifact.

    Raises:
        ValueError: it cannot be used.
    """
    return Content(
        parts=content_of(artifact.parts).parts, name=artifact.name or artifact.artifact_id
    )


def content_of(parts: Iterable[pb.Part]) -> Content:
    """Read parts.

    Raises:
        ValueError: there are too many.
    """
    found = list(parts)
    if len(found) > PARTS_MAX:
        raise ValueError(f"it sends {len(found)} parts at once")
    return Content(parts=[_part_of(one) for one in found])


def _part_of(part: pb.Part) -> Part:
    metadata = _plain(MessageToDict(part.metadata)) if part.HasField("metadata") else {}
    more: dict[str, Any] = {
        "media_type": part.media_type,
        "name": part.filename,
        "metadata": metadata,
    }
    match part.WhichOneof("content"):
        case "raw":
            return Part(kind=PartKind.BYTES, raw=part.raw, **more)
        case "url":
            return Part(kind=PartKind.LINK, url=part.url, **more)
        case "data":
            return Part(kind=PartKind.DATA, data=_plain(MessageToDict(part.data)), **more)
        case _:
            return Part(kind=PartKind.TEXT, text=part.text, **more)


def _plain(value: Any) -> Any:  # noqa: ANN401  a JSON value
    """Write numbers as they were meant, and members in one order: protobuf knows neither."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_MAX:
        return int(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return value


def request_of(message: RemoteMessage) -> pb.SendMessageRequest:
    """Write the request that hands a message over, and waits for nothing."""
    request = pb.SendMessageRequest(
        message=pb.Message(
            message_id=message.id,
            context_id=message.context_id,
            task_id=message.task_id,
            role=pb.ROLE_USER,
            parts=[_write(part) for part in message.content.parts],
        ),
        configuration=pb.SendMessageConfiguration(return_immediately=True),
    )
    request.message.metadata.update({HOPS_KEY: message.hops})
    return request


def _write(part: Part) -> pb.Part:
    made = pb.Part(media_type=part.media_type, filename=part.name)
    match part.kind:
        case PartKind.TEXT:
            made.text = part.text
        case PartKind.DATA:
            made.data.CopyFrom(ParseDict(part.data, Value()))
        case PartKind.BYTES:
            made.raw = part.raw
        case PartKind.LINK:
            made.url = part.url
    if part.metadata:
        made.metadata.update(dict(part.metadata))
    return made
