"""Media types that published agents and workflows take and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.domain.content import CONTENT_SCHEMA
from agency.web.published import Published, PublishedKind

TEXT = "text/plain"
JSON = "application/json"
ANY = (TEXT, JSON, "application/octet-stream", "image/png", "image/jpeg")


def input_modes(published: Published) -> Sequence[str]:
    """List what a message to it may be made of."""
    if published.kind is PublishedKind.AGENT or _is_content(published.input_schema):
        return ANY
    return (JSON, TEXT)


def output_modes(published: Published) -> Sequence[str]:
    """List what its artifacts may be made of."""
    if published.kind is PublishedKind.AGENT or _is_content(published.output_schema):
        return ANY
    return (JSON, TEXT)


def _is_content(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("title") == CONTENT_SCHEMA["title"])
