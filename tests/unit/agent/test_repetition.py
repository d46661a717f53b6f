"""When a model goes round in circles, and when it only looks so."""

from __future__ import annotations

import time

import pytest

from agency.workflows.agent.calls.repetition import Finding, Remedy, Repetition

NONE, NUDGE, WITHDRAW, STUCK = Remedy.NONE, Remedy.NUDGE, Remedy.WITHDRAW, Remedy.STUCK


def same(
    watch: Repetition, tool: str = "look", result: str = "x", *, error: bool = False
) -> Finding:
    return watch.add(tool, {"path": "a"}, result, is_error=error)


def test_same_call_with_the_same_result_is_nudged_withdrawn_and_stuck() -> None:
    watch = Repetition()

    findings = [same(watch) for _ in range(6)]

    assert [NONE, NONE, NUDGE, WITHDRAW, STUCK, STUCK] == [one.remedy for one in findings]
    assert {"look"} == findings[3].tools
    assert 'look({"path":"a"})' in findings[2].text
    assert "identical" == findings[2].pattern


def test_arguments_are_compared_by_their_meaning() -> None:
    watch = Repetition()

    watch.add("look", {"a": 1, "b": " x "}, "r")
    watch.add("look", {"b": "x", "a": 1, "c": None}, "r ")

    assert NUDGE is watch.add("look", {"b": "x", "a": 1}, "r").remedy


def test_other_result_is_progress() -> None:
    watch = Repetition()

    assert {NONE} == {same(watch, result=str(i)).remedy for i in range(40)}


def test_look_after_each_change_is_no_loop() -> None:
    watch = Repetition()

    for i in range(30):
        assert NONE is watch.add("write", {"text": str(i)}, "ok").remedy
        assert NONE is same(watch).remedy


def test_two_calls_in_turns_are_a_cycle() -> None:
    watch = Repetition()

    remedies = [same(watch, tool).remedy for tool in "ABABABAB"]

    assert [NONE, NONE, NONE, NUDGE] == remedies[:4]
    assert WITHDRAW is remedies[5]
    assert STUCK is remedies[7]


def test_three_calls_in_turns_are_a_cycle() -> None:
    watch = Repetition()

    findings = [same(watch, tool) for tool in "ABCABCABCABC"]

    assert NUDGE is findings[5].remedy
    assert {"A", "B", "C"} == findings[8].tools
    assert STUCK is findings[11].remedy


def test_same_error_of_one_tool_counts_whatever_the_arguments_are() -> None:
    watch = Repetition()

    remedies = [
        watch.add("shell", {"n": i}, f"Error at 0x{i:04x}: line {i}", is_error=True).remedy
        for i in range(7)
    ]

    assert [NONE, NONE, NUDGE, NONE, WITHDRAW, NUDGE, STUCK] == remedies


def test_different_errors_are_told_of_late() -> None:
    watch = Repetition()

    remedies = [watch.add(f"t{i}", {}, "no" + "!" * i, is_error=True).remedy for i in range(10)]

    assert [5, 9] == [i for i, remedy in enumerate(remedies) if remedy is not NONE]
    assert STUCK is remedies[-1]


def test_success_ends_a_row_of_errors() -> None:
    watch = Repetition()

    for i in range(20):
        assert NONE is watch.add("shell", {"n": i}, "Error", is_error=True).remedy
        assert NONE is watch.add("shell", {"n": i, "x": i}, f"fine {i}").remedy


def test_wandering_without_anything_new_is_noticed() -> None:
    watch = Repetition()
    tools = "ABCDEFG"
    for tool in tools:
        same(watch, tool)

    remedies = [same(watch, tools[i * 3 % 7]).remedy for i in range(20)]

    assert NUDGE in remedies
    assert STUCK is remedies[-1]


def test_waiting_is_exempt_and_what_is_looked_at_after_it_too() -> None:
    watch = Repetition(exempt={"wait"})

    for _ in range(50):
        assert NONE is same(watch, "wait").remedy
        assert NONE is same(watch, "status").remedy


def test_hint_begins_anew() -> None:
    watch = Repetition()
    for _ in range(5):
        same(watch)

    watch.forgive()

    assert NONE is same(watch).remedy


def test_restart_sees_the_same() -> None:
    calls = ["A", "A", "B", "A", "B", "A", "B", "B", "B"]
    old = Repetition()
    for tool in calls[:5]:
        same(old, tool)
    new = Repetition()
    for tool in calls[:5]:
        same(new, tool)

    assert [same(old, tool) for tool in calls[5:]] == [same(new, tool) for tool in calls[5:]]


def test_many_calls_cost_the_same_each() -> None:
    watch = Repetition()
    began = time.process_time()

    for i in range(5_000):
        watch.add("read", {"path": str(i)}, "x" * 500)

    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("text", ["x" * 5_000, "a\nb" * 900])
def test_what_is_told_stays_short(text: str) -> None:
    watch = Repetition()

    findings = [watch.add("w", {"text": text}, text) for _ in range(3)]

    assert len(findings[-1].text) < 700
