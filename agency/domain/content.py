"""Content: what goes into a run and comes out of it when it is more than one JSON value.

A message and a file of A2A, a block of an MCP tool's result, a picture that a workflow has drawn:
each is a `Part`. Doors translate; nobody else needs to know their shapes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.errors import Fault, InvalidInput

PARTS_MAX = 1_000
"""Parts of one content: each is a member of one journal entry."""

CONTENT_KEY = "content"
"""The member by which a JSON value is known to be `Content`."""

DELIVERED = "content/"
"""What the journal keys of contents begin with that a run hands out before its end; the name of
the content follows, then ``#1``, ``#2`` … for each of its pieces."""


CONTENT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "title": "Content",
    "required": ["content"],
    "properties": {
        "content": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kind"],
                "properties": {
                    "kind": {"enum": ["text", "data", "bytes", "link"]},
                    "text": {"type": "string"},
                    "data": {},
                    "base64": {"type": "string", "contentEncoding": "base64"},
                    "url": {"type": "string", "format": "uri"},
                    "media_type": {"type": "string"},
                    "name": {"type": "string"},
                    "metadata": {"type": "object"},
                },
            },
        },
    },
}
"""JSON Schema of `Content`, as workflows that take or return it show it."""


class PartKind(StrEnum):
    """What a part holds."""

    TEXT = "text"
    DATA = "data"
    BYTES = "bytes"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of content; of ``text``, ``data``, ``raw`` and ``url`` the one that ``kind`` says.

    Attributes:
        data: JSON value.
        media_type: As in RFC 6838; empty: ``text/plain``, ``application/json`` or unknown bytes.
        name: What a file is called, or empty.
        metadata: Handed on unread.
    """

    kind: PartKind
    text: str = ""
    data: Any = None
    raw: bytes = b""
    url: str = ""
    media_type: str = ""
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON: ``{"kind": "bytes", "base64": …, "media_type": …, "name": …}``."""
        made: dict[str, Any] = {"kind": str(self.kind)}
        match self.kind:
            case PartKind.TEXT:
                made["text"] = self.text
            case PartKind.DATA:
                made["data"] = self.data
            case PartKind.BYTES:
                made["base64"] = base64.b64encode(self.raw).decode()
            case PartKind.LINK:
                made["url"] = self.url
        for key in ("media_type", "name", "metadata"):
            if value := getattr(self, key):
                made[key] = value
        return made


def text_part(text: str, *, media_type: str = "", name: str = "") -> Part:
    """Make a part of text."""
    return Part(kind=PartKind.TEXT, text=text, media_type=media_type, name=name)


def data_part(data: Any, *, name: str = "") -> Part:  # noqa: ANN401  a JSON value
    """Make a part of a JSON value."""
    return Part(kind=PartKind.DATA, data=data, name=name)


def bytes_part(raw: bytes, *, media_type: str, name: str = "") -> Part:
    """Make a part of bytes: a picture, a sound, a file."""
    return Part(kind=PartKind.BYTES, raw=raw, media_type=media_type, name=name)


def link_part(url: str, *, media_type: str = "", name: str = "") -> Part:
    """Make a part that is somewhere else."""
    return Part(kind=PartKind.LINK, url=url, media_type=media_type, name=name)


URI_KEY = "uri"
"""The member of a part's metadata that says at which address its text or bytes are a resource."""


def resource_part(uri: str, body: str | bytes, *, media_type: str = "") -> Part:
    """Make a part that brings a resource with it: its address, and what is there."""
    if isinstance(body, str):
        kind, text, raw = PartKind.TEXT, body, b""
    else:
        kind, text, raw = PartKind.BYTES, "", body
    return Part(kind=kind, text=text, raw=raw, media_type=media_type, metadata={URI_KEY: uri})


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Several parts.

    Attributes:
        name: Of a content that is handed out before the run's end: pieces with the same name
            belong together. Of a message from outside: its id.
        append: It goes on with what was handed out under its name; else it replaces that.
        is_last: No more of it will come.
        is_message: The parts are an answer to a caller and no work that is kept: over A2A they
            are a message and no task.
    """

    parts: Sequence[Part]
    name: str = ""
    append: bool = False
    is_last: bool = True
    is_message: bool = False

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON: ``{"content": [parts], "name": …, "append": …}``."""
        made: dict[str, Any] = {CONTENT_KEY: [part.to_json() for part in self.parts]}
        if self.name:
            made["name"] = self.name
        if self.append:
            made["append"] = True
        if not self.is_last:
            made["is_last"] = False
        if self.is_message:
            made["is_message"] = True
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:  # noqa: ANN401
        """Be written and read the same way where a type only mentions it: ``Content | str``."""
        from pydantic_core import core_schema

        def validated(value: object) -> Content:
            if isinstance(value, Content):
                return value
            try:
                return content_of(value)
            except InvalidInput as error:
                raise ValueError(error.message) from error

        return core_schema.no_info_plain_validator_function(
            validated,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        """Show the same schema there."""
        return dict(CONTENT_SCHEMA)


def is_content(value: object) -> bool:
    """Tell whether a JSON value is content that `Content.to_json` has written."""
    if not isinstance(value, dict) or not isinstance(value.get(CONTENT_KEY), list):
        return False
    return all(isinstance(part, dict) and "kind" in part for part in value[CONTENT_KEY])


def content_of(value: object) -> Content:
    """Read content that `Content.to_json` has written.

    Raises:
        InvalidInput: it is no content; the fault is named with a JSON pointer.
    """
    if not isinstance(value, dict) or not isinstance(parts := value.get(CONTENT_KEY), list):
        raise _unfit("", 'content is written as {"content": [parts]}')
    if len(parts) > PARTS_MAX:
        raise _unfit("/content", f"there are {len(parts)} parts, {PARTS_MAX} are allowed")
    return Content(
        parts=[_part_of(part, f"/content/{index}") for index, part in enumerate(parts)],
        name=str(value.get("name", "")),
        append=bool(value.get("append", False)),
        is_last=bool(value.get("is_last", True)),
        is_message=bool(value.get("is_message", False)),
    )


def _part_of(value: object, where: str) -> Part:
    if not isinstance(value, dict) or value.get("kind") not in set(PartKind):
        raise _unfit(where, "a part has the kind text, data, bytes or link")
    kind = PartKind(value["kind"])
    return Part(
        kind=kind,
        text=_text(value, "text", where) if kind is PartKind.TEXT else "",
        data=value.get("data"),
        raw=_raw(value, where) if kind is PartKind.BYTES else b"",
        url=_text(value, "url", where) if kind is PartKind.LINK else "",
        media_type=str(value.get("media_type", "")),
        name=str(value.get("name", "")),
        metadata=_metadata(value, where),
    )


def _text(value: Mapping[str, Any], key: str, where: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise _unfit(f"{where}/{key}", "text is needed")
    return found


def _raw(value: Mapping[str, Any], where: str) -> bytes:
    try:
        return base64.b64decode(_text(value, "base64", where), validate=True)
    except binascii.Error as error:
        raise _unfit(f"{where}/base64", f"it is not base64: {error}") from error


def _metadata(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = value.get("metadata", {})
    if not isinstance(found, dict):
        raise _unfit(f"{where}/metadata", "an object is needed")
    return found


def _unfit(where: str, what: str) -> InvalidInput:
    return InvalidInput(f"The content does not fit: {where}: {what}.", faults=[Fault(where, what)])
