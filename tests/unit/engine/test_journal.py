from datetime import UTC, datetime

import pytest

from agency.core import json
from agency.domain.entry import Entry, EntryKind
from agency.engine.journal import JournalView, branch_of
from agency.engine.suspension import Mismatch
from agency.ports.store import Journal

AT = datetime(2026, 1, 1, tzinfo=UTC)


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


def test_empty_journal_is_all_frontier() -> None:
    journal = JournalView(None)

    assert journal.at_frontier("")
    assert journal.unmet() is None
    assert 0 == journal.intents("x#1")
