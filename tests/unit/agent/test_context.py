"""What fits, what gives way, and what is said when nothing more can."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.core import json as core_json
from agency.errors import ContextTooLong, ModelReplyBroken, ModelUnavailable
from agency.ports.model import ChatMessage, ChatRequest, ContextLimits, ToolCall, ToolSpec
from agency.workflows.agent.context.budget import Budget, bucket, make_budget
from agency.workflows.agent.context.compaction import Room, compact
from agency.workflows.agent.context.estimate import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    Meters,
    TokenMeter,
    units_of_message,
    units_of_request,
    units_of_text,
)
from agency.workflows.agent.context.gauge import Gauge, measure
from agency.workflows.agent.context.transcript import SUMMARY_HEAD, Compaction, Transcript
from tests.unit.agent.offers import READ

SYSTEM = ChatMessage(role="system", content="You are an agent.")
TASK = ChatMessage(role="user", content="The task.")


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def turn(transcript: Transcript, number: int, result: str) -> None:
    call = ToolCall(name="read_file", arguments={"path": f"{number}.txt"}, id=str(number))
    transcript.add(ChatMessage(role="assistant", content="", tool_calls=(call,)))
    transcript.add(
        ChatMessage(role="tool", content=result, tool_name="read_file", tool_call_id=str(number))
    )


def filled(turns: int, size: int = 2_000) -> Transcript:
    transcript = Transcript()
    transcript.add_task(TASK)
    for number in range(turns):
        turn(transcript, number, f"result {number} " + "x" * size)
    return transcript


def room_for(transcript: Transcript, tokens: int, *, reserve: int = 0) -> Room:
    budget = Budget(limit=tokens, reserve=reserve, decided_by="configured", trained=131_072)
    meter = TokenMeter()
    request = ChatRequest(model="weak", messages=[SYSTEM, *transcript.messages])
    return Room(
        budget=budget,
        meter=meter,
        gauge=measure(request, transcript, budget, meter),
        model="weak",
        summariser_tokens=4_096,
    )


class Keeping:
    """Keeps texts as the workspace does, and plays the summarising model."""

    def __init__(self, answer: str | Exception = "It read files.") -> None:
        self.texts: dict[str, str] = {}
        self.asked: list[Sequence[ChatMessage]] = []
        self.answer = answer

    async def keep_text(self, name: str, text: str) -> str:
        self.texts[name] = text
        return f".agency/results/{name}"

    async def summarise(self, messages: Sequence[ChatMessage]) -> str:
        self.asked.append(messages)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def compact(self, transcript: Transcript, room: Room) -> Compaction:
        return await compact(transcript, room, keep_text=self.keep_text, summarise=self.summarise)


def is_valid(messages: Sequence[ChatMessage]) -> bool:
    """Each result follows its call, and each call has its result."""
    open_ids: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in open_ids:
                return False
            open_ids.remove(message.tool_call_id)
        elif open_ids:
            return False
        if message.role == "assistant":
            open_ids = [call.id for call in message.tool_calls]
    return not open_ids


# --- estimates -----------------------------------------------------------------------------------


def test_estimate_begins_with_a_margin() -> None:
    assert 349 == TokenMeter().tokens(1_000)
    assert 0 == TokenMeter().tokens(0)
    assert IMAGE_TOKENS == TokenMeter().tokens(0, images=1)


@pytest.mark.parametrize(
    ("text", "tokens_at_least"),
    [
        ("hello world, how are you", 6),
        ("привет как дела", 8),
        ("你好世界今天怎么样", 8),
        ("🦓🦓🦓🦓", 4),
    ],
    ids=["latin", "cyrillic", "chinese", "emoji"],
)
def test_other_scripts_are_not_thought_shorter_than_they_are(
    text: str, tokens_at_least: int
) -> None:
    assert TokenMeter().tokens(units_of_text(text)) >= tokens_at_least


def test_higher_count_is_believed_at_once_and_a_lower_one_slowly() -> None:
    meter = TokenMeter()

    meter.learn(10_000, 5_000)
    assert 2.0 == meter.bytes_per_token
    meter.learn(10_000, 3_000)
    assert 2.0 < meter.bytes_per_token < 2.3


def test_ratio_settles_on_what_the_server_counts() -> None:
    meter = TokenMeter()

    for _ in range(60):
        meter.learn(42_000, 10_000)

    assert meter.bytes_per_token == pytest.approx(4.2, rel=0.02)


@pytest.mark.parametrize("count", [None, 0, 40, 1_000_000])
def test_counts_that_cannot_be_teach_nothing(count: int | None) -> None:
    meter = TokenMeter()

    is_plausible = meter.is_plausible(10_000, count)
    meter.learn(10_000, count)

    assert BYTES_PER_TOKEN == meter.bytes_per_token
    assert is_plausible is (count != 40)


def test_pictures_and_short_prompts_teach_nothing() -> None:
    meter = TokenMeter()

    meter.learn(10_000, 9_000, images=1)
    meter.learn(100, 90)

    assert BYTES_PER_TOKEN == meter.bytes_per_token


def test_refusal_makes_the_next_look_stricter() -> None:
    told, untold = TokenMeter(), TokenMeter()

    told.refused(10_000, 6_000)
    untold.refused(10_000, None)

    assert told.tokens(10_000) >= 6_000
    assert untold.tokens(10_000) > TokenMeter().tokens(10_000)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.integers(0, 10**6)), max_size=30))
def test_ratio_stays_within_bounds(samples: list[tuple[int, int | None]]) -> None:
    meter = TokenMeter()

    for units, count in samples:
        meter.learn(units, count)
        meter.refused(units, count)

    assert 0.79 < meter.bytes_per_token < 8.1


def test_meters_of_models_are_apart_and_bounded() -> None:
    meters = Meters()
    meters.of("a").learn(10_000, 5_000)

    for i in range(300):
        meters.of(f"m{i}")

    assert BYTES_PER_TOKEN == meters.of("b").bytes_per_token
    assert BYTES_PER_TOKEN == meters.of("a").bytes_per_token


# --- budgets -------------------------------------------------------------------------------------


def test_smallest_limit_decides_and_the_reply_is_reserved() -> None:
    budget = make_budget(ContextLimits(configured=8_192, trained=131_072, allocated=4_096))

    assert (4_096, "allocated", 131_072) == (budget.limit, budget.decided_by, budget.trained)
    assert 4_096 - 1_024 == budget.available


def test_thinking_is_reserved_beside_the_reply() -> None:
    limits = ContextLimits(configured=32_768)

    assert 2_048 == make_budget(limits, thinks=True).reserve
    assert 500 == make_budget(limits, thinks=True, reply_tokens=500).reserve


def test_reserve_leaves_room_for_the_prompt() -> None:
    budget = make_budget(ContextLimits(configured=2_048), reply_tokens=100_000)

    assert 1_024 == budget.available


def test_unknown_limit_is_taken_for_small() -> None:
    assert (4_096, "unknown") == (
        (budget := make_budget(ContextLimits())).limit,
        budget.decided_by,
    )


@pytest.mark.parametrize(
    ("tokens", "most", "size"),
    [(1, None, 4_096), (4_097, None, 8_192), (20_000, 24_000, 24_000), (30_000, 24_000, None)],
)
def test_sizes_of_contexts_are_few(tokens: int, most: int | None, size: int | None) -> None:
    assert size == bucket(tokens, most=most)


# --- the gauge -----------------------------------------------------------------------------------


def test_gauge_weighs_what_is_sent() -> None:
    transcript = filled(5)
    budget = make_budget(ContextLimits(configured=8_192))
    meter = TokenMeter()
    request = ChatRequest(
        model="weak", messages=[SYSTEM, *transcript.messages, user("todos")], tools=(READ,)
    )

    gauge = measure(request, transcript, budget, meter)

    assert units_of_request(request) == gauge.units
    assert gauge.used == meter.tokens(gauge.units)
    assert 0 < gauge.tail < gauge.tools < gauge.history
    assert gauge.fits
    json.dumps(gauge.record())


def test_gauge_weighs_a_conversation_that_is_told_otherwise() -> None:
    from agency.workflows.agent.calls.ladder import Ladder
    from agency.workflows.agent.calls.rungs import Rung

    transcript = filled(3)
    budget = make_budget(ContextLimits(configured=8_192))
    base = ChatRequest(model="weak", messages=[SYSTEM, *transcript.messages], tools=(READ,))
    request = Ladder(start=Rung.ACTION).request(base)

    gauge = measure(request, transcript, budget, TokenMeter())

    assert units_of_request(request) == gauge.units


# --- the transcript ------------------------------------------------------------------------------


def test_transcript_is_weighed_as_it_grows() -> None:
    transcript = Transcript([user("before"), ChatMessage(role="assistant", content="yes")])
    transcript.add_task(TASK)
    turn(transcript, 1, "x" * 100)

    assert sum(units_of_message(one) for one in transcript.messages) == transcript.units
    assert 1 == transcript.turns


async def test_compaction_is_the_same_after_a_restart() -> None:
    old, new = filled(8), filled(8)
    found = await Keeping().compact(old, room_for(old, 2_000))
    record = json.loads(core_json.encode(found.record()))

    old.apply(found)
    new.apply(Compaction.parse(record))
    for transcript in (old, new):
        turn(transcript, 9, "later")

    assert list(old.messages) == list(new.messages)
    assert old.units == new.units == sum(units_of_message(one) for one in new.messages)


async def test_restart_that_reads_less_of_the_session_keeps_the_places() -> None:
    history = [user(f"q{i} " + "y" * 1_000) for i in range(6)]
    old = Transcript(history)
    old.add_task(TASK)
    for number in range(5):
        turn(old, number, "x" * 2_000)
    found = await Keeping().compact(old, room_for(old, 2_200))
    new = Transcript(history[3:])
    new.add_task(TASK)
    for number in range(5):
        turn(new, number, "x" * 2_000)

    old.apply(found)
    new.apply(found)

    assert list(old.messages) == list(new.messages)


# --- compaction ----------------------------------------------------------------------------------


async def test_old_results_go_to_files_first() -> None:
    transcript = filled(6)
    keeping = Keeping()

    found = await keeping.compact(transcript, room_for(transcript, 4_200))
    transcript.apply(found)

    assert [] == keeping.asked
    assert found.through is None
    assert 1 <= len(found.spilled) <= 4
    text = next(iter(found.spilled.values()))
    assert ".agency/results/at-00002-read_file.txt" in text
    assert text.startswith("result 0 ")
    assert keeping.texts["at-00002-read_file.txt"].startswith("result 0 ")
    assert "x" * 2_000 in transcript.messages[-1].content
    assert is_valid(transcript.messages)


async def test_result_that_has_a_file_already_is_not_kept_again() -> None:
    transcript = Transcript()
    transcript.add_task(TASK)
    for number in range(6):
        turn(transcript, number, "x" * 2_000 + "\n[The whole is in .agency/results/a.txt.]")
    keeping = Keeping()

    found = await keeping.compact(transcript, room_for(transcript, 4_000))

    assert {} == keeping.texts
    assert ".agency/results/a.txt" in next(iter(found.spilled.values()))


async def test_old_turns_become_a_summary_when_that_is_not_enough() -> None:
    transcript = filled(40, size=200)
    keeping = Keeping("It read 38 files.")

    found = await keeping.compact(transcript, room_for(transcript, 1_200))
    transcript.apply(found)

    assert "model" == found.by
    task, summary, *rest = transcript.messages
    assert TASK == task
    assert f"{SUMMARY_HEAD}\nIt read 38 files." == summary.content
    assert 4 == len(rest)
    assert is_valid(transcript.messages)
    assert "result 5" in keeping.asked[0][1].content


async def test_second_summary_takes_the_first_one_in() -> None:
    transcript = filled(40, size=200)
    keeping = Keeping("FIRST")
    transcript.apply(await keeping.compact(transcript, room_for(transcript, 1_200)))
    for number in range(40, 80):
        turn(transcript, number, "y" * 200)
    keeping.answer = "SECOND"
    keeping.asked.clear()

    found = await keeping.compact(transcript, room_for(transcript, 1_200))
    transcript.apply(found)

    assert "FIRST" in keeping.asked[0][1].content
    assert "SECOND" in transcript.messages[1].content
    assert "FIRST" not in "".join(one.content for one in transcript.messages)


async def test_what_people_said_meanwhile_stays_word_for_word() -> None:
    transcript = filled(10, size=200)
    transcript.add(user("Hint: use the other file."), is_pinned=True)
    for number in range(10, 40):
        turn(transcript, number, "z" * 200)

    transcript.apply(await Keeping().compact(transcript, room_for(transcript, 1_200)))

    assert "Hint: use the other file." in [one.content for one in transcript.messages]


@pytest.mark.parametrize(
    "answer",
    [ModelReplyBroken("Broken."), "", "   ", "long " * 50_000],
    ids=["broken", "empty", "blank", "endless"],
)
async def test_extract_stands_in_for_a_bad_summary(answer: str | Exception) -> None:
    transcript = filled(40, size=200)

    found = await Keeping(answer).compact(transcript, room_for(transcript, 1_200))
    transcript.apply(found)

    assert "extract" == found.by
    assert "result 0" in found.summary
    assert "result 37" in found.summary
    assert found.after <= 1_200


async def test_summarising_model_that_is_away_is_waited_for() -> None:
    transcript = filled(40, size=200)
    before = list(transcript.messages)

    with pytest.raises(ModelUnavailable):
        await Keeping(ModelUnavailable("model:ollama", "away")).compact(
            transcript, room_for(transcript, 1_200)
        )

    assert before == list(transcript.messages)


async def test_long_past_is_summarised_in_pieces_that_fit() -> None:
    transcript = filled(300, size=150)
    keeping = Keeping("so far")

    await keeping.compact(transcript, room_for(transcript, 1_200))

    assert 1 < len(keeping.asked) <= 8
    assert all(units_of_message(one[1]) < 4_096 * 3.3 for one in keeping.asked)


async def test_what_does_not_fit_fails_with_numbers_and_the_fix() -> None:
    transcript = Transcript()
    transcript.add_task(user("word " * 4_000))

    with pytest.raises(ContextTooLong) as caught:
        await Keeping().compact(transcript, room_for(transcript, 4_096, reserve=1_024))

    error = caught.value
    assert 4_096 == error.context_tokens
    assert error.prompt_tokens is not None
    assert error.prompt_tokens > 6_000
    assert "the task" in error.message
    assert "num_ctx = 16384" in (error.hint or "")


async def test_last_turns_are_never_touched() -> None:
    transcript = filled(2, size=9_000)

    with pytest.raises(ContextTooLong) as caught:
        await Keeping().compact(transcript, room_for(transcript, 3_000))

    assert "the last turns" in caught.value.message


async def test_room_that_is_made_again_and_again_for_nothing_is_an_end() -> None:
    transcript = filled(3, size=1_400)
    keeping = Keeping("s" * 300)

    async def go_on() -> None:
        for number in range(3, 8):
            turn(transcript, number, "x" * 1_400)
            found = await keeping.compact(transcript, room_for(transcript, 1_230))
            transcript.apply(found)

    with pytest.raises(ContextTooLong, match="almost none is left"):
        await go_on()


async def test_three_hundred_turns_stay_within_the_context() -> None:
    transcript = Transcript()
    transcript.add_task(TASK)
    keeping = Keeping("It read many files.")
    compactions = 0
    began = time.process_time()
    for number in range(300):
        room = room_for(transcript, 4_096, reserve=1_024)
        if not room.gauge.fits:
            transcript.apply(await keeping.compact(transcript, room))
            compactions += 1
        assert room_for(transcript, 4_096, reserve=1_024).gauge.fits
        assert is_valid(transcript.messages)
        turn(transcript, number, "x" * 900)
    elapsed = time.process_time() - began

    assert compactions < 150
    assert len(transcript.messages) < 60
    assert elapsed < 3.0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4_000)), min_size=1, max_size=25),
    st.integers(600, 6_000),
)
async def test_compaction_keeps_pairs_and_the_last_turns_or_fails(
    turns: list[tuple[int, int]], tokens: int
) -> None:
    transcript = Transcript([user("old"), ChatMessage(role="assistant", content="old answer")])
    transcript.add_task(TASK)
    for number, (calls, size) in enumerate(turns):
        made = tuple(ToolCall(name="t", arguments={}, id=f"{number}.{i}") for i in range(calls))
        transcript.add(ChatMessage(role="assistant", content="a" * 20, tool_calls=made))
        for call in made:
            transcript.add(
                ChatMessage(role="tool", content="r" * size, tool_name="t", tool_call_id=call.id)
            )
    last = list(transcript.messages)[-1]
    room = room_for(transcript, tokens)

    try:
        found = await Keeping().compact(transcript, room)
    except ContextTooLong:
        return
    transcript.apply(found)

    assert is_valid(transcript.messages)
    assert TASK in transcript.messages
    assert last == transcript.messages[-1]
    gauge: Gauge = room_for(transcript, tokens).gauge
    assert gauge.fits
    assert gauge.used == found.after


def test_tools_are_weighed() -> None:
    tool = ToolSpec(name="a", description="b" * 300, parameters={"type": "object"})

    assert units_of_request(ChatRequest(model="m", messages=(), tools=(tool,))) > 300
