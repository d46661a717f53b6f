"""What a message that asks for a task gives its run as input."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from agency.a2a.texts import NotUnderstood, sole_text_member, value_of
from agency.core import json
from agency.domain.content import CONTENT_KEY, CONTENT_SCHEMA, Content, Part, PartKind
from agency.errors import Fault, InvalidInput
from agency.web.published import Published, PublishedKind

_OWN_MEMBERS = frozenset({"agent", "depth", "files"})
"""Members of an agent's input that a message cannot set as data."""


def input_of(target: Published, content: Content) -> Any:  # noqa: ANN401  JSON value
    """Make the input of a run of what a message says.

    Raises:
        InvalidInput: it cannot be the input; each fault has a JSON pointer into the request.
    """
    if target.kind is PublishedKind.AGENT:
        return target.input_for(_agent_input(target, content))
    if not target.takes_input:
        return None
    return value_from(content, target.input_schema, what=f"The workflow {target.name!r}")


def is_content_schema(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema is that of `Content`."""
    is_named = schema.get("title") == CONTENT_SCHEMA["title"]
    return bool(is_named and CONTENT_KEY in schema.get("properties", {}))


def may_be_content(schema: Mapping[str, Any]) -> bool:
    """Tell whether `Content` is what a schema describes, or one of the things that it allows."""
    choices = schema.get("anyOf", ())
    return is_content_schema(schema) or any(
        isinstance(one, Mapping) and may_be_content(one) for one in choices
    )


def value_from(content: Content, schema: Any, *, what: str) -> Any:  # noqa: ANN401  JSON
    """Make one JSON value of what a message says: its data, what its text means, or all of it.

    Args:
        content: What it says.
        schema: What the value has to fit; empty: anything does.
        what: Who takes the value.

    Raises:
        InvalidInput: it says something else as well, or nothing that fits.
    """
    if not schema or not may_be_content(schema):
        return _plain_value(content, schema, what=what)
    if is_content_schema(schema):
        return content.to_json()
    try:
        return _plain_value(content, schema, what=what)
    except InvalidInput:
        return content.to_json()


def _plain_value(content: Content, schema: Any, *, what: str) -> Any:  # noqa: ANN401  JSON
    """Make a value of data or text alone; of anything else only where anything is taken."""
    data = [part for part in content.parts if part.kind is PartKind.DATA]
    text = "\n\n".join(
        part.text for part in content.parts if part.kind is PartKind.TEXT and part.text.strip()
    )
    if not schema and (len(data) > 1 or (data and text) or _others(content)):
        return content.to_json()
    faults = [
        Fault(f"/message/parts/{at}", f"{what} takes text or one data part.")
        for at, part in enumerate(content.parts)
        if part.kind in {PartKind.BYTES, PartKind.LINK} or part in data[1:]
    ]
    if faults:
        raise InvalidInput(f"{what} takes text or one data part.", faults=faults)
    if data:
        return _with_text(data[0].data, text, schema, what=what)
    try:
        return value_of(text, schema)
    except NotUnderstood:
        fault = f"{what} takes a JSON value that fits its schema: as a data part, or as text."
        raise InvalidInput(fault, faults=[Fault("/message/parts", fault)]) from None


def _others(content: Content) -> bool:
    return any(part.kind in {PartKind.BYTES, PartKind.LINK} for part in content.parts)


def _with_text(value: Any, text: str, schema: Any, *, what: str) -> Any:  # noqa: ANN401  JSON
    """Put a text beside data into the one member that it can be."""
    if not text:
        return value
    member = sole_text_member(schema)
    if member is not None and isinstance(value, dict) and member not in value:
        return {**value, member: text}
    fault = f"{what} has no place for text beside the data part."
    raise InvalidInput(fault, faults=[Fault("/message/parts", fault)])


def _agent_input(target: Published, content: Content) -> dict[str, Any]:
    """Give an agent text as its message, files in its workspace, the rest in words."""
    members: dict[str, Any] = {}
    said: list[str] = []
    files: dict[str, Any] = {}
    known = set(target.input_schema.get("properties", {})) - _OWN_MEMBERS
    for part in content.parts:
        if part.kind is PartKind.BYTES or (part.kind is PartKind.TEXT and part.name):
            files[_path_for(part, files)] = _file_of(part)
        elif isinstance(part.data, dict) and part.data and known >= part.data.keys():
            members |= part.data
        elif text := _words_of(part):
            said.append(text)
    if "message" in members:
        said.insert(0, str(members["message"]))
    if not said and files:
        said.append(f"The files: {', '.join(files)}")
    if not said:
        what = "The agent needs a text that says what it is to do."
        raise InvalidInput(what, faults=[Fault("/message/parts", what)])
    members["message"] = "\n\n".join(said)
    if files:
        members["files"] = files
    return members


def _file_of(part: Part) -> Any:  # noqa: ANN401  JSON value
    if part.kind is PartKind.TEXT:
        return part.text
    return {"base64": base64.b64encode(part.raw).decode()}


def _words_of(part: Part) -> str:
    match part.kind:
        case PartKind.TEXT:
            return part.text if part.text.strip() else ""
        case PartKind.LINK:
            return f"{part.name}: {part.url}" if part.name else part.url
        case _:
            return json.encode(part.data).decode()


def _path_for(part: Part, taken: Mapping[str, Any]) -> str:
    """Choose where a file lies in the workspace: as it is called, but never outside."""
    pieces = [one for one in PurePosixPath(part.name).parts if one not in {"/", "..", "."}]
    suffix = mimetypes.guess_extension(part.media_type) or ".bin"
    path = "/".join(pieces) or f"file{suffix}"
    return _free(path, taken)


def _free(path: str, taken: Mapping[str, Any]) -> str:
    if path not in taken:
        return path
    stem, dot, suffix = path.rpartition(".")
    names: Sequence[str] = (stem, suffix) if dot and stem else (path, "")
    suffix = f".{names[1]}" if names[1] else ""
    # Where many have one name, each would else look at the names of all before it.
    number = 2 if f"{names[0]}-2{suffix}" not in taken else len(taken) + 1
    while (made := f"{names[0]}-{number}{suffix}") in taken:
        number += 1
    return made
