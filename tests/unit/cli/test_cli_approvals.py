"""``agency approvals`` and ``agency topics``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.playing import (
    RUN_ID,
    Agency,
    PlayedDaemon,
    Reply,
    problem,
    run_document,
    wait_document,
)

ID = "0190c5b2-9000-8a52-b8f4-5d2c1f0e9a33"
PATH = "/api/v1/approvals"
ONE = f"{PATH}/{ID}"
DECIDE = f"{ONE}/decide"
RULES = f"{PATH}/rules"
AT = "2026-01-01T00:00:00.000000Z"


def approval(**members: Any) -> dict[str, Any]:
    return {
        "approval_id": ID,
        "kind": "question",
        "status": "pending",
        "risk": "high",
        "run_id": RUN_ID,
        "run_name": None,
        "workflow": "order",
        "asked_by": "ada",
        "wait": "approve#1",
        "name": "approve",
        "question": "Ship it?",
        "show": {"total": 12},
        "schema": None,
        "opened_at": AT,
        "expires_at": None,
        "on_expiry": "deny",
        "decided_at": None,
        "decided_by": None,
        "rule_id": None,
        "comment": "",
        "value": None,
        **members,
    }


def decided(**members: Any) -> Reply:
    return Reply(approval(**{"status": "approved", "made_rule_id": None, **members}))


def page(*found: dict[str, Any], cursor: str | None = None) -> Reply:
    return Reply({"approvals": list(found), "next_cursor": cursor})


def test_list_shows_what_waits(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PATH, page(approval(), cursor="c"))

    ended = agency("approvals", "ls", "--limit", "1")

    assert ended.code == 0
    assert ended.out == f"{ID}\torder\tquestion\thigh\tpending\t{AT}\tShip it?\n"
    assert "there are more" in ended.err
    assert daemon.seen[0].path == f"{PATH}?status=pending&limit=1"


def test_list_is_filtered(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PATH, page())

    agency("approvals", "ls", "--status", "denied", "--workflow", "order", "--risk", "high")
    agency("approvals", "ls", "--all", "--run", RUN_ID)

    assert [seen.path for seen in daemon.seen] == [
        f"{PATH}?status=denied&risk=high&workflow=order&limit=20",
        f"{PATH}?run_id={RUN_ID}&limit=20",
    ]


def test_filters_that_contradict_are_refused(agency: Agency) -> None:
    assert agency("approvals", "ls", "--all", "--status", "denied").code == 2


def test_approval_is_shown_with_what_to_type(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", ONE, Reply(approval(expires_at=AT)))

    ended = agency("approvals", "show", ID)

    assert "question:  Ship it?" in ended.out
    assert 'shown:     {"total":12}' in ended.out
    assert f"expires:   {AT}, then: deny" in ended.out
    assert ended.out.endswith(f"agency approvals approve {ID}\n")


def test_decided_approval_is_shown_with_who_has_decided(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on(
        "GET",
        ONE,
        Reply(approval(status="denied", decided_by="bob", decided_at=AT, comment="no", value=3)),
    )

    ended = agency("approvals", "show", ID)

    for line in ("by:        bob", "comment:   no", "edited:    3"):
        assert line in ended.out
    assert "agency approvals approve" not in ended.out


def test_approve_sends_comment_and_value(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", DECIDE, decided())

    ended = agency("approvals", "approve", ID, "--comment", "good", "--value", "null")

    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"The approval {ID} is approved.\n"
    assert daemon.seen[0].body == {"decision": "approve", "comment": "good", "value": None}


@pytest.mark.parametrize(
    ("options", "always"),
    [
        (["--always"], {}),
        (["--where", '{"total": 12}'], {"where": {"total": 12}}),
        (["--always", "--question", "Ship *"], {"question": "Ship *"}),
    ],
)
def test_approve_makes_a_rule(
    agency: Agency, daemon: PlayedDaemon, options: list[str], always: dict[str, Any]
) -> None:
    daemon.on("POST", DECIDE, decided(made_rule_id=3))

    ended = agency("approvals", "approve", ID, *options)

    assert daemon.seen[0].body == {"decision": "approve", "always": always}
    assert "agency approvals rules rm 3" in ended.err


def test_deny_and_answer(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", DECIDE, decided(status="denied"))

    denied = agency("approvals", "deny", ID, "--json")
    agency("approvals", "answer", ID, "--value", "-", stdin="[1]")

    assert denied.json["status"] == "denied"
    assert [seen.body for seen in daemon.seen] == [
        {"decision": "deny"},
        {"decision": "answer", "value": [1]},
    ]


def test_second_decision_is_a_conflict(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", DECIDE, problem(409, "approval_decided", decided_by="bob"))

    ended = agency("approvals", "approve", ID, "--json")

    assert ended.code == 8
    assert (ended.json["error"]["code"], ended.json["error"]["decided_by"]) == (
        "approval_decided",
        "bob",
    )


def test_value_that_is_not_json_is_refused_before_it_is_sent(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    assert agency("approvals", "approve", ID, "--value", "{").code == 2
    assert daemon.seen == []


def test_inbox_shows_how_each_is_answered(agency: Agency, daemon: PlayedDaemon) -> None:
    item = {
        "kind": "approval",
        "run_id": RUN_ID,
        "run_name": None,
        "workflow": "order",
        "wait": "w",
        "name": "n",
        "show": {"prompt": "Ship it?"},
        "opened_at": AT,
        "due_at": None,
        "approval_id": ID,
        "risk": "low",
        "snapshot_id": None,
    }
    doubt = {**item, "kind": "decision", "approval_id": None, "snapshot_id": "s", "show": None}
    daemon.on("GET", "/api/v1/inbox", Reply({"inbox": [item, doubt], "next_cursor": None}))

    ended = agency("approvals", "inbox")

    assert ended.out == (f"approval\t{ID}\torder\t{AT}\tShip it?\ndecision\ts\torder\t{AT}\tn\n")


def test_rules_are_listed_made_and_deleted(agency: Agency, daemon: PlayedDaemon) -> None:
    rule = {
        "rule_id": 3,
        "workflow": None,
        "name": "*",
        "question": "*",
        "where": None,
        "risk_max": "low",
        "expires_at": None,
        "made_by": "ada",
        "made_at": AT,
        "note": "small",
        "uses": 2,
    }
    daemon.on("GET", RULES, Reply({"rules": [rule], "next_cursor": None}))
    daemon.on("POST", RULES, Reply(rule, 201))
    daemon.on("DELETE", f"{RULES}/3", Reply({"rule_id": 3, "deleted": True}))

    listed = agency("approvals", "rules", "ls")
    made = agency("approvals", "rules", "add", "--where", '{"a": 1}', "--risk", "low")
    deleted = agency("approvals", "rules", "rm", "3")

    assert listed.out == "3\t*\t*\t*\tlow\t2\tada\tsmall\n"
    assert made.out == "3\n"
    assert daemon.seen[1].body == {"where": {"a": 1}, "risk_max": "low"}
    assert (deleted.code, deleted.err) == (0, "The rule 3 is deleted.\n")
    assert agency("approvals", "rules", "rm", "x").code == 2


def test_suspended_run_says_how_to_approve(agency: Agency, daemon: PlayedDaemon) -> None:
    wait = wait_document("approval", "approve", show={"prompt": "Ship it?", "approval_id": ID})
    run = run_document(status="suspended", waits=[wait], snapshot_id="s")
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(run))

    ended = agency("runs", "show", RUN_ID)

    assert "it waits for an approval: Ship it?" in ended.out
    assert f"agency approvals approve {ID}" in ended.out


# --- topics --------------------------------------------------------------------------------


def test_event_is_sent_to_a_topic(agency: Agency, daemon: PlayedDaemon) -> None:
    sent = {"event_id": "e", "topic": "a/b", "name": "paid", "mode": "queue", "is_new": True}
    daemon.on("POST", "/api/v1/topics/a%2Fb/events", Reply(sent, 202))

    ended = agency("topics", "send", "a/b", "paid", "--payload", "[1]")
    wide = agency("topics", "send", "a/b", "--broadcast", "--keep", "1h", "--json")

    assert (ended.code, ended.out) == (0, "e\n")
    assert wide.json == sent
    assert [seen.body for seen in daemon.seen] == [
        {"payload": [1], "name": "paid"},
        {"payload": None, "mode": "broadcast", "keep_s": 3600},
    ]
    keys = [seen.headers["idempotency-key"] for seen in daemon.seen]
    assert len(set(keys)) == 2


def test_topics_are_listed_and_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    topic = {"topic": "t", "events": 1, "size_bytes": 5, "waits": 2}
    event = {
        "event_id": "e",
        "topic": "t",
        "name": "n",
        "mode": "queue",
        "payload": 1,
        "created_at": AT,
        "expires_at": AT,
        "is_taken": False,
        "is_spreading": False,
    }
    daemon.on("GET", "/api/v1/topics", Reply({"topics": [topic], "next_cursor": None}))
    daemon.on("GET", "/api/v1/topics/t", Reply(topic))
    daemon.on("GET", "/api/v1/topics/t/events", Reply({"events": [event], "next_cursor": None}))

    listed = agency("topics", "ls")
    shown = agency("topics", "show", "t")
    missing = agency("topics", "show", "u")

    assert listed.out == "t\t1\t5\t2\n"
    assert "waits:     2" in shown.out
    assert shown.out.endswith(f"e\tn\tqueue\tno\t{AT}\t{AT}\n")
    assert missing.code == 3
