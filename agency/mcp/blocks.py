"""Parts as blocks of MCP: what a tool's result, a message of a prompt and a resource are made of.

Source: MCP 2026-07-28, server/tools, section "Tool Result"; the blocks are the same in 2025-11-25.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, assert_never

import mcp_types as types

from agency.core import json
from agency.domain.content import URI_KEY, Content, Part, PartKind, data_part, text_part

_JSON = "application/json"
_BYTES = "application/octet-stream"


def blocks_of(content: Content) -> list[types.ContentBlock]:
    """Translate content, part by part."""
    return [block_of(part) for part in content.parts]


def block_of(part: Part) -> types.ContentBlock:
    """Translate one part; pictures and sounds as such, other bytes as an embedded resource."""
    uri = part.metadata.get(URI_KEY)
    if isinstance(uri, str) and part.kind is not PartKind.LINK:
        return types.EmbeddedResource(type="resource", resource=resource_of(part, uri))
    match part.kind:
        case PartKind.TEXT:
            return types.TextContent(type="text", text=part.text)
        case PartKind.DATA:
            return types.TextContent(type="text", text=json.encode(part.data).decode())
        case PartKind.BYTES:
            return _bytes_block(part)
        case PartKind.LINK:
            return types.ResourceLink(
                type="resource_link",
                name=part.name or part.url,
                uri=part.url,
                mime_type=part.media_type or None,
            )
        case _:
            assert_never(part.kind)


def _bytes_block(part: Part) -> types.ContentBlock:
    kind = part.media_type.partition("/")[0]
    if kind == "image":
        data = base64.b64encode(part.raw).decode()
        return types.ImageContent(type="image", data=data, mime_type=part.media_type)
    if kind == "audio":
        data = base64.b64encode(part.raw).decode()
        return types.AudioContent(type="audio", data=data, mime_type=part.media_type)
    # The block needs an address; that of what it holds is the same whoever makes it.
    uri = f"urn:sha256:{hashlib.sha256(part.raw).hexdigest()}"
    return types.EmbeddedResource(type="resource", resource=resource_of(part, uri))


def resource_of(part: Part, uri: str) -> types.TextResourceContents | types.BlobResourceContents:
    """Make what is read at an address of a part: text as text, all else as bytes."""
    match part.kind:
        case PartKind.TEXT:
            media_type = part.media_type or "text/plain"
            return types.TextResourceContents(uri=uri, mime_type=media_type, text=part.text)
        case PartKind.DATA:
            text = json.encode(part.data).decode()
            media_type = part.media_type or _JSON
            return types.TextResourceContents(uri=uri, mime_type=media_type, text=text)
        case PartKind.BYTES:
            blob = base64.b64encode(part.raw).decode()
            media_type = part.media_type or _BYTES
            return types.BlobResourceContents(uri=uri, mime_type=media_type, blob=blob)
        case PartKind.LINK:
            media_type = part.media_type or "text/uri-list"
            return types.TextResourceContents(uri=uri, mime_type=media_type, text=part.url)
        case _:
            assert_never(part.kind)


def part_of(value: Any) -> Part:  # noqa: ANN401  author's value
    """Make a part of what an author's function has returned: a part, a text, bytes or JSON.

    Raises:
        NotJson: it is none of them.
    """
    if isinstance(value, Part):
        return value
    if isinstance(value, str):
        return text_part(value)
    if isinstance(value, bytes):
        return Part(kind=PartKind.BYTES, raw=value)
    if hasattr(value, "model_dump"):
        return data_part(value.model_dump(mode="json"))
    return data_part(json.decode(json.encode(value)))


def content_from(value: Any) -> Content:  # noqa: ANN401  author's value
    """Make content of what an author's tool has returned.

    Raises:
        NotJson: it cannot be written.
    """
    if isinstance(value, Content):
        return value
    if value is None:
        return Content(parts=[])
    if isinstance(value, Sequence) and value and all(isinstance(one, Part) for one in value):
        return Content(parts=list(value))
    return Content(parts=[part_of(value)])
