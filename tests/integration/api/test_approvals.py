"""Approvals, rules and the inbox over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.api.conftest import Answer, Daemon
from tests.integration.api.test_documents import check

PATH = "/api/v1/approvals"


async def start(daemon: Daemon, workflow: str, value: Any = None) -> str:
    """Start a run and wait until it waits for somebody."""
    answer = await daemon.ask(
        "POST",
        "/api/v1/runs",
        json={"workflow": workflow, "input": value},
        headers={"Prefer": "wait=5"},
    )
    assert answer.json["status"] == "suspended", answer.text
    run_id: str = answer.json["run_id"]
    return run_id


async def pending(daemon: Daemon, run_id: str) -> dict[str, Any]:
    answer = await daemon.ask("GET", f"{PATH}?run_id={run_id}&status=pending")
    (found,) = answer.json["approvals"]
    approval: dict[str, Any] = found
    return approval


async def decide(daemon: Daemon, approval: dict[str, Any], **body: Any) -> Answer:
    return await daemon.ask("POST", approval["links"]["decide"], json=body)


async def output_of(daemon: Daemon, run_id: str) -> Any:
    answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=5"})
    assert answer.json["status"] == "completed", answer.text
    return answer.json["output"]


async def test_an_approval_says_who_asks_what_and_until_when(daemon: Daemon) -> None:
    run_id = await start(daemon, "ships", {"total": 12})

    approval = await pending(daemon, run_id)

    assert approval["question"] == "Ship it?"
    assert approval["show"] == {"total": 12}
    assert (approval["risk"], approval["status"], approval["kind"]) == (
        "low",
        "pending",
        "question",
    )
    assert (approval["asked_by"], approval["workflow"], approval["wait"]) == (
        "local",
        "ships",
        "ship#1",
    )
    assert approval["expires_at"] > approval["opened_at"]
    assert approval["on_expiry"] == "deny"
    assert (await daemon.ask("GET", approval["links"]["self"])).json == approval


async def test_a_decision_lets_the_run_go_on_and_names_who_has_decided(daemon: Daemon) -> None:
    run_id = await start(daemon, "ships", {"total": 12})

    decided = await decide(
        daemon, await pending(daemon, run_id), decision="approve", comment="good", value=10
    )

    assert (decided.status, decided.json["status"]) == (200, "approved")
    assert (decided.json["decided_by"], decided.json["value"]) == ("local", 10)
    assert await output_of(daemon, run_id) == {
        "approved": True,
        "value": 10,
        "comment": "good",
        "by": "local",
    }


async def test_a_second_decision_is_told_who_was_faster(daemon: Daemon) -> None:
    approval = await pending(daemon, await start(daemon, "ships", {}))
    await decide(daemon, approval, decision="deny")

    second = await decide(daemon, approval, decision="approve")

    assert (second.status, second.json["code"]) == (409, "approval_decided")
    assert (second.json["decision"], second.json["decided_by"]) == ("denied", "local")
    assert second.json["links"]["approval"] == approval["links"]["self"]


async def test_of_twenty_who_decide_at_once_one_wins(daemon: Daemon) -> None:
    approval = await pending(daemon, await start(daemon, "ships", {}))

    answers = await asyncio.gather(
        *(decide(daemon, approval, decision="approve", comment=str(i)) for i in range(20))
    )

    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    (winner,) = [answer for answer in answers if answer.status == 200]
    shown = await daemon.ask("GET", approval["links"]["self"])
    assert shown.json["comment"] == winner.json["comment"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"decision": "approve", "value": "ten"}, "/value"),
        ({"decision": "deny", "value": 10}, "/value"),
        ({"decision": "answer", "value": 10}, "/decision"),
        ({"decision": "deny", "always": {}}, "/always"),
        (
            {"decision": "approve", "always": {"where": {"total": {"above": 3}}}},
            "/always/where/total",
        ),
        (
            {"decision": "approve", "always": {"expires_at": "2020-01-01T00:00:00Z"}},
            "/always/expires_at",
        ),
        ({"decision": "approve", "comment": "x" * 5000}, "/comment"),
        ({"decision": "perhaps"}, "/decision"),
        ({}, "/decision"),
    ],
)
async def test_a_decision_that_does_not_fit_decides_nothing(
    daemon: Daemon, body: dict[str, Any], pointer: str
) -> None:
    run_id = await start(daemon, "ships", {})
    approval = await pending(daemon, run_id)

    answer = await decide(daemon, approval, **body)

    assert answer.status == 422
    assert pointer in [fault["pointer"] for fault in answer.json["errors"]]
    assert (await pending(daemon, run_id))["status"] == "pending"


async def test_resuming_past_an_approval_names_its_address(daemon: Daemon) -> None:
    run_id = await start(daemon, "ships", {})
    approval = await pending(daemon, run_id)
    run = await daemon.ask("GET", f"/api/v1/runs/{run_id}")

    answer = await daemon.ask(
        "POST",
        "/api/v1/workflows/resume",
        json={"snapshot_id": run.json["snapshot_id"], "input": True},
    )

    assert (answer.status, answer.json["code"]) == (409, "wait_not_answerable")
    assert answer.json["links"]["approval"] == approval["links"]["self"]
    assert approval["id"] in answer.json["hint"]


async def test_a_rule_made_of_a_decision_spares_the_next_question(daemon: Daemon) -> None:
    first = await pending(daemon, await start(daemon, "ships", {"total": 12}))
    decided = await decide(
        daemon,
        first,
        decision="approve",
        always={"where": {"total": {"le": 100}}, "note": "small ones"},
    )

    answer = await daemon.ask(
        "POST",
        "/api/v1/runs",
        json={"workflow": "ships", "input": {"total": 99}},
        headers={"Prefer": "wait=5"},
    )
    dear = await pending(daemon, await start(daemon, "ships", {"total": 101}))

    number = decided.json["made_rule_id"]
    assert answer.json["output"]["by"] == f"rule {number}"
    listed = await daemon.ask("GET", f"{PATH}?run_id={answer.json['run_id']}")
    (record,) = listed.json["approvals"]
    assert (record["status"], record["rule_id"], record["comment"]) == (
        "approved",
        number,
        "small ones",
    )
    assert dear["status"] == "pending"
    (rule,) = (await daemon.ask("GET", f"{PATH}/rules")).json["rules"]
    assert (rule["rule_id"], rule["workflow"], rule["name"], rule["uses"]) == (
        number,
        "ships",
        "ship",
        1,
    )
    assert (rule["approval_id"], rule["made_by"]) == (first["id"], "local")


async def test_a_deleted_rule_allows_nothing_any_more(daemon: Daemon) -> None:
    made = await daemon.ask("POST", f"{PATH}/rules", json={"workflow": "ships"})
    assert made.status == 201

    deleted = await daemon.ask("DELETE", made.headers["Location"])
    again = await daemon.ask("DELETE", made.headers["Location"])

    assert (deleted.status, again.status) == (200, 404)
    assert (await pending(daemon, await start(daemon, "ships", {})))["status"] == "pending"
    assert (await daemon.ask("DELETE", f"{PATH}/rules/x")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"where": {}, "risk_max": "high", "note": "all of it"},
        {"workflow": "ships", "risk_max": "none"},
        {"name": ""},
        {"name": "a\nb"},
        {"question": "x" * 257},
        {"where": {"a..b": 1}},
        {"where": {str(i): i for i in range(17)}},
        {"workflow": "ships", "expires_at": "2020-01-01T00:00:00Z"},
        {"workflow": "ships", "other": 1},
    ],
)
async def test_a_rule_that_cannot_be_used_is_refused(daemon: Daemon, body: dict[str, Any]) -> None:
    answer = await daemon.ask("POST", f"{PATH}/rules", json=body)

    assert answer.status == 422
    assert answer.json["errors"]
    assert (await daemon.ask("GET", f"{PATH}/rules")).json["rules"] == []


async def test_a_rule_for_all_workflows_is_made_when_it_says_so(daemon: Daemon) -> None:
    made = await daemon.ask("POST", f"{PATH}/rules", json={"workflow": "*"})

    assert made.status == 201
    assert made.json["workflow"] is None


async def test_an_input_is_answered_where_approvals_are_decided(daemon: Daemon) -> None:
    run_id = await start(daemon, "how-many")
    asked = await pending(daemon, run_id)

    refused = await decide(daemon, asked, decision="answer", value="many")
    missing = await decide(daemon, asked, decision="answer")
    approve = await decide(daemon, asked, decision="approve")
    answered = await decide(daemon, asked, decision="answer", value=3)

    assert (asked["kind"], asked["question"]) == ("input", "How many?")
    assert [refused.status, missing.status, approve.status] == [422, 422, 422]
    assert (answered.json["status"], answered.json["value"]) == ("answered", 3)
    assert await output_of(daemon, run_id) == 3


async def test_an_input_that_is_resumed_is_recorded_with_who_has_answered(daemon: Daemon) -> None:
    run_id = await start(daemon, "how-many")
    asked = await pending(daemon, run_id)
    run = await daemon.ask("GET", f"/api/v1/runs/{run_id}")

    await daemon.ask(
        "POST",
        "/api/v1/workflows/resume",
        json={"snapshot_id": run.json["snapshot_id"], "input": 4},
    )

    shown = (await daemon.ask("GET", asked["links"]["self"])).json
    assert (shown["status"], shown["value"], shown["decided_by"]) == ("answered", 4, "local")
    assert (await decide(daemon, asked, decision="answer", value=5)).status == 409


async def test_the_inbox_has_all_that_waits_for_people(daemon: Daemon) -> None:
    ships = await start(daemon, "ships", {})
    counts = await start(daemon, "how-many")
    await start(daemon, "listens")

    answer = await daemon.ask("GET", "/api/v1/inbox")

    found = [(item["kind"], item["run_id"]) for item in answer.json["inbox"]]
    assert found == [("input", counts), ("approval", ships)]
    assert all(item["links"]["decide"] for item in answer.json["inbox"])
    await decide(daemon, await pending(daemon, ships), decision="deny")
    left = (await daemon.ask("GET", "/api/v1/inbox")).json["inbox"]
    assert [item["run_id"] for item in left] == [counts]


async def test_a_cancelled_run_takes_its_question_back(daemon: Daemon) -> None:
    run_id = await start(daemon, "ships", {})
    approval = await pending(daemon, run_id)

    await daemon.ask("POST", f"/api/v1/runs/{run_id}/cancel")

    assert (await daemon.ask("GET", approval["links"]["self"])).json["status"] == "cancelled"
    refused = await decide(daemon, approval, decision="approve")
    assert (refused.status, refused.json["decision"]) == (409, "cancelled")


async def test_lists_are_filtered_and_paged(daemon: Daemon) -> None:
    runs = [await start(daemon, "ships", {}) for _ in range(3)]
    await start(daemon, "how-many")
    await decide(daemon, await pending(daemon, runs[0]), decision="deny")

    async def ids(query: str) -> list[str]:
        answer = await daemon.ask("GET", f"{PATH}?{query}")
        assert answer.status == 200, answer.text
        return [approval["run_id"] for approval in answer.json["approvals"]]

    assert await ids("status=pending&workflow=ships") == [runs[2], runs[1]]
    assert await ids("status=denied") == [runs[0]]
    assert await ids("status=denied&status=pending&kind=question") == runs[::-1]
    assert await ids("workflow=ships&risk=low&status=denied") == [runs[0]]
    assert await ids("risk=high") == []
    first = await daemon.ask("GET", f"{PATH}?limit=3")
    rest = await daemon.ask("GET", f"{PATH}?limit=3&cursor={first.json['next_cursor']}")
    assert [len(first.json["approvals"]), len(rest.json["approvals"])] == [3, 1]
    assert rest.json["next_cursor"] is None


async def test_what_is_unknown_is_not_found(daemon: Daemon) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"

    for path in (unknown, "x"):
        assert (await daemon.ask("GET", f"{PATH}/{path}")).status == 404
        answer = await daemon.ask("POST", f"{PATH}/{path}/decide", json={"decision": "deny"})
        assert (answer.status, answer.json["code"]) == (404, "approval_not_found")


async def test_answers_have_the_documented_shapes(daemon: Daemon) -> None:
    document = (await daemon.ask("GET", "/openapi.json")).json
    approval = await pending(daemon, await start(daemon, "ships", {"total": 1}))
    item = (await daemon.ask("GET", "/api/v1/inbox")).json["inbox"][0]
    decided = (await decide(daemon, approval, decision="approve", always={})).json
    rule = (await daemon.ask("GET", f"{PATH}/rules")).json["rules"][0]

    for value, shape in (
        (approval, "ApprovalAnswer"),
        (item, "InboxItemAnswer"),
        (decided, "DecidedAnswer"),
        (rule, "RuleAnswer"),
    ):
        check(value, {"$ref": f"#/components/schemas/{shape}"}, document)
