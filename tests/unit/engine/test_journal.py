from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agency.core import json
from agency.domain.entry import Entry, EntryKind
from agency.domain.wait import NewWait, Wait, WaitKind, WaitOutcome
from agency.engine.journal import JournalView, branch_of, first_voids_of
from agency.engine.suspension import Mismatch
from agency.ports.store import Journal, Void

AT = datetime(2026, 1, 1, tzinfo=UTC)
ANSWERED = WaitOutcome.ANSWERED


def entry(key: str, kind: EntryKind = EntryKind.STEP, body: object = None) -> Entry:
    return Entry(key, kind, json.encode(body), AT)


def view(*entries: Entry) -> JournalView:
    return JournalView(Journal(entries, ()))


def test_branch_of_a_key_is_its_path() -> None:
    assert "" == branch_of("quote#1")
    assert "gather#1.a/first#2.x/" == branch_of("gather#1.a/first#2.x/charge#1")


def test_recorded_keys_are_met_in_order_in_each_branch() -> None:
    journal = view(entry("b#1.x/one#1"), entry("one#1"), entry("two#1"), entry("b#1.x/two#1"))

    assert ["one#1", "two#1"] == [
        found.key for key in ("one#1", "two#1") if (found := journal.meet("", key))
    ]
    assert journal.meet("", "three#1") is None
    assert journal.at_frontier("")
    assert not journal.at_frontier("b#1.x/")
    assert journal.meet("other/", "one#1") is None


def test_call_that_is_not_the_next_recorded_one_is_a_mismatch() -> None:
    journal = view(entry("one#1"), entry("two#1"))

    with pytest.raises(Mismatch) as mismatch:
        journal.meet("", "two#1")

    assert {"branch": "", "recorded": "one#1", "asked": "two#1"} == mismatch.value.difference


def test_tries_intents_and_registered_work_are_found_without_order() -> None:
    journal = view(
        entry("pay#1!1", EntryKind.INTENT),
        entry("pay#1~1", EntryKind.ATTEMPT, {"code": "a"}),
        entry("pay#1!2", EntryKind.INTENT),
        entry("at_end#1", EntryKind.AT_END),
    )

    assert [{"code": "a"}] == list(journal.tries("pay#1"))
    assert 2 == journal.intents("pay#1")
    assert journal.find("at_end#1") is not None
    assert journal.meet("", "pay#1") is None
    assert journal.unmet() is None


def test_key_that_was_never_asked_for_is_unmet_but_not_in_a_lost_branch() -> None:
    journal = view(
        entry("first#1.slow/step#1"),
        entry("first#1", EntryKind.WINNER, {"name": "fast"}),
        entry("first#1.fast/step#1"),
        entry("!end/clean#1"),
    )

    assert "first#1.fast/step#1" == journal.unmet()
    journal.meet("first#1.fast/", "first#1.fast/step#1")
    assert journal.unmet() is None


def numbered(*entries: Entry) -> list[Entry]:
    return [replace(one, number=number) for number, one in enumerate(entries, 1)]


def test_what_was_recorded_after_a_void_is_found_by_its_key_and_not_missed() -> None:
    entries = numbered(
        entry("a#1"),
        entry("gather#1.x/a#1"),
        entry("bad#1^3", EntryKind.FAILURE),
        entry("tell#1"),
        entry("other#1.y/a#1"),
        entry("bad#1"),
    )
    voids = [Void(one.key, one.kind, one.number) for one in entries if "^" in one.key]
    journal = JournalView(Journal([one for one in entries if "^" not in one.key], (), voids))

    assert journal.meet("", "a#1") is not None
    assert "gather#1.x/a#1" == journal.unmet()
    assert journal.meet("gather#1.x/", "gather#1.x/a#1") is not None
    assert journal.meet("", "bad#1") is not None
    assert journal.meet("", "new#1") is None
    assert journal.unmet() is None
    assert journal.meet("", "tell#1") is not None
    assert journal.meet("", "tell#1") is None
    assert 4 == journal.met


