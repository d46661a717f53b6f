"""From what a server answers to what a model reads, within bounds."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mcp_types as types

from agency.core.json import NotJson, encode
from agency.domain.connection import ServerTool, ToolHints
from agency.domain.tool import ToolOutput

CONTENT_CHARACTERS_MAX = 1 << 20
"""Longest text of a result; it is recorded, and cut further for the model by who has called."""

STRUCTURED_BYTES_MAX = 1 << 20
"""Largest structured result, as JSON, for the same reason."""

DESCRIPTION_CHARACTERS_MAX = 4096
"""A longer description of a tool is cut: it is in each prompt."""

SCHEMA_BYTES_MAX = 64 << 10
"""A tool with a larger schema is left out, for the same reason."""

NAME_CHARACTERS_MAX = 256
"""A tool with a longer name is left out, too; they mostly have less than 64 characters."""

PICTURES = "pictures"
"""Folder of the workspace that pictures in results are put into."""

RECORDINGS = "recordings"
"""Folder of the workspace that sound in results is put into."""

MEDIA_MAX = 16
"""Pictures and recordings of one result that are kept."""

TOOLS_MAX = 512
"""Tools of one server; those after them are left out."""

Redact = Callable[[str], str]

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "audio/webm": ".webm",
}
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


def media_of(result: types.CallToolResult, tool: str) -> Mapping[int, tuple[str, bytes]]:
    """Find pictures and recordings in a result: file and content, by the number of the block."""
    found: dict[int, tuple[str, bytes]] = {}
    for number, block in enumerate(result.content):
        if not isinstance(block, types.ImageContent | types.AudioContent):
            continue
        kind = block.mime_type.lower().partition(";")[0].strip()
        suffix = _SUFFIXES.get(kind)
        if suffix is None or not kind.startswith(block.type) or len(found) >= MEDIA_MAX:
            continue
        folder = PICTURES if block.type == "image" else RECORDINGS
        try:
            content = base64.b64decode(block.data, validate=True)
        except binascii.Error:
            continue
        digest = hashlib.sha256(content).hexdigest()[:8]
        clean = _UNFIT.sub("-", tool).strip("-")[:40] or block.type
        found[number] = (f"{folder}/{clean}-{digest}{suffix}", content)
    return found


def output_of(
    result: types.CallToolResult,
    *,
    redact: Redact,
    redact_json: Callable[[Any], Any],
    media: Mapping[int, str],
) -> ToolOutput:
    """Make the output of a call. It is what a stranger says, and marked so.

    Args:
        media: Files in which pictures and recordings were put, by the number of the block.
        redact, redact_json: Take out secrets: a server may repeat what it was given.
    """
    structured, note = _structured_of(result, redact_json)
    text = "\n".join(_texts(result.content, media))
    if not text and structured is not None:
        text = encode(structured).decode()
    return ToolOutput(
        content=cut(redact(text + note)),
        is_error=result.is_error,
        structured=structured,
        is_untrusted=True,
        files=tuple(media.values()),
    )


def failed(sentence: str, *, redact: Redact) -> ToolOutput:
    """Make the output of a call that the server has refused, or answered wrongly."""
    return ToolOutput(content=cut(redact(sentence)), is_error=True, is_untrusted=True)


def cut(text: str, most: int = CONTENT_CHARACTERS_MAX) -> str:
    """Cut a text to head and tail."""
    if len(text) <= most:
        return text
    note = f"\n[… {len(text) - most} characters left out …]\n"
    half = max(0, (most - len(note)) // 2)
    return f"{text[:half]}{note}{text[len(text) - half :]}"


def _structured_of(
    result: types.CallToolResult, redact_json: Callable[[Any], Any]
) -> tuple[Any, str]:
    if result.structured_content is None:
        return None, ""
    try:
        size = len(encode(result.structured_content))
    except NotJson as error:
        return None, f"\n[The structured result cannot be kept: {error}]"
    if size > STRUCTURED_BYTES_MAX:
        return None, f"\n[A structured result of {size} bytes was left out.]"
    return redact_json(result.structured_content), ""


def _texts(content: list[Any], media: Mapping[int, str]) -> Iterator[str]:
    """Write each block as text; of what is none, what it is."""
    for number, block in enumerate(content):
        match block.type:
            case "text":
                yield block.text
            case "image" | "audio":
                told = f"{block.type} {block.mime_type}, {_size_of(block.data)} bytes"
                place = media.get(number)
                yield f"[{told}, in the file {place}]" if place else f"[{told}]"
            case "resource_link":
                yield f"[resource {block.name}: {block.uri}]"
            case "resource":
                yield _resource_text(block.resource)


def _resource_text(resource: Any) -> str:  # noqa: ANN401  one of the SDK's two kinds
    text = getattr(resource, "text", None)
    if text is not None:
        return f"[resource {resource.uri}]\n{text}"
    kind = resource.mime_type or "bytes"
    return f"[resource {resource.uri}, {kind}, {_size_of(resource.blob)} bytes]"


def _size_of(text: str) -> int:
    """Count the bytes that base64 stands for. Source: RFC 4648, section 4."""
    return len(text) * 3 // 4 - text[-2:].count("=")


def tool_of(tool: types.Tool, full_name: str) -> ServerTool | None:
    """Take over a tool as its server describes it; None when it is too large for a prompt."""
    try:
        size = len(encode(tool.input_schema))
    except NotJson:
        return None
    if size > SCHEMA_BYTES_MAX:
        return None
    if len(tool.name) > NAME_CHARACTERS_MAX:
        return None
    hints = tool.annotations
    return ServerTool(
        name=tool.name,
        full_name=full_name,
        description=cut(tool.description or tool.title or "", DESCRIPTION_CHARACTERS_MAX),
        parameters=_parameters_of(tool.input_schema),
        hints=ToolHints()
        if hints is None
        else ToolHints(
            read_only=hints.read_only_hint,
            idempotent=hints.idempotent_hint,
            destructive=hints.destructive_hint,
        ),
    )


def _parameters_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a schema that says at least that it is of an object, as models expect."""
    return {"type": "object", "properties": {}, **schema}
