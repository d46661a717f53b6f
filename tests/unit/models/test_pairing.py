"""Calls and their results, made fit for strict servers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agency.models.pairing import NO_RESULT, ToolNames, paired
from agency.ports.model import ChatMessage, ToolCall, ToolSpec

NAMES = st.sampled_from(["a", "b", "files.read", ""])
IDS = st.sampled_from(["", "x", "call_1", "bad id", "y" * 50])
CALLS = st.builds(ToolCall, name=NAMES.filter(bool), arguments=st.just({}), id=IDS)
MESSAGES = st.one_of(
    st.builds(ChatMessage, role=st.just("user"), content=st.text(max_size=3)),
    st.builds(
        ChatMessage,
        role=st.just("assistant"),
        content=st.text(max_size=3),
        tool_calls=st.lists(CALLS, max_size=3).map(tuple),
    ),
    st.builds(
        ChatMessage,
        role=st.just("tool"),
        content=st.text(max_size=3),
        tool_name=NAMES,
        tool_call_id=IDS,
    ),
)


@given(st.lists(MESSAGES, max_size=8))
def test_each_call_has_its_result_and_each_result_its_call(messages: list[ChatMessage]) -> None:
    open_ids: list[str] = []
    seen: set[str] = set()
    for message in paired(messages):
        if message.role == "tool":
            open_ids.remove(message.tool_call_id)
            continue
        assert open_ids == []
        open_ids = [call.id for call in message.tool_calls]
        assert not seen & set(open_ids)
        assert len(set(open_ids)) == len(open_ids)
        seen |= set(open_ids)
    assert open_ids == []


@given(st.lists(MESSAGES, max_size=8))
def test_nothing_that_was_said_is_lost(messages: list[ChatMessage]) -> None:
    said = [message.content for message in paired(messages) if message.content != NO_RESULT]

    assert len(said) == len(messages)
    assert all(any(message.content in text for text in said) for message in messages)


def test_results_go_to_the_calls_that_they_name() -> None:
    calls = (ToolCall(name="a", arguments={}), ToolCall(name="b", arguments={}, id="x"))
    messages = [
        ChatMessage(role="assistant", content="", tool_calls=calls),
        ChatMessage(role="tool", content="of b", tool_name="b"),
        ChatMessage(role="tool", content="of a", tool_name="a"),
    ]

    asked, first, second = paired(messages)

    ids = {call.name: call.id for call in asked.tool_calls}
    assert (ids["b"], ids["a"]) == (first.tool_call_id, second.tool_call_id)


def test_names_are_unlike_on_the_wire_and_come_back() -> None:
    names = ["files.read", "files_read", "files/read", "x" * 80, "x" * 81, "ok"]
    tools = [ToolSpec(name=name, description="", parameters={}) for name in names]

    mapped = ToolNames(tools, [])

    sent = [mapped.sent(name) for name in names]
    assert len(set(sent)) == len(names)
    assert all(len(name) <= 64 for name in sent)
    assert mapped.sent("files_read") == "files_read"
    assert names == [mapped.meant(name) for name in sent]
    assert mapped.meant("unknown") == "unknown"
