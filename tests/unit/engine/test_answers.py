"""What it takes to resume each kind of wait."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from agency.core.limits import CHECKED_AT_ONCE_BYTES_MAX, FAULT_CHARACTERS_MAX, FAULTS_MAX
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.engine.answers import check_schema, checked, choose, decide
from agency.errors import (
    AnswerNeeded,
    InvalidInput,
    WaitAmbiguous,
    WaitNotAnswerable,
    WaitNotFound,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def make_wait(key: str, kind: WaitKind, *, show: Any = None, is_open: bool = True) -> Wait:
    return Wait(
        key=key,
        kind=kind,
        name=key.partition("#")[0],
        due_at=None,
        show=show,
        target="run-2",
        opened_at=AT,
        outcome=None if is_open else WaitOutcome.FIRED,
        payload=None,
        resolved_at=None,
        resolved_number=0,
    )


def make_snapshot(*waits: Wait) -> Snapshot:
    return Snapshot(
        id="snapshot-1",
        run_id="run-1",
        run_name=None,
        workflow="w",
        reason="event",
        entry_number=1,
        created_at=AT,
        waits=waits,
        spent=False,
        run_status="suspended",
    )


def test_wait_is_chosen_by_key_by_name_or_because_it_is_the_only_one() -> None:
    news, other = make_wait("news#1", WaitKind.EVENT), make_wait("other#1", WaitKind.EVENT)
    done = make_wait("done#1", WaitKind.EVENT, is_open=False)

    assert news is choose(make_snapshot(news, other), "news#1")
    assert other is choose(make_snapshot(news, other), "other")
    assert news is choose(make_snapshot(done, news), None)


def test_hold_comes_before_the_other_waits() -> None:
    hold = make_wait("!operator#1", WaitKind.OPERATOR)

    assert hold is choose(make_snapshot(make_wait("news#1", WaitKind.EVENT), hold), None)


def test_wait_that_is_not_there_or_not_the_only_one_is_refused() -> None:
    news, again = make_wait("news#1", WaitKind.EVENT), make_wait("news#2", WaitKind.EVENT)

    with pytest.raises(WaitNotFound):
        choose(make_snapshot(news), "other")
    with pytest.raises(WaitNotFound):
        choose(make_snapshot(news, again), "news")
    with pytest.raises(WaitNotFound):
        choose(make_snapshot(), None)
    with pytest.raises(WaitAmbiguous):
        choose(make_snapshot(news, again), None)


@pytest.mark.parametrize(
    ("kind", "value", "has_value", "outcome", "payload"),
    [
        (WaitKind.TIMER, None, False, WaitOutcome.FIRED, None),
        (WaitKind.RESOURCE, 1, True, WaitOutcome.FIRED, None),
        (WaitKind.OPERATOR, None, False, WaitOutcome.ANSWERED, None),
        (WaitKind.EVENT, None, True, WaitOutcome.ANSWERED, None),
        (WaitKind.INPUT, "a", True, WaitOutcome.ANSWERED, "a"),
        (WaitKind.DECISION, {"decision": "again"}, True, WaitOutcome.ANSWERED, None),
        (WaitKind.VERSION, {"action": "accept"}, True, WaitOutcome.ANSWERED, None),
    ],
)
def test_answer_is_recorded_by_the_kind_of_wait(
    kind: WaitKind, value: Any, has_value: bool, outcome: WaitOutcome, payload: Any
) -> None:
    answer = decide("run-1", make_wait("w#1", kind), value, has_value=has_value)

    assert outcome == answer.outcome
    assert answer.payload == (value if kind in {WaitKind.DECISION, WaitKind.VERSION} else payload)


@pytest.mark.parametrize("kind", [WaitKind.EVENT, WaitKind.INPUT])
@pytest.mark.parametrize("show", [None, {"prompt": "Where to?"}])
def test_value_that_is_needed_is_asked_for(kind: WaitKind, show: Any) -> None:
    with pytest.raises(AnswerNeeded) as needed:
        decide("run-1", make_wait("w#1", kind, show=show), None, has_value=False)

    assert ("Where to?" if show else "payload") in str(needed.value)


@pytest.mark.parametrize("kind", [WaitKind.DECISION, WaitKind.VERSION])
def test_choice_is_one_of_the_choices_and_nothing_else(kind: WaitKind) -> None:
    wait = make_wait("w#1", kind)
    right = {"decision": "fail"} if kind is WaitKind.DECISION else {"action": "continue"}

    with pytest.raises(AnswerNeeded):
        decide("run-1", wait, None, has_value=False)
    for wrong in ("again", {"decision": "perhaps", "action": "perhaps"}, {**right, "why": 1}):
        with pytest.raises(InvalidInput):
            decide("run-1", wait, wrong, has_value=True)


@pytest.mark.parametrize("kind", [WaitKind.APPROVAL, WaitKind.CHILD])
def test_wait_that_is_answered_in_another_way_says_how(kind: WaitKind) -> None:
    with pytest.raises(WaitNotAnswerable):
        decide("run-1", make_wait("w#1", kind), None, has_value=False)


def test_every_kind_of_wait_has_its_answer() -> None:
    for kind in WaitKind:
        try:
            decide("run-1", make_wait("w#1", kind), None, has_value=False)
        except (AnswerNeeded, WaitNotAnswerable):
            continue


def test_input_that_does_not_fit_names_each_fault() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"b": {"type": "integer"}}}
    wait = make_wait("w#1", WaitKind.INPUT, show={"prompt": "?", "schema": schema})

    with pytest.raises(InvalidInput) as refused:
        decide("run-1", wait, {"b": "x"}, has_value=True)

    assert {"/input", "/input/b"} == {fault.where for fault in refused.value.faults}


def test_faults_of_an_input_that_is_wrong_everywhere_are_bounded() -> None:
    name = "n" * 2 * FAULT_CHARACTERS_MAX
    schema = {"additionalProperties": {"items": {"type": "integer"}}}

    with pytest.raises(InvalidInput) as refused:
        check_schema(schema, {name: [name] * (FAULTS_MAX + 1)}, what="It does not fit", at="")

    faults = refused.value.faults
    assert len(faults) == FAULTS_MAX
    assert all(len(one.where) <= FAULT_CHARACTERS_MAX + 3 for one in faults)
    assert all(len(one.what) <= FAULT_CHARACTERS_MAX + 3 for one in faults)
    assert "is not of type 'integer'" in faults[0].what


async def test_large_value_is_checked_in_a_thread() -> None:
    here = threading.get_ident()

    small = await checked("x", threading.get_ident)
    large = await checked("x" * CHECKED_AT_ONCE_BYTES_MAX, threading.get_ident)

    assert small == here
    assert large != here
