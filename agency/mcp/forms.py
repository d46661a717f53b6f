"""Waits of runs as forms of MCP, and filled in forms as answers.

A form has flat fields of plain types (MCP 2026-07-28, client/elicitation, section "Requested
Schema"). A wait that asks for such an object is asked for field by field, a plain value in one
field, and everything else as JSON in a field of text. What is filled in is checked by the engine
against the wait's own schema, as if it had come over REST.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from agency.core import json
from agency.core.records import dataclass
from agency.domain.run import Run
from agency.domain.task import AUTHORIZATION
from agency.domain.wait import Wait, WaitKind
from agency.engine.approvals import DecideRequest
from agency.engine.questions import approval_id
from agency.errors import Fault, InvalidInput

log = logging.getLogger(__name__)

ANSWER = "answer"
"""Name of the field, where a form has only one."""
DECISION = "decision"
COMMENT = "comment"
DONE = "done"
FIELDS_MAX = 50
"""Fields of a form; what has more is asked for as JSON."""
SCHEMA_CHARACTERS_MAX = 4000
"""Of a schema beside a field of JSON: it is for people to read."""

_TEXT = ("minLength", "maxLength", "format", "pattern", "enum", "default")
_FORMATS = frozenset({"email", "uri", "date", "date-time"})
_NUMBER = ("minimum", "maximum", "default")
_ABOUT = ("title", "description")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a wait is shown to the client.

    Attributes:
        key: Of the wait; it names the question as well.
        schema: JSON Schema of the form.
        layout: What the wait's value is made of: the fields, the one field, or JSON in it; or it
            is an approval, or asks whether something was done elsewhere.
    """

    key: str
    message: str
    schema: Mapping[str, Any]
    layout: Literal["fields", "field", "json", "approval", "authorization"]


def forms_of(waits: Sequence[Wait]) -> Mapping[str, Form]:
    """Make the forms of all open waits that whoever has started a run may answer, by their keys."""
    forms = [form for wait in waits if (form := form_of(wait)) is not None]
    return {form.key: form for form in forms}


def form_of(wait: Wait) -> Form | None:
    """Make the form of a wait; None when it is answered in another way."""
    if wait.outcome is not None or not isinstance(wait.show, Mapping):
        return None
    prompt = str(wait.show.get("prompt") or wait.name)
    if wait.kind is WaitKind.INPUT and (elsewhere := wait.show.get(AUTHORIZATION)):
        message = f"{prompt}\n\n{elsewhere.get('url', '')}".strip()
        return Form(key=wait.key, message=message, schema=_DONE, layout="authorization")
    if wait.kind is WaitKind.INPUT:
        fields, layout = _fields_of(wait.show.get("schema"))
        return Form(key=wait.key, message=prompt, schema=fields, layout=layout)
    if wait.kind is WaitKind.APPROVAL:
        parts = [prompt, _shown(wait.show.get("show")), _risk(wait.show.get("risk"))]
        message = "\n\n".join(part for part in parts if part)
        return Form(key=wait.key, message=message, schema=_APPROVAL, layout="approval")
    return None


def answer_of(run: Run, form: Form, content: Any, *, by: str) -> tuple[str, DecideRequest]:  # noqa: ANN401
    """Make the decision that a filled in form stands for, and the id of what it decides.

    Raises:
        InvalidInput: the form is not filled in as it asks.
    """
    if not isinstance(content, Mapping):
        raise _unfit("", "an object with the fields of the form is needed")
    found = approval_id(run, form.key)
    if form.layout == "approval":
        return found, _decision(content, by=by)
    if form.layout == "authorization":
        if content.get(DONE) is not True:
            raise _unfit(f"/{DONE}", "it goes on when that is done")
        return found, DecideRequest(decision="answer", by=by, value=None, has_value=True)
    value = _value_of(form, content)
    return found, DecideRequest(decision="answer", by=by, value=value, has_value=True)


def denial(run: Run, form: Form, *, by: str) -> tuple[str, DecideRequest] | None:
    """Make the decision that a declined form stands for: of an approval no, else none."""
    if form.layout != "approval":
        return None
    request = DecideRequest(decision="deny", by=by, comment="Declined in the client.")
    return approval_id(run, form.key), request


def _decision(content: Mapping[str, Any], *, by: str) -> DecideRequest:
    decision, comment = content.get(DECISION), content.get(COMMENT) or ""
    if decision not in {"approve", "deny"}:
        raise _unfit(f"/{DECISION}", "approve or deny is needed")
    if not isinstance(comment, str):
        raise _unfit(f"/{COMMENT}", "text is needed")
    return DecideRequest(decision=decision, by=by, comment=comment)


