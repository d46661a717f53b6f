"""What messages mean: as input, as answers to questions, as decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agency.a2a.answers import Answer, answer_of, message_of
from agency.a2a.inputs import input_of, value_from
from agency.domain.content import (
    CONTENT_SCHEMA,
    Content,
    Part,
    bytes_part,
    data_part,
    link_part,
    text_part,
)
from agency.domain.task import Question
from agency.domain.wait import Wait, WaitKind
from agency.errors import InvalidInput
from agency.web.published import Published, PublishedKind

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NUMBER = {"type": "integer"}
NAMED = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}


def question(key: str = "input#1", kind: WaitKind = WaitKind.INPUT, **show: Any) -> Question:
    wait = Wait(
        key=key,
        kind=kind,
        name=key.partition("#")[0],
        due_at=None,
        show=show,
        target="",
        opened_at=NOW,
        outcome=None,
        payload=None,
        resolved_at=None,
        resolved_number=0,
    )
    return Question(wait=wait, place=1)


def said(*parts: Part | str) -> Content:
    return Content(parts=[text_part(one) if isinstance(one, str) else one for one in parts])


@pytest.mark.parametrize(
    ("schema", "parts", "expected"),
    [
        (None, ["red"], "red"),
        (None, ["red", "blue"], "red\n\nblue"),
        (None, [data_part([1])], [1]),
        (None, ["", data_part(None)], None),
        ({"type": "string"}, ["3"], "3"),
        (NUMBER, ["3"], 3),
        (NUMBER, [data_part(3)], 3),
        (NAMED, ["Ann"], {"name": "Ann"}),
        (NAMED, ['{"name": "Ann", "n": 2}'], {"name": "Ann", "n": 2}),
        (NAMED, [data_part({"n": 2}), "Ann"], {"name": "Ann", "n": 2}),
        ({"type": ["string", "null"]}, ["null"], "null"),
    ],
    ids=str,
)
def test_words_are_understood_by_what_is_asked_for(
    schema: Any, parts: list[Any], expected: Any
) -> None:
    assert expected == value_from(said(*parts), schema, what="It")


@pytest.mark.parametrize(
    ("schema", "parts"),
    [
        (NUMBER, ["three"]),
        (NUMBER, [""]),
        (NAMED, ["Ann", data_part({"name": "Bob"})]),
        (NAMED, [data_part({}), data_part({})]),
        (NAMED, [bytes_part(b"x", media_type="image/png")]),
        (NUMBER, [link_part("https://example.com")]),
    ],
    ids=str,
)
def test_what_is_no_value_of_the_schema_is_refused(schema: Any, parts: list[Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        value_from(said(*parts), schema, what="It")

    assert all(fault.where.startswith("/message/parts") for fault in refused.value.faults)


def test_message_of_several_kinds_is_handed_on_whole() -> None:
    content = said("look", bytes_part(b"x", media_type="image/png"))

    assert content.to_json() == message_of(content)


@pytest.mark.parametrize(
    ("parts", "approved", "comment"),
    [
        (["yes"], True, ""),
        (["  Approved! "], True, ""),
        (["go   ahead"], True, ""),
        (["No."], False, ""),
        (["reject"], False, ""),
        ([data_part({"decision": "deny", "comment": "dear"})], False, "dear"),
        ([data_part({"decision": "approve"}), "well done"], True, "well done"),
    ],
    ids=str,
)
def test_approval_is_decided_by_plain_words_or_data(
    parts: list[Any], approved: bool, comment: str
) -> None:
    asked = question("ship#1", WaitKind.APPROVAL, prompt="Ship it?")

    answer = answer_of([asked], said(*parts), {})

    assert Answer("ship#1", {"approved": approved, "comment": comment, "value": None}) == answer


@pytest.mark.parametrize(
    "parts",
    [
        ["yes and no"],
        ["perhaps"],
        [""],
        [data_part({"decision": "later"})],
        [data_part(True)],
        [data_part({"decision": "approve", "edited": "x"})],
        [data_part({"decision": "deny", "edited": 1})],
    ],
    ids=str,
)
def test_what_is_no_decision_is_refused_with_how_it_is_done(parts: list[Any]) -> None:
    asked = question("ship#1", WaitKind.APPROVAL, prompt="Ship it?", schema=NUMBER)

    with pytest.raises(InvalidInput):
        answer_of([asked], said(*parts), {})


@pytest.mark.parametrize(
    ("parts", "metadata", "wait", "payload"),
    [
        (["1"], {}, "first#1", "1"),
        (["2"], {"wait": "second#1"}, "second#1", 2),
        (["2"], {"wait": "second"}, "second#1", 2),
        ([data_part({"wait": "second#1", "value": 2})], {}, "second#1", 2),
        (["x"], {"wait": 17}, "first#1", "x"),
    ],
    ids=str,
)
def test_one_of_several_questions_is_named_or_the_oldest(
    parts: list[Any], metadata: dict[str, Any], wait: str, payload: Any
) -> None:
    questions = [question("first#1"), question("second#1", schema=NUMBER)]

    assert Answer(wait, payload) == answer_of(questions, said(*parts), metadata)


def test_question_for_content_takes_all_that_is_said() -> None:
    content = Content(parts=[text_part("x"), bytes_part(b"y", media_type="a/b")], name="m1")
    asked = question("input#1", schema=dict(CONTENT_SCHEMA))

    assert Answer("input#1", content.to_json()) == answer_of([asked], content, {})


@pytest.mark.parametrize("others", [[{"type": "string"}], [{"type": "null"}]], ids=str)
def test_content_is_the_last_of_several_choices(others: list[Any]) -> None:
    schema = {"anyOf": [dict(CONTENT_SCHEMA), *others]}
    words, picture = said("x"), said(bytes_part(b"y", media_type="a/b"))

    takes_text = {"type": "string"} in others
    assert ("x" if takes_text else words.to_json()) == value_from(words, schema, what="It")
    assert picture.to_json() == value_from(picture, schema, what="It")


def test_authorization_takes_nothing_of_what_is_said() -> None:
    asked = question("authorize#1", prompt="Sign in.", authorization={"url": ""})

    assert Answer("authorize#1", None) == answer_of([asked], said("my password"), {})


def test_message_that_is_waited_for_goes_into_the_mailbox() -> None:
    asked = question("event-message#1", WaitKind.EVENT)

    assert Answer("", "hi") == answer_of([asked], said("hi"), {})


def published(**changes: Any) -> Published:
    plain: dict[str, Any] = {
        "name": "it",
        "kind": PublishedKind.WORKFLOW,
        "workflow": "it",
        "description": "",
        "input_schema": {},
        "output_schema": {},
        "version": "1",
    }
    return Published(**plain | changes)


AGENT = published(
    kind=PublishedKind.AGENT,
    workflow="agent",
    input_schema={"properties": {"message": {}, "schema": {}, "files": {}, "agent": {}}},
)


def test_content_is_handed_to_a_workflow_that_takes_it() -> None:
    content = said("x", link_part("https://example.com"))
    target = published(input_schema=dict(CONTENT_SCHEMA))

    assert content.to_json() == input_of(target, content)
    assert input_of(published(takes_input=False), content) is None


def test_agent_is_given_text_files_and_the_rest_in_words() -> None:
    given = input_of(
        AGENT,
        said(
            "Do it.",
            text_part("inside", name="a.txt"),
            bytes_part(b"\x00", media_type="image/png"),
            bytes_part(b"\x01", media_type="image/png", name="../../etc/a.txt"),
            bytes_part(b"\x02", media_type="image/png", name="/etc/a.txt"),
            link_part("https://example.com/x"),
            data_part({"agent": "root", "schema": {}}),
            data_part({"schema": {"type": "object"}}),
        ),
    )

    assert {
        "agent": "it",
        "message": 'Do it.\n\nhttps://example.com/x\n\n{"agent":"root","schema":{}}',
        "schema": {"type": "object"},
        "files": {
            "a.txt": "inside",
            "file.png": {"base64": "AA=="},
            "etc/a.txt": {"base64": "AQ=="},
            "etc/a-2.txt": {"base64": "Ag=="},
        },
    } == given


def test_files_alone_are_told_of() -> None:
    given = input_of(AGENT, said(bytes_part(b"x", media_type="image/png", name="a.png")))

    assert "The files: a.png" == given["message"]


def test_member_of_the_value_that_is_called_wait_names_no_question() -> None:
    shape = {"type": "object", "properties": {"wait": {"type": "string"}}}
    asked = [question("a#1", schema=shape), question("b#1")]

    assert Answer("a#1", {"wait": "an hour"}) == answer_of(
        asked, said(data_part({"wait": "an hour"})), {}
    )
    assert "b#1" == answer_of(asked, said(data_part({"wait": "b", "value": 1})), {}).wait
    with pytest.raises(InvalidInput, match="Nothing waits for"):
        answer_of(asked[1:], said(data_part({"wait": "an hour"})), {})
