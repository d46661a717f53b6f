"""Parts of messages and artifacts: between the protocol's form and ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf import struct_pb2

from agency.a2a.sizes import VALUES_MAX, has_many, values_are_many
from agency.core import json
from agency.domain.content import PARTS_MAX, Content, Part, PartKind
from agency.errors import Fault, InvalidInput

_EXACT_MAX = 1 << 53
"""Whole numbers beyond this are not exact on the wire, where all numbers are doubles."""

DATA_DEPTH_MAX = 32
"""Nesting of data on the wire. Readers of protobuf refuse what is nested deeper than 100 messages,
and each level of JSON has three; what is deeper is written as a text that is JSON."""

JSON_MEDIA_TYPE = "application/json"
TEXT_MEDIA_TYPE = "text/plain"


def content_from(message: pb.Message) -> Content:
    """Read what a message says; its name is the message's id.

    Raises:
        InvalidInput: a part is empty, or there are too many, or they have too many values; each
            fault has a JSON pointer.
    """
    if len(message.parts) > PARTS_MAX:
        what = f"There are {len(message.parts)} parts; {PARTS_MAX} are the most."
        raise InvalidInput(what, faults=[Fault("/message/parts", what)])
    if values_are_many(_values_of(message)):
        what = f"There are more than {VALUES_MAX} values; send many as a text that is JSON, or raw."
        raise InvalidInput(what, faults=[Fault("/message/parts", what)])
    parts = [_part_from(part, at) for at, part in enumerate(message.parts)]
    return Content(name=message.message_id, parts=parts)


def _values_of(message: pb.Message) -> Iterator[struct_pb2.Value]:
    for part in message.parts:
        if part.HasField("data"):
            yield part.data
        if part.HasField("metadata"):
            yield struct_pb2.Value(struct_value=part.metadata)


def _part_from(part: pb.Part, at: int) -> Part:
    metadata = plain_struct(part.metadata) if part.HasField("metadata") else {}
    shared: dict[str, Any] = {
        "media_type": part.media_type,
        "name": part.filename,
        "metadata": metadata,
    }
    match part.WhichOneof("content"):
        case "text":
            return Part(kind=PartKind.TEXT, text=part.text, **shared)
        case "raw":
            return Part(kind=PartKind.BYTES, raw=part.raw, **shared)
        case "url":
            return Part(kind=PartKind.LINK, url=part.url, **shared)
        case "data":
            return Part(kind=PartKind.DATA, data=plain(part.data), **shared)
        case _:
            what = "A part has text, raw, url or data."
            raise InvalidInput(what, faults=[Fault(f"/message/parts/{at}", what)])


def parts_to(parts: Iterable[Part]) -> list[pb.Part]:
    """Write parts as the protocol has them."""
    return [_part_to(part) for part in parts]


def _part_to(part: Part) -> pb.Part:
    if part.kind is PartKind.DATA and not _is_writable(part.data):
        part = _as_text(part)
    made = pb.Part(media_type=part.media_type, filename=part.name)
    match part.kind:
        case PartKind.TEXT:
            made.text = part.text
        case PartKind.BYTES:
            made.raw = part.raw
        case PartKind.LINK:
            made.url = part.url
        case PartKind.DATA:
            put(made.data, part.data)
    if part.metadata:
        put_struct(made.metadata, part.metadata)
    return made


def _is_writable(data: Any) -> bool:  # noqa: ANN401  JSON value
    return not has_many(data) and not is_deeper(data, DATA_DEPTH_MAX)


def is_deeper(data: Any, levels: int) -> bool:  # noqa: ANN401  JSON value
    """Tell whether a JSON value has more than so many levels of objects and lists."""
    if isinstance(data, Mapping):
        data = list(data.values())
    if not isinstance(data, list):
        return False
    return levels == 0 or any(is_deeper(one, levels - 1) for one in data)


def fit(parts: Sequence[Part], accepted: Sequence[str]) -> Sequence[Part]:
    """Write text as data or data as text, if a caller takes only the other; all else stays."""
    if not accepted:
        return parts
    takes_json = any(one in accepted for one in (JSON_MEDIA_TYPE, "application/*", "*/*"))
    takes_text = any(one in accepted for one in (TEXT_MEDIA_TYPE, "text/*", "*/*"))
    if takes_json == takes_text:
        return parts
    return [_as_text(part) if takes_text else _as_data(part) for part in parts]


def _as_text(part: Part) -> Part:
    if part.kind is not PartKind.DATA:
        return part
    text = json.encode(part.data).decode()
    return Part(kind=PartKind.TEXT, text=text, media_type=JSON_MEDIA_TYPE, name=part.name)


def _as_data(part: Part) -> Part:
    if part.kind is not PartKind.TEXT:
        return part
    return Part(kind=PartKind.DATA, data=part.text, name=part.name)


def plain(value: struct_pb2.Value) -> Any:  # noqa: ANN401  JSON value
    """Read a JSON value; whole numbers are integers, as the JSON format of protobuf has them."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain_struct(value.struct_value)
        case "list_value":
            return [plain(one) for one in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            is_whole = number.is_integer() and abs(number) <= _EXACT_MAX
            return int(number) if is_whole else number
        case _:
            return None


def plain_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Read a JSON object."""
    return {name: plain(value) for name, value in struct.fields.items()}


def put(value: struct_pb2.Value, data: Any) -> None:  # noqa: ANN401  JSON value
    """Write a JSON value."""
    match data:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = data
        case int() | float():
            value.number_value = data
        case str():
            value.string_value = data
        case Mapping():
            put_struct(value.struct_value, data)
        case _:
            value.list_value.SetInParent()
            for one in data:
                put(value.list_value.values.add(), one)


def put_struct(struct: struct_pb2.Struct, data: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    struct.SetInParent()
    for name, one in data.items():
        put(struct.fields[name], one)
