"""What a message to a task that asks something answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.a2a.inputs import value_from
from agency.core.records import dataclass
from agency.domain.content import Content, Part, PartKind
from agency.domain.task import Question, is_authorization
from agency.domain.wait import Wait, WaitKind
from agency.engine.answers import check_schema, check_value
from agency.errors import Fault, InvalidInput

_YES = frozenset({"yes", "y", "ok", "okay", "approve", "approved", "allow", "accept", "go ahead"})
_NO = frozenset({"no", "n", "deny", "denied", "reject", "rejected", "refuse", "decline"})

DECISION_FORM = '{"decision": "approve" | "deny", "comment": "…", "edited": …}'
_HOW = f"Answer yes or no, or send a data part {DECISION_FORM}."

WAIT = "wait"
"""Member of a message's metadata, or of its data, that names the question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message answers: a wait by its key, or the run's mailbox when that is empty."""

    wait: str
    payload: Any


def answer_of(
    questions: Sequence[Question], content: Content, metadata: Mapping[str, Any]
) -> Answer:
    """Understand a message as the answer to one of the open questions.

    Args:
        questions: Those that are open, the oldest first; one at least.
        content: What the message says.
        metadata: Of the message; ``wait`` names the question.

    Raises:
        InvalidInput: it is no answer to it, or names a question that is not asked.
    """
    wait = _chosen(questions, _named(questions, content, metadata))
    if is_authorization(wait):
        return Answer(wait.key, None)
    match wait.kind:
        case WaitKind.APPROVAL:
            return Answer(wait.key, _decision(wait, content))
        case WaitKind.EVENT:
            return Answer("", message_of(content))
        case _:
            return Answer(wait.key, _value(wait, content))


def message_of(content: Content) -> Any:  # noqa: ANN401  JSON value
    """Give what a workflow gets as the payload of a message: text, data, or all the parts."""
    return value_from(content, None, what="The workflow")


def _named(
    questions: Sequence[Question], content: Content, metadata: Mapping[str, Any]
) -> str | None:
    if isinstance(metadata.get(WAIT), str):
        return str(metadata[WAIT])
    for data in _objects(content):
        named = data.get(WAIT)
        if isinstance(named, str) and not _is_own_member(questions, named):
            return named
    return None


def _is_own_member(questions: Sequence[Question], named: str) -> bool:
    """Tell whether ``wait`` is a member of the value that is asked for, and names no question."""
    oldest = questions[0].wait
    schema = oldest.show.get("schema") if isinstance(oldest.show, dict) else None
    members = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(members, dict) or WAIT not in members:
        return False
    return all(named not in {one.wait.key, one.wait.name} for one in questions)


def _objects(content: Content) -> list[Mapping[str, Any]]:
    return [part.data for part in content.parts if isinstance(part.data, dict)]


def _chosen(questions: Sequence[Question], named: str | None) -> Wait:
    if named is None:
        return questions[0].wait
    for question in questions:
        if named in {question.wait.key, question.wait.name}:
            return question.wait
    keys = ", ".join(repr(question.wait.key) for question in questions)
    what = f"Nothing waits for {named[:128]!r}; open are {keys}."
    raise InvalidInput(what, faults=[Fault("/message/metadata/wait", what)])


def _decision(wait: Wait, content: Content) -> dict[str, Any]:
    objects = _objects(content)
    data = objects[0] if objects else {}
    said = str(data.get("decision", ""))
    texts = [part.text for part in content.parts if part.kind is PartKind.TEXT]
    comment = str(data.get("comment", ""))
    if not said:
        said = " ".join(texts)
    elif not comment:
        comment = "\n\n".join(texts)
    word = " ".join(said.lower().strip(" \t\n.!").split())
    if word not in _YES | _NO:
        raise InvalidInput(
            f"It is not clear whether {wait.name!r} is approved. {_HOW}",
            faults=[Fault("/message/parts", _HOW)],
        )
    value = data.get("edited", data.get("value"))
    approved = word in _YES
    if value is not None:
        schema = wait.show.get("schema") if isinstance(wait.show, dict) else None
        if not schema or not approved:
            what = "No edited value is taken here."
            raise InvalidInput(what, faults=[Fault("/message/parts", what)])
        what = f"The value does not fit the approval {wait.name!r}"
        check_schema(schema, value, what=what, at="/message/parts")
    return {"approved": approved, "comment": comment, "value": value}


def _value(wait: Wait, content: Content) -> Any:  # noqa: ANN401  JSON value
    schema = wait.show.get("schema") if isinstance(wait.show, dict) else None
    parts = [_unwrapped(part) for part in content.parts]
    said = Content(parts=parts, name=content.name)
    value = value_from(said, schema, what=f"The question {wait.name!r}")
    check_value(wait, value)
    return value


def _unwrapped(part: Part) -> Part:
    """Take the value out of ``{"wait": …, "value": …}``."""
    data = part.data
    if part.kind is PartKind.DATA and isinstance(data, dict) and data.keys() == {WAIT, "value"}:
        return Part(kind=PartKind.DATA, data=data["value"])
    return part
