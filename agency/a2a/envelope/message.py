"""A message of the older envelope as it comes, and the response to it.

Its words are written as the older system does, with capital letters; they are read in any case.
Members that are not known are ignored, because other versions of that system may have more.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, StringConstraints

from agency.core import json
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.core.records import dataclass
from agency.domain.content import Content, Part, bytes_part, data_part, text_part
from agency.errors import Fault, InvalidInput
from agency.web.bodies import Body


class MessageType(StrEnum):
    """What a message is."""

    REQUEST = "request"
    RESPONSE = "response"
    EVENT = "event"
    COMMAND = "command"
    QUERY = "query"
    NOTIFICATION = "notification"
    HEARTBEAT = "heartbeat"
    ACKNOWLEDGMENT = "acknowledgment"


class Priority(StrEnum):
    """How urgent it is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class Status(StrEnum):
    """What became of a message, as the older system writes it."""

    SUCCESS = "Success"
    ERROR = "Error"
    TIMEOUT = "Timeout"
    REJECTED = "Rejected"
    PROCESSING = "Processing"


PRIORITIES = {Priority.LOW: -10, Priority.NORMAL: 0, Priority.HIGH: 10, Priority.CRITICAL: 100}
"""Priorities of runs that messages start."""

METADATA_BYTES_MAX = 16 * 1024
"""Metadata of one message as JSON: it is handed on with what is published."""


def _lowered(value: Any) -> Any:  # noqa: ANN401  JSON value
    return value.lower() if isinstance(value, str) else value


_Word = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=NAME_CHARACTERS_MAX,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
    ),
]
_Moment = Annotated[AwareDatetime, Field(strict=False)]


class Envelope(Body):
    """A message."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)

    id: _Word
    sender: _Word = Field(alias="from")
    to: _Word
    message_type: Annotated[MessageType, Field(strict=False), BeforeValidator(_lowered)]
    payload: Any = None
    priority: Annotated[Priority, Field(strict=False), BeforeValidator(_lowered)] = Priority.NORMAL
    timestamp: _Moment | None = None
    expires_at: _Moment | None = None
    correlation_id: _Word | None = None
    reply_to: _Word | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a message carries.

    Attributes:
        content: In parts, as any message to an agent or workflow.
        operation: Of a task: what is to be done; else empty.
        event_type: Of an event: what has happened; else empty.
        value: The whole of it as one JSON value.
    """

    content: Content
    value: Any
    operation: str = ""
    event_type: str = ""


_KINDS = frozenset({"text", "json", "binary", "task", "query", "event", "status"})


def payload_of(given: Any) -> Payload:  # noqa: ANN401  JSON value
    """Read a payload: one of the seven kinds by its name, else a text or any JSON value.

    Raises:
        InvalidInput: it is none of its kind.
    """
    kind, value = "text" if isinstance(given, str) else "json", given
    if isinstance(given, dict) and len(given) == 1:
        name, inner = next(iter(given.items()))
        if name.lower() in _KINDS:
            kind, value = name.lower(), inner
    match kind:
        case "text":
            if not isinstance(value, str):
                raise _unfit("Text", "a text")
            return _payload([text_part(value)], value)
        case "binary":
            raw = _bytes_of(value)
            return _payload([bytes_part(raw, media_type="application/octet-stream")], value)
        case "task":
            return _task_of(value)
        case "query":
            return _query_of(value)
        case "event":
            named = value.get("event_type") if isinstance(value, dict) else None
            event_type = named if isinstance(named, str) else ""
            return Payload(
                content=Content(parts=[data_part(value)]), value=value, event_type=event_type
            )
        case _:
            return _payload([data_part(value)], value)


def _task_of(value: Any) -> Payload:  # noqa: ANN401  JSON value
    if not isinstance(value, dict) or not isinstance(operation := value.get("operation"), str):
        raise _unfit("Task", "an object with task_id, operation and parameters")
    parameters = value.get("parameters")
    parts = [] if parameters is None else [data_part(parameters)]
    return Payload(content=Content(parts=parts), value=parameters, operation=operation)


def _query_of(value: Any) -> Payload:  # noqa: ANN401  JSON value
    if isinstance(value, str):
        return _payload([text_part(value)], value)
    query = value.get("query") if isinstance(value, dict) else None
    if isinstance(query, str) and value.keys() <= {"query", "parameters", "filters"}:
        more = {name: one for name, one in value.items() if name != "query" and one}
        parts = [text_part(query), *([data_part(more)] if more else [])]
        return _payload(parts, value)
    return _payload([data_part(value)], value)


def _payload(parts: list[Part], value: Any) -> Payload:  # noqa: ANN401  JSON value
    return Payload(content=Content(parts=parts), value=value)


def _bytes_of(value: Any) -> bytes:  # noqa: ANN401  JSON value
    """Read bytes: base64, or a list of numbers as the older system's JSON has them."""
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
        if isinstance(value, list):
            return bytes(value)
    except (binascii.Error, ValueError, TypeError) as error:
        raise _unfit("Binary", "base64 or a list of bytes") from error
    raise _unfit("Binary", "base64 or a list of bytes")


def _unfit(kind: str, wanted: str) -> InvalidInput:
    what = f"A payload {kind} is {wanted}."
    return InvalidInput(what, faults=[Fault("/payload", what)])


def check_metadata(metadata: dict[str, Any] | None) -> None:
    """Refuse metadata that are too large to be handed on.

    Raises:
        InvalidInput: they are.
    """
    if metadata and len(json.encode(metadata)) > METADATA_BYTES_MAX:
        what = f"The metadata have more than {METADATA_BYTES_MAX} bytes."
        raise InvalidInput(what, faults=[Fault("/metadata", what)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is answered.

    Attributes:
        payload: JSON value; of what was done ``{"Text": …}`` or ``{"Json": …}``.
        http_status: Of the answer that it is the body of.
        location: Where the run is, if there is one.
    """

    message_id: str
    status: Status
    payload: Any = None
    error: str = ""
    http_status: int = 200
    location: str = ""

    def to_json(self, elapsed_s: float) -> dict[str, Any]:
        """Write it as the older system reads it."""
        return {
            "message_id": self.message_id,
            "status": self.status,
            "payload": self.payload,
            "error": self.error or None,
            "processing_time_ms": round(elapsed_s * 1000),
        }


def payload_json(value: Any) -> Any:  # noqa: ANN401  JSON value
    """Write what a run has ended with as a payload."""
    return {"Text": value} if isinstance(value, str) else {"Json": value}