def _value_of(form: Form, content: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON value
    if form.layout == "fields":
        # A client may send what was left empty as null.
        known = form.schema["properties"]
        return {name: content[name] for name in known if content.get(name) is not None}
    if ANSWER not in content:
        raise _unfit(f"/{ANSWER}", "the field is required")
    value = content[ANSWER]
    if form.layout == "field":
        return value
    if not isinstance(value, str):
        raise _unfit(f"/{ANSWER}", "JSON as text is needed")
    try:
        return json.decode(value)
    except json.NotJson as error:
        raise _unfit(f"/{ANSWER}", f"it is not JSON: {error}") from error


def _unfit(where: str, what: str) -> InvalidInput:
    return InvalidInput(f"The form is not filled in: {where}: {what}.", faults=[Fault(where, what)])


_APPROVAL: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        DECISION: {"type": "string", "enum": ["approve", "deny"], "title": "Decision"},
        COMMENT: {"type": "string", "title": "Comment"},
    },
    "required": [DECISION],
}


_DONE: Mapping[str, Any] = {
    "type": "object",
    "properties": {DONE: {"type": "boolean", "title": "I have done that"}},
    "required": [DONE],
}


def flat_schema(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the form that asks for an object field by field; None when it cannot be one."""
    fields, layout = _fields_of(schema)
    return fields if layout == "fields" else None


def _fields_of(schema: Any) -> tuple[Mapping[str, Any], Literal["fields", "field", "json"]]:  # noqa: ANN401
    if not schema:
        return _one({"type": "string", "title": "Answer"}), "field"
    places = schema.get("$defs", {}) if isinstance(schema, Mapping) else {}
    found = _followed(schema, places)
    if found.get("type") == "object" and found.get("properties"):
        fields = _object_fields(found, places)
        if fields is not None:
            return fields, "fields"
    plain = _plain(found, places)
    if plain is not None:
        return _one(plain), "field"
    wanted = json.encode(schema).decode()
    about = f"JSON that fits this schema: {wanted[:SCHEMA_CHARACTERS_MAX]}"
    return _one({"type": "string", "title": "JSON", "description": about}), "json"


def _one(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": {ANSWER: plain}, "required": [ANSWER]}


def _object_fields(
    schema: Mapping[str, Any], places: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    properties = schema["properties"]
    fields = {
        name: _plain(_followed(property_, places), places) for name, property_ in properties.items()
    }
    if len(fields) > FIELDS_MAX or any(field is None for field in fields.values()):
        return None
    made: dict[str, Any] = {"type": "object", "properties": fields}
    if required := [name for name in schema.get("required", []) if name in fields]:
        made["required"] = required
    return made


def _plain(schema: Mapping[str, Any], places: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the schema of one field, of what a form may say; None when it cannot be one."""
    options = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(options) == 1 and isinstance(options[0], Mapping):
        # An optional one: it may be left out instead of being null.
        return _plain({**_followed(options[0], places), **_part(schema, _ABOUT)}, places)
    match schema.get("type"):
        case "string":
            made = {"type": "string", **_part(schema, (*_ABOUT, *_TEXT))}
            if made.get("format") not in _FORMATS:
                made.pop("format", None)
        case "integer" | "number" as kind:
            made = {"type": kind, **_part(schema, (*_ABOUT, *_NUMBER))}
        case "boolean":
            made = {"type": "boolean", **_part(schema, (*_ABOUT, "default"))}
        case "array":
            return _several(schema, places)
        case _:
            return None
    if made.get("default", "") is None:
        del made["default"]
    return made


def _several(schema: Mapping[str, Any], places: Mapping[str, Any]) -> Mapping[str, Any] | None:
    items = _followed(schema.get("items") or {}, places)
    if items.get("type") != "string" or "enum" not in items:
        return None
    about = _part(schema, (*_ABOUT, "minItems", "maxItems", "default"))
    return {"type": "array", "items": {"type": "string", "enum": items["enum"]}, **about}


def _part(schema: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: schema[name] for name in names if name in schema}


def _followed(schema: Any, places: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401  JSON
    """Follow one reference into the schema's own definitions; what is beside it stays."""
    if not isinstance(schema, Mapping):
        return {}
    place = schema.get("$ref")
    if not isinstance(place, str) or not place.startswith("#/$defs/"):
        return schema
    target = places.get(place.removeprefix("#/$defs/"))
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return {**target, **rest} if isinstance(target, Mapping) else {}


def _shown(subject: Any) -> str:  # noqa: ANN401  JSON value
    """Write what an approval is about, all of it: what was left out could be what matters.

    How much that may be is bounded where it is asked.
    """
    if subject is None:
        return ""
    return subject if isinstance(subject, str) else json.encode(subject).decode()


def _risk(risk: Any) -> str:  # noqa: ANN401  JSON value
    return f"Risk: {risk}." if risk else ""
