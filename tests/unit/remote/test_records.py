"""Tasks of agents elsewhere as records, hops, and what a call is made of."""

from __future__ import annotations

from typing import Any

import pytest

from agency.core import json
from agency.domain.content import Content, PartKind, bytes_part, data_part, link_part, text_part
from agency.domain.remote import (
    HOPS_TAG,
    RemoteAnswer,
    RemoteState,
    RemoteTask,
    data_of,
    hops_in,
    hops_of,
    inherited_tags,
    remote_task_of,
    result_of,
)
from agency.errors import InvalidInput
from agency.workflows.agent.records import EncodedFile
from agency.workflows.remote.records import CallInput, content_for

PARTS = [
    text_part("one"),
    data_part({"a": [1, None]}),
    bytes_part(b"\x00", media_type="image/png", name="x.png"),
    link_part("https://example.org/"),
]


def test_task_is_read_as_it_was_written() -> None:
    task = RemoteTask(
        id="t",
        context_id="c",
        state=RemoteState.WORKING,
        said=Content(parts=[text_part("busy")]),
        artifacts=[Content(parts=PARTS, name="all")],
    )

    read = remote_task_of(json.decode(json.encode(task.to_json())))

    assert task.to_json() == read.to_json()
    assert PARTS == list(read.artifacts[0].parts)


def test_result_is_what_was_handed_out_else_what_was_said() -> None:
    said = Content(parts=[text_part("bye")])
    handed = [Content(parts=[text_part("one")]), Content(parts=[data_part(2)])]
    task = RemoteTask(id="t", context_id="", state=RemoteState.COMPLETED, said=said)
    more = RemoteTask(
        id="t", context_id="", state=RemoteState.COMPLETED, said=said, artifacts=handed
    )

    assert said == result_of(task)
    assert ["one", ""] == [part.text for part in result_of(more).parts]
    assert 2 == data_of(result_of(more))
    assert [1, 2] == data_of(Content(parts=[data_part(1), data_part(2)]))


def test_answer_gives_its_parts_as_records() -> None:
    answer = RemoteAnswer(
        agent="a",
        task_id="",
        context_id="",
        text="",
        data=None,
        content=[part.to_json() for part in PARTS],
    )

    assert PARTS == list(answer.parts)


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("3", 3), (" 4 ", 4), (5, 5), (6.0, 6), (0, 0), (None, 0), ("", 0), ("x", 0), ("-1", 0),
        (-2, 0), (True, 0), (1.5, 0), ("\u0661", 0), (1 << 60, 1_000_000), ("9" * 30, 0), ([], 0),
    ],
)  # fmt: skip
def test_hops_are_read_from_whatever_is_claimed(value: Any, hops: int) -> None:
    assert hops == hops_in(value)


def test_children_inherit_hops_and_nothing_else() -> None:
    tags = {HOPS_TAG: "2", "team": "blue"}

    assert (2, {HOPS_TAG: "2"}) == (hops_of(tags), inherited_tags(tags))
    assert (0, {}) == (hops_of({}), inherited_tags({"team": "blue"}))


@pytest.mark.parametrize("state", list(RemoteState))
def test_task_is_settled_when_nothing_more_comes_by_itself(state: RemoteState) -> None:
    goes_on = {RemoteState.SUBMITTED, RemoteState.WORKING, RemoteState.UNKNOWN}

    assert (state not in goes_on) == state.is_settled
    assert not (state.is_final and state.waits_for_us)


def test_call_is_put_together_of_all_that_it_has() -> None:
    call = CallInput(
        agent="a",
        message="hello",
        data={"x": 1},
        files={"a.txt": "text", "b": EncodedFile(base64="AA==")},
        content=Content(parts=[link_part("https://example.org/")]).to_json(),
    )

    parts = content_for(call).parts

    assert ["text", "data", "bytes", "bytes", "link"] == [part.kind for part in parts]
    assert [b"text", b"\x00"] == [part.raw for part in parts if part.kind is PartKind.BYTES]
    assert "text/plain" == parts[2].media_type


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"content": {"content": []}},
        {"content": {"x": 1}},
        {"files": {"a": EncodedFile(base64="?")}},
        {"files": {"a": "x" * (8 << 20), "b": "x" * (8 << 20)}},
    ],
    ids=["nothing", "no-parts", "no-content", "no-base64", "too-much"],
)
def test_call_that_cannot_be_put_together_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        content_for(CallInput(agent="a", **more))
