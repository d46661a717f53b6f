"""JSON of the protocol in and out: strictly read, leniently understood.

What is not unambiguous JSON is refused; members that this version does not know are ignored, as
the protocol demands for its later minor versions. Source: A2A 1.0.1, section 5.6 and 3.2.
"""

from __future__ import annotations

import asyncio
import json as standard_json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidRequestError, JSONParseError
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from agency.a2a.refusals import invalid
from agency.a2a.sizes import VALUES_MAX, has_many
from agency.core import json
from agency.core.limits import JSON_DEPTH_MAX
from agency.web.bodies import is_deep

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.ASCII)

_EXACT = 1 << 53
"""Whole numbers up to here are exact as doubles, which all numbers of the protocol are."""

WRITTEN_AT_ONCE_BYTES_MAX = 64 * 1024
"""Messages above this are written in a thread, because the loop would stand still meanwhile."""

READ_AT_ONCE_VALUES_MAX = 1_000
"""Requests of more values are understood in a thread, for the same reason."""

_Message = TypeVar("_Message", bound=Message)
_Written = TypeVar("_Written")


def parse(raw: bytes) -> Any:  # noqa: ANN401  JSON enters here
    """Read one JSON value.

    Raises:
        JSONParseError: it is none, or holds the same name twice, of which readers would choose
            different ones (RFC 8259, section 4).
        InvalidRequestError: it is nested too deeply, or has too many values.
    """
    if not raw:
        raise JSONParseError("The body is empty; a JSON object is needed.")
    try:
        value = json.decode(raw)
    except json.NotJson as error:
        raise JSONParseError(f"The body is not JSON: {error}.") from error
    if is_deep(raw, value):
        raise InvalidRequestError(f"The body is nested deeper than {JSON_DEPTH_MAX} levels.")
    # No value is shorter than a byte.
    if len(raw) > VALUES_MAX and has_many(value):
        raise InvalidRequestError(
            f"The body has more than {VALUES_MAX} values; send many as a text that is JSON, or raw."
        )
    # The fast reader takes the last of two equal names without a word.
    standard_json.loads(raw, object_pairs_hook=_refuse_twice)
    return value


def _refuse_twice(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise JSONParseError(f"The body has {twice[:64]!r} twice in one object.")


async def heard(value: Any, read: Callable[[Any], _Message]) -> _Message:  # noqa: ANN401
    """Understand a JSON value; in a thread, if there is much to understand."""
    if has_many(value, READ_AT_ONCE_VALUES_MAX):
        return await asyncio.to_thread(read, value)
    return read(value)


def read(value: Any, kind: type[_Message]) -> _Message:  # noqa: ANN401  JSON enters here
    """Understand a JSON object as a message of the protocol.

    Raises:
        InvalidParamsError: a member is of another type; unknown members and names are ignored.
    """
    if not isinstance(value, dict):
        raise invalid("The parameters must be an object.", [("", "It is no object.")])
    if kind is pb.SendMessageRequest:
        _check_parts(value, "raw")
    if kind is pb.ListTasksRequest:
        _check_status(value)
    try:
        message: _Message = ParseDict(value, kind(), ignore_unknown_fields=True)
    except (ParseError, RecursionError) as error:
        raise invalid(f"The parameters cannot be understood: {error}") from error
    return message


def _check_status(params: Mapping[str, Any]) -> None:
    given = params.get("status")
    # The reader of JSON would take an unknown name for none, and all tasks would be listed.
    if isinstance(given, str) and given not in pb.TaskState.keys():  # noqa: SIM118  no mapping
        raise invalid("status has an unknown value.", [("status", f"It is {given[:64]!r}.")])


def _check_parts(params: Mapping[str, Any], member: str) -> None:
    message = params.get("message")
    parts = message.get("parts") if isinstance(message, dict) else None
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        given = part.get(member) if isinstance(part, dict) else None
        if isinstance(given, str):
            check_base64(given, f"message.parts[{index}].{member}")


def check_base64(text: str, where: str) -> None:
    """Refuse what is no base64, of which the readers below would drop what they do not know.

    Raises:
        InvalidParamsError: it is none, of either alphabet (RFC 4648, sections 4 and 5).
    """
    if _BASE64.fullmatch(text) is None:
        raise invalid("The bytes of a part are base64.", [(where, "It is not base64.")])


def write(message: Message) -> dict[str, Any]:
    """Write a message of the protocol as a JSON value."""
    written: dict[str, Any] = whole(MessageToDict(message))
    if isinstance(message, pb.ListTasksResponse):
        # Required members are there also when they are empty. Source: section 5.7.
        written.setdefault("tasks", [])
        written.setdefault("nextPageToken", "")
        written.setdefault("pageSize", message.page_size)
        written.setdefault("totalSize", message.total_size)
    return written


async def apart(message: Message, write: Callable[[Any], _Written]) -> _Written:
    """Write a message; in a thread, if it is large."""
    if message.ByteSize() <= WRITTEN_AT_ONCE_BYTES_MAX:
        return write(message)
    return await asyncio.to_thread(write, message)


def whole(value: Any) -> Any:  # noqa: ANN401  JSON value
    """Write whole numbers as integers, as the JSON form of protobuf has them; changed in place.

    The library writes 42 as 42.0, which many a typed reader does not take for an integer.
    """
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < _EXACT else value
        case dict():
            for name, one in value.items():
                if not isinstance(one, str):
                    value[name] = whole(one)
        case list():
            value[:] = map(whole, value)
        case _:
            return value
    return value


def encode(value: Any) -> bytes:  # noqa: ANN401  JSON leaves here
    """Write a JSON value as text."""
    return json.encode(value)