def test_void_in_a_branch_counts_for_those_that_wait_for_it_only() -> None:
    voids = [Void("g#1.x/h#1.y/bad#1^7", EntryKind.FAILURE, 7), Void("late#1^9", EntryKind.WAIT, 9)]

    first = first_voids_of([*voids, Void("g#1.z/try#1~1^2", EntryKind.ATTEMPT, 2)])

    assert {"": 7, "g#1.x/": 7, "g#1.x/h#1.y/": 7} == first


def test_strict_order_holds_up_to_the_void() -> None:
    entries = numbered(entry("a#1"), entry("b#1"), entry("c#1"))
    journal = JournalView(Journal(entries, (), [Void("x#1^3", EntryKind.FAILURE, 3)]))

    with pytest.raises(Mismatch):
        journal.meet("", "b#1")
    assert journal.meet("", "a#1") is not None
    assert journal.meet("", "b#1") is not None


def test_empty_journal_is_all_frontier() -> None:
    journal = JournalView(None)

    assert journal.at_frontier("")
    assert journal.unmet() is None
    assert 0 == journal.intents("x#1")


def make_wait(key: str, outcome: WaitOutcome | None) -> Wait:
    return Wait(
        key=key,
        kind=WaitKind.EVENT,
        name="news",
        due_at=None,
        show=None,
        target="",
        opened_at=AT,
        outcome=outcome,
        payload=None,
        resolved_at=None,
        resolved_number=0,
    )


def test_wait_that_is_opened_twice_stays_as_it_is() -> None:
    journal = JournalView(Journal((), (make_wait("a#1", None), make_wait("b#1", ANSWERED))))
    for key in ("a#1", "b#1", "c#1"):
        journal.open_wait(NewWait(key=key, kind=WaitKind.EVENT, name="news"), AT)

    assert ["a#1"] == journal.left_open
    assert ["a#1", "c#1"] == journal.open_keys()


def test_intent_is_settled_by_an_outcome_or_by_its_own_failed_try() -> None:
    journal = view(
        entry("in-doubt#1!1", EntryKind.INTENT),
        entry("tried#1!1", EntryKind.INTENT),
        entry("tried#1~1", EntryKind.ATTEMPT),
        entry("again#1!1", EntryKind.INTENT),
        entry("again#1~1", EntryKind.ATTEMPT),
        entry("again#1!2", EntryKind.INTENT),
        entry("done#1!1", EntryKind.INTENT),
        entry("done#1"),
    )

    assert [("in-doubt#1", 1), ("again#1", 2)] == list(journal.unsettled())


def test_what_was_recorded_since_is_taken_in() -> None:
    journal = view(entry("one#1"))
    journal.absorb(Journal((entry("one#1"), entry("two#1")), (make_wait("a#1", ANSWERED),)))

    assert journal.find("two#1") is not None
    assert ANSWERED is journal.waits["a#1"].outcome
    journal.add(entry("one#1~1", EntryKind.ATTEMPT))
    assert ["one#1", "one#1~1"] == journal.belonging("one#1")


def test_loser_of_a_race_decided_in_this_life_is_not_missed() -> None:
    journal = view(entry("first#1.a/one#1"), entry("first#1.b/one#1"))
    assert 0 == journal.met
    journal.meet("first#1.b/", "first#1.b/one#1")

    assert "first#1.a/one#1" == journal.unmet()
    journal.decide("first#1", "b")
    assert journal.unmet() is None
    assert 1 == journal.met


def test_work_for_the_end_is_registered_until_it_is_done() -> None:
    journal = view(
        entry("at_end#1", EntryKind.AT_END),
        entry("at_end#2", EntryKind.AT_END),
        entry("!end/at_end#1"),
    )

    assert ["at_end#2"] == list(journal.registered())
    assert journal.unmet() is None
