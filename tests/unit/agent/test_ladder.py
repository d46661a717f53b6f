"""Down the ladder: what follows each trouble, and that a restart stands where it stood."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from agency.core import json as core_json
from agency.errors import (
    AgencyError,
    ModelAnswerUnfit,
    ModelCallMalformed,
    ModelLacks,
    ModelRefused,
    ModelReplyBroken,
    ModelReplyCut,
    ModelReplyEmpty,
    ModelStutters,
    ModelUnavailable,
)
from agency.ports.model import ChatReply, ChatRequest, ToolCall
from agency.workflows.agent.calls.judgement import Judgement, Verdict
from agency.workflows.agent.calls.ladder import (
    ACTION_TRIES_MAX,
    ACTION_TURNS_KEPT,
    COOL,
    PLAIN_TRIES_MAX,
    TOOL_TRIES_MAX,
    WARM,
    Ladder,
    watched,
)
from agency.workflows.agent.calls.rungs import Rung, Trouble
from tests.unit.agent.offers import NOW, READ, asked, called, said

MALFORMED = ModelCallMalformed("It wrote a call that the server could not read.", raw="{bad")
EMPTY = ModelReplyEmpty("Empty.", ended_by="stop", reply_tokens=40)
EATEN = ModelReplyEmpty("Thought.", ended_by="length", reply_tokens=64, thought=True)
CUT = ModelReplyCut("Ended early.")
STUTTER = ModelStutters("weak", "la ")
UNKNOWN = said("", called("read_flie", path="a"))
INVALID = said("", called("read_file", lines=3))
UNREADABLE = said("<tool_call>read it</tool_call>")
HIDDEN = said("", thinking='<tool_call>{"name": "now", "arguments": {}}</tool_call>')
GOOD = said("", called("read_file", "c1", path="a"))
ACT = said('{"tool": "read_file", "args": {"path": "a"}}')

SAMPLED: dict[str, AgencyError] = {
    "malformed": MALFORMED,
    "empty": EMPTY,
    "cut": CUT,
    "stutter": STUTTER,
    "eaten": EATEN,
}
TOLD = {"unknown": UNKNOWN, "invalid": INVALID, "unreadable": UNREADABLE, "hidden": HIDDEN}
ALL: dict[str, ChatReply | AgencyError] = {**SAMPLED, **TOLD}


def meet(ladder: Ladder, what: ChatReply | AgencyError, base: ChatRequest) -> Judgement:
    """Go through one reply as the loop does, the record included."""
    if isinstance(what, ChatReply):
        judgement = ladder.judge(what, base)
    else:
        found = ladder.judge_error(what, base)
        assert found is not None
        judgement = found
    again = Judgement.parse(json.loads(core_json.encode(judgement.record())))
    assert again.record() == judgement.record()
    ladder.take(again)
    return again


def test_native_call_is_made_as_it_is() -> None:
    ladder, base = Ladder(), asked()

    judgement = meet(ladder, GOOD, base)

    assert Verdict.CALLS is judgement.verdict
    assert Rung.NATIVE is judgement.rung
    assert [ToolCall(name="read_file", arguments={"path": "a"}, id="c1")] == list(judgement.calls)
    assert {Rung.NATIVE: 1} == ladder.counts
    assert base == ladder.request(base)


def test_words_are_the_answer() -> None:
    judgement = meet(Ladder(), said("It is done."), asked())

    assert (Verdict.FINAL, "It is done.", True) == (
        judgement.verdict,
        judgement.text,
        judgement.is_whole,
    )


def test_answer_that_was_cut_off_is_not_whole() -> None:
    judgement = meet(Ladder(), said("It is", ended_by="length"), asked())

    assert (Verdict.FINAL, False) == (judgement.verdict, judgement.is_whole)


def test_arguments_are_coerced_and_the_rung_says_so() -> None:
    judgement = meet(Ladder(), said("", called("read_file", path="a", lines="3")), asked())

    assert Rung.COERCED is judgement.rung
    assert {"path": "a", "lines": 3} == judgement.calls[0].arguments
    assert ['read_file/lines: "3" to 3'] == list(judgement.coerced)


@pytest.mark.parametrize("name", ALL)
def test_one_fault_is_survived_with_native_calls(name: str) -> None:
    ladder, base = Ladder(), asked()

    first = meet(ladder, ALL[name], base)
    request = ladder.request(base)
    second = meet(ladder, GOOD, base)

    assert Verdict.AGAIN is first.verdict
    assert base.tools == request.tools
    assert request.response_schema is None
    assert Verdict.CALLS is second.verdict
    assert (Rung.RESAMPLED if name in SAMPLED else Rung.CORRECTED) is second.rung


@pytest.mark.parametrize("name", ALL)
def test_fault_that_stays_leads_to_action_mode(name: str) -> None:
    ladder, base = Ladder(), asked()

    for _ in range(2):
        assert Verdict.AGAIN is meet(ladder, ALL[name], base).verdict
    request = ladder.request(base)
    judgement = meet(ladder, ACT, base)

    assert () == tuple(request.tools)
    assert request.response_schema is not None
    assert Verdict.CALLS is judgement.verdict
    assert Rung.ACTION is judgement.rung
    assert judgement.is_action


@pytest.mark.parametrize("one", ALL)
@pytest.mark.parametrize("other", ALL)
def test_two_faults_in_one_turn_are_survived(one: str, other: str) -> None:
    ladder, base = Ladder(), asked()

    for name in (one, other):
        assert Verdict.AGAIN is meet(ladder, ALL[name], base).verdict
    is_action = ladder.request(base).response_schema is not None
    judgement = meet(ladder, ACT if is_action else GOOD, base)

    assert Verdict.CALLS is judgement.verdict
    assert {"path": "a"} == judgement.calls[0].arguments


@pytest.mark.parametrize("name", ALL)
def test_ladder_stops_when_nothing_helps(name: str) -> None:
    ladder, base = Ladder(), asked()
    tries = 0

    while (judgement := meet(ladder, ALL[name], base)).verdict is Verdict.AGAIN:
        tries += 1
        assert tries < TOOL_TRIES_MAX + ACTION_TRIES_MAX

    assert Verdict.STOP is judgement.verdict
    assert "no usable reply" in judgement.text
    assert 0 == ladder.tries


def test_format_and_tools_are_never_sent_together() -> None:
    ladder, base = Ladder(), asked()

    for what in (MALFORMED, INVALID, EMPTY, ModelRefused("no format"), EMPTY):
        request = ladder.request(base)
        assert not (request.tools and request.response_schema)
        meet(ladder, what, base)


def test_correction_quotes_the_fault_and_the_shape() -> None:
    ladder, base = Ladder(), asked()

    meet(ladder, INVALID, base)
    call, result = ladder.request(base).messages[-2:]

    assert "assistant" == call.role
    assert {"lines": 3} == call.tool_calls[0].arguments
    assert "tool" == result.role
    assert "'path' is a required property" in result.content
    assert '"path": string' in result.content


def test_unknown_tool_is_answered_with_the_nearest() -> None:
    ladder, base = Ladder(), asked()

    meet(ladder, UNKNOWN, base)

    assert "read_file" in ladder.request(base).messages[-1].content
    assert "read_flie" in ladder.request(base).messages[-1].content


def test_corrections_are_gone_once_the_turn_has_succeeded() -> None:
    ladder, base = Ladder(), asked()

    meet(ladder, INVALID, base)
    assert len(ladder.request(base).messages) > len(base.messages)
    meet(ladder, GOOD, base)

    assert base == ladder.request(base)


def test_long_arguments_of_a_refused_call_are_shown_shortened() -> None:
    ladder, base = Ladder(), asked()

    judgement = meet(ladder, said("", called("write_file", path=[1], content="x" * 9_000)), base)

    assert judgement.attempted is not None
    assert len(judgement.attempted.arguments["content"]) < 300


def test_calls_before_a_refused_one_are_made_and_the_rest_answered() -> None:
    reply = said(
        "",
        called("now", "1"),
        called("read_file", "2", lines=3),
        called("read_file", "3", path="b"),
    )

    judgement = meet(Ladder(), reply, asked())

    assert Verdict.CALLS is judgement.verdict
    assert ["now"] == [call.name for call in judgement.calls]
    assert ["2", "3"] == [refused.call.id for refused in judgement.refused]
    assert "required property" in judgement.refused[0].note
    assert "was not made" in judgement.refused[1].note


def test_calls_before_an_unknown_native_one_are_made_and_the_rest_answered() -> None:
    reply = said("", called("now", "1"), called("rm", "2"), called("now", "3"))

    judgement = meet(Ladder(), reply, asked())

    assert ["1"] == [call.id for call in judgement.calls]
    assert ["2", "3"] == [refused.call.id for refused in judgement.refused]


@pytest.mark.parametrize(
    ("what", "temperature"),
    [(MALFORMED, COOL), (EMPTY, COOL), (CUT, WARM), (STUTTER, WARM)],
    ids=["malformed", "empty", "cut", "stutter"],
)
def test_next_sample_is_another(what: AgencyError, temperature: float) -> None:
    ladder, base = Ladder(), asked(seed=7)

    meet(ladder, what, base)
    request = ladder.request(base)

    assert temperature == request.temperature
    assert 8 == request.seed


@pytest.mark.parametrize(("model", "think"), [("qwen3:8b", False), ("gpt-oss:20b", "low")])
def test_eaten_limit_is_met_with_less_thinking_and_more_tokens(model: str, think: object) -> None:
    ladder = Ladder()
    base = ChatRequest(model=model, messages=(), tools=(READ,), tokens_max=100)

    meet(ladder, EATEN, base)
    request = ladder.request(base)

    assert think == request.think
    assert 200 == request.tokens_max


def test_model_without_tools_is_asked_in_action_mode_from_then_on() -> None:
    ladder, base = Ladder(), asked()

    meet(ladder, ModelLacks("It cannot call tools.", capability="tools"), base)
    for _ in range(12):
        assert ladder.request(base).response_schema is not None
        assert Verdict.CALLS is meet(ladder, ACT, base).verdict


def test_server_without_schemas_is_asked_in_action_mode_by_words() -> None:
    ladder, base = Ladder(start=Rung.ACTION), asked()

    meet(ladder, ModelRefused("unknown parameter: response_format"), base)
    request = ladder.request(base)
    judgement = meet(ladder, ACT, base)

    assert (None, ()) == (request.response_schema, tuple(request.tools))
    assert '"tool"' in request.messages[0].content
    assert Verdict.CALLS is judgement.verdict


def test_run_stays_in_action_mode_for_some_turns_and_then_tries_again() -> None:
    ladder, base = Ladder(), asked()

    for _ in range(2):
        meet(ladder, EMPTY, base)
        meet(ladder, EMPTY, base)
        meet(ladder, ACT, base)
    for _ in range(ACTION_TURNS_KEPT):
        assert ladder.is_action_mode
        meet(ladder, ACT, base)

    assert not ladder.is_action_mode


def test_what_is_no_mistake_of_the_model_is_left_alone() -> None:
    ladder, base = Ladder(), asked()

    for error in (
        ModelUnavailable("model:ollama", "it is away"),
        ModelReplyBroken("The server failed."),
        ModelRefused("out of memory"),
        ModelLacks("It cannot chat.", capability="completion"),
    ):
        assert ladder.judge_error(error, base) is None


def test_raw_call_of_a_server_is_mended_when_it_is_whole() -> None:
    raw = '<tool_call>{"name": "read_file", "arguments": {"path": "a",}}</tool_call>'

    judgement = meet(Ladder(), ModelCallMalformed("Unreadable.", raw=raw), asked())

    assert Verdict.CALLS is judgement.verdict
    assert Rung.REPAIRED is judgement.rung
    assert Trouble.MALFORMED is judgement.trouble


def test_turn_without_tools_is_asked_again_and_then_stops() -> None:
    ladder = Ladder()
    base = ChatRequest(model="weak", messages=())

    verdicts = [meet(ladder, EMPTY, base).verdict for _ in range(PLAIN_TRIES_MAX)]

    assert [Verdict.AGAIN, Verdict.AGAIN, Verdict.STOP] == verdicts


@pytest.mark.parametrize(
    "text",
    ["Let me read the file.", "Okay, I'll read it now:", "Sure. First, I will list the files…"],
)
def test_announcement_is_asked_about_once_and_then_believed(text: str) -> None:
    ladder, base = Ladder(), asked()

    assert Trouble.NARRATED is meet(ladder, said(text), base).trouble
    assert Verdict.FINAL is meet(ladder, said(text), base).verdict


@pytest.mark.parametrize(
    "text",
    [
        "The file says: let me in.\nThat is all.",
        "Let me know if you need more.",
        "I will be here if you need me.",
        "Done. I'll be happy to help with more.",
        "Let me explain: " + "it works. " * 100,
    ],
)
def test_answers_are_no_announcements(text: str) -> None:
    assert Verdict.FINAL is meet(Ladder(), said(text), asked()).verdict


ACTIONS: dict[str, str] = {
    "fenced": '```json\n{"tool": "read_file", "args": {"path": "a"}}\n```',
    "with words": 'I do this: {"tool": "read_file", "args": {"path": "a"}} now',
    "other spelling": '{"name": "read_file", "arguments": {"path": "a"}}',
    "own wrapper": '<tool_call>{"name": "read_file", "arguments": {"path": "a"}}</tool_call>',
    "broken": '{"tool": "read_file", "args": {"path": "a",}}',
    "flat": '{"tool": "read_file", "path": "a"}',
    "list": '[{"tool": "read_file", "args": {"path": "a"}}]',
    "text for an object": '{"tool": "read_file", "args": "{\\"path\\": \\"a\\"}"}',
}


@pytest.mark.parametrize("name", ACTIONS)
def test_action_is_understood_though_the_schema_was_ignored(name: str) -> None:
    unfit = ModelAnswerUnfit("Unfit.", text=ACTIONS[name], fault="/: no")

    judgement = meet(Ladder(start=Rung.ACTION), unfit, asked())

    assert Verdict.CALLS is judgement.verdict
    assert [("read_file", {"path": "a"})] == [
        (call.name, dict(call.arguments)) for call in judgement.calls
    ]


def test_final_of_action_mode_is_the_answer() -> None:
    judgement = meet(Ladder(start=Rung.ACTION), said('{"final": "Done."}'), asked())

    assert (Verdict.FINAL, "Done.") == (judgement.verdict, judgement.text)


def test_words_in_action_mode_are_the_answer_when_they_are_insisted_on() -> None:
    ladder, base = Ladder(start=Rung.ACTION), asked()

    assert Verdict.AGAIN is meet(ladder, said("It is done."), base).verdict
    assert (Verdict.FINAL, "It is done.") == (
        (judgement := meet(ladder, said("It is done."), base)).verdict,
        judgement.text,
    )


def test_conversation_is_told_as_text_in_action_mode() -> None:
    from agency.ports.model import ChatMessage

    base = ChatRequest(
        model="weak",
        tools=(READ,),
        messages=[
            ChatMessage(role="user", content="Do it."),
            ChatMessage(
                role="assistant", content="", tool_calls=(called("now", "1"), called("now"))
            ),
            ChatMessage(role="tool", content="noon", tool_name="now"),
            ChatMessage(role="tool", content="one", tool_name="now"),
        ],
    )

    system, user, acted, results = Ladder(start=Rung.ACTION).request(base).messages

    assert ("system", "user", "assistant", "user") == (
        system.role,
        user.role,
        acted.role,
        results.role,
    )
    assert "read_file" in system.content
    assert '{"tool":"now","args":{}}' in acted.content
    assert "Result of now:\nnoon\n\nResult of now:\none" == results.content


@pytest.mark.parametrize("stop_at", range(7))
def test_restart_stands_where_it_stood(stop_at: int) -> None:
    base = asked()
    replies: list[ChatReply | AgencyError] = [
        EMPTY,
        GOOD,
        INVALID,
        UNKNOWN,
        ACT,
        MALFORMED,
        EATEN,
    ]
    old = Ladder()
    records = [meet(old, reply, base).record() for reply in replies[:stop_at]]

    new = Ladder()
    for record in records:
        new.take(Judgement.parse(record))

    assert old.request(base) == new.request(base)
    assert (old.counts, old.troubles) == (new.counts, new.troubles)


def test_stream_that_repeats_itself_is_ended_early() -> None:
    heard: list[str] = []
    hear: Callable[[str], None] = watched("weak", heard.append)

    def stream() -> None:
        for _ in range(100_000):
            hear("and again ")

    with pytest.raises(ModelStutters):
        stream()

    assert len("".join(heard)) < 4_000


def test_offered_tools_may_change_from_turn_to_turn() -> None:
    ladder = Ladder()

    first = meet(ladder, said("", called("now")), asked(NOW))
    second = meet(ladder, said("", called("now")), asked(READ))

    assert Verdict.CALLS is first.verdict
    assert Trouble.UNKNOWN_TOOL is second.trouble
