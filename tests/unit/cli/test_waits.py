from __future__ import annotations

import shlex
from typing import Any, cast

import pytest

from agency.cli.waits import describe, how_to_answer, needs_somebody, tell
from agency.documents import RunDocument, WaitDocument
from agency.domain.wait import WaitKind
from tests.unit.cli.playing import RUN_ID, SNAPSHOT_ID, run_document, wait_document


def suspended(*waits: dict[str, Any]) -> RunDocument:
    document = run_document(status="suspended", waits=list(waits), snapshot_id=SNAPSHOT_ID)
    return cast(RunDocument, document)


def wait(kind: str, name: str = "paid", **members: Any) -> WaitDocument:
    return cast(WaitDocument, wait_document(kind, name, **members))


@pytest.mark.parametrize("kind", WaitKind)
def test_every_kind_of_wait_is_told_in_its_own_words(kind: WaitKind) -> None:
    assert "None" not in describe(wait(kind, due_at="2026-01-01T00:00:00Z"))
    assert describe(wait(kind)) != describe(wait("of_the_future"))


@pytest.mark.parametrize("kind", WaitKind)
def test_only_waits_that_end_by_themselves_need_nobody(kind: WaitKind) -> None:
    run = suspended(wait_document(kind, "paid"))

    assert needs_somebody(run) == (kind not in {"timer", "child", "resource"})


def test_run_that_may_go_on_by_itself_needs_nobody_unless_it_is_held() -> None:
    run = suspended(wait_document("event", "paid"), wait_document("timer", "sleep"))

    assert not needs_somebody(run)
    assert needs_somebody({**run, "hold": "look first"})


def test_question_beside_what_ends_by_itself_needs_somebody() -> None:
    question = wait_document("input", "address")
    run = suspended(question, wait_document("timer", "sleep"))

    assert needs_somebody(run)
    # The timer may end first, and the snapshot of now is spent then.
    assert shlex.split(how_to_answer(run, cast(WaitDocument, question))) == (
        ["agency", "runs", "resume", RUN_ID, "--wait", "address#1", "--input", "JSON"]
    )


def test_reasons_are_told() -> None:
    away = wait("resource", "ollama", show={"reason": "connection refused"})
    late = wait("timer", "quote", show={"retry": 2}, due_at="2026-01-01T00:00:00Z")

    assert describe(away) == "it waits for 'ollama' to come back (connection refused)"
    assert describe(late) == "it tries 'quote' again at 2026-01-01T00:00:00Z"


def test_difference_of_code_and_journal_is_told() -> None:
    changed = wait("version", "order", show={"recorded": "add#1", "asked": "create#1"})

    assert describe(changed) == (
        "the code of 'order' does not fit what is recorded (it has 'add#1', the code asks for "
        "'create#1'), and somebody has to choose"
    )


def test_workflow_that_is_not_loaded_is_told() -> None:
    missing = wait("version", "order", show={"recorded": "order", "version_now": None})

    assert "is not loaded" in describe(missing)


def test_prompt_is_shown_to_whoever_is_asked() -> None:
    asked = wait("input", "address", show={"prompt": "Where to?"})

    assert describe(asked) == "it asks: Where to?"


def test_question_is_told_without_a_second_mark_at_its_end() -> None:
    run = suspended(wait_document("input", "address", show={"prompt": "Where to?"}))

    assert tell(run)[0] == f"The run {RUN_ID} is suspended: it asks: Where to?"


def test_command_that_answers_can_be_typed() -> None:
    event = wait_document("event", "it's paid")
    question = wait_document("input", "address")
    run = suspended(event, question)

    assert shlex.split(how_to_answer(run, cast(WaitDocument, event))) == (
        ["agency", "runs", "send", RUN_ID, "it's paid", "--payload", "JSON"]
    )
    assert shlex.split(how_to_answer(run, cast(WaitDocument, question))) == (
        ["agency", "snapshots", "resume", SNAPSHOT_ID, "--wait", "address#1", "--input", "JSON"]
    )


def test_wait_is_named_only_where_there_are_several() -> None:
    run = suspended(wait_document("operator", "look first"))

    assert tell(run) == [
        f"The run {RUN_ID} is suspended: it is held by an operator: look first.",
        f"  agency snapshots resume {SNAPSHOT_ID}",
    ]
