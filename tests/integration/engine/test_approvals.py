"""Approvals, as authors ask for them and people decide them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import ApprovalDecision, Context, WaitTimedOut, workflow
from agency.domain.approval import Approval, ApprovalStatus, Risk
from agency.engine.approvals import DecideRequest, RuleRequest
from agency.errors import ApprovalDecided, InvalidInput, WaitNotAnswerable
from agency.ports.approval import ApprovalFilter
from tests.integration.engine.house import House, crashed, open_house


@dataclass
class Quote:
    total: int
    lines: list[str]


def shown(decision: ApprovalDecision) -> list[Any]:
    return [bool(decision), decision.value, decision.comment, decision.decided_by, decision.expired]


@workflow("ship")
async def ship(ctx: Context, total: int) -> list[Any]:
    return shown(await ctx.approve("Ship it?", show={"total": total}, name="ship"))


@workflow("edit")
async def edit(ctx: Context) -> dict[str, Any]:
    ok = await ctx.approve("Send it?", show=Quote(3, ["a"]), schema=Quote)
    assert isinstance(ok.value, Quote | None)
    return {"total": ok.value.total if ok.value else None, "ok": ok.approved}


async def of_run(house: House, run_id: str) -> list[Approval]:
    """Approvals of a run, oldest first."""
    which = ApprovalFilter(run_id=run_id)
    found = await house.engine.approvals.list(which, before=None, limit=99)
    return list(reversed(found))


async def asked(house: House, run_id: str) -> Approval:
    """The one open approval of a suspended run."""
    await house.suspended(run_id)
    (found,) = [one for one in await of_run(house, run_id) if one.status == "pending"]
    return found


async def decide(house: House, approval: Approval, decision: Any = "approve", **more: Any) -> None:
    request = DecideRequest(decision=decision, by=more.pop("by", "ada"), **more)
    await house.engine.approvals.decide(approval.id, request)


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_decision_reaches_the_code_that_has_asked(
    tmp_path: Path, linger_s: float, decision: str
) -> None:
    async with open_house(tmp_path, ship, linger_s=linger_s) as house:
        run_id = await house.start("ship", 12, principal="bob")
        approval = await asked(house, run_id)
        assert ("bob", "Ship it?", {"total": 12}) == (
            approval.asked_by,
            approval.question,
            approval.subject,
        )
        await decide(house, approval, decision, comment="hm")

        output = (await house.ended(run_id)).run.output

    assert [decision == "approve", None, "hm", "ada", False] == output


async def test_decision_survives_a_restart_on_either_side(tmp_path: Path) -> None:
    @workflow("two")
    async def two(ctx: Context) -> list[Any]:
        first = await ctx.approve("One?")
        second = await ctx.approve("Two?")
        return [shown(first), shown(second), first.decided_at == second.decided_at]

    async with open_house(tmp_path, two) as house:
        run_id = await house.start("two")
        await asked(house, run_id)
    async with open_house(tmp_path, two) as house:
        await decide(house, await asked(house, run_id), comment="1")
        await house.until(run_id, lambda d: [wait.key for wait in d.waits] == ["approve#2"])
    async with open_house(tmp_path, two) as house:
        await decide(house, await asked(house, run_id), "deny", comment="2")
        output = (await house.ended(run_id)).run.output

    assert [[True, None, "1", "ada", False], [False, None, "2", "ada", False], False] == output


async def test_edited_value_is_checked_and_typed(tmp_path: Path) -> None:
    async with open_house(tmp_path, edit) as house:
        run_id = await house.start("edit")
        approval = await asked(house, run_id)
        with pytest.raises(InvalidInput) as refused:
            await decide(house, approval, value={"total": "x", "lines": [1]}, has_value=True)
        assert {"/value/total", "/value/lines/0"} == {f.where for f in refused.value.faults}
        assert "pending" == (await house.engine.approvals.get(approval.id)).status

        await decide(house, approval, value={"total": 4, "lines": []}, has_value=True)

        assert {"total": 4, "ok": True} == (await house.ended(run_id)).run.output


async def test_value_that_nobody_has_edited_is_none(tmp_path: Path) -> None:
    async with open_house(tmp_path, edit) as house:
        run_id = await house.start("edit")
        await decide(house, await asked(house, run_id))

        assert {"total": None, "ok": True} == (await house.ended(run_id)).run.output


async def test_second_decision_names_who_was_faster(tmp_path: Path) -> None:
    async with open_house(tmp_path, ship) as house:
        approval = await asked(house, await house.start("ship", 1))
        results = await asyncio.gather(
            *(decide(house, approval, by=f"p{i}") for i in range(20)), return_exceptions=True
        )
        won = (await house.engine.approvals.get(approval.id)).decided_by

    refused = [result for result in results if isinstance(result, ApprovalDecided)]
    assert 19 == len(refused)
    assert {won} == {error.decided_by for error in refused}


@pytest.mark.parametrize(
    ("on_expiry", "output"),
    [
        ("deny", [False, None, "", None, True]),
        ("approve", [True, None, "", None, True]),
        ("fail", "timed out"),
    ],
)
async def test_what_nobody_decides_expires_in_the_way_that_was_asked_for(
    tmp_path: Path, on_expiry: Any, output: Any
) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            return shown(await ctx.approve("?", expires_s=0.05, on_expiry=on_expiry))
        except WaitTimedOut:
            return "timed out"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert output == (await house.ended(run_id)).run.output
        (approval,) = await of_run(house, run_id)

    assert (ApprovalStatus.EXPIRED, None) == (approval.status, approval.decided_by)


async def test_losing_approval_is_taken_back(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        won = await ctx.first(
            ok=ctx.approve("Now?", name="now"), late=ctx.sleep(timedelta(seconds=0.05))
        )
        await ctx.wait_event("go")
        return won.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["go"])
        (approval,) = await of_run(house, run_id)
        with pytest.raises(ApprovalDecided):
            await decide(house, approval)
        await house.runs.send(run_id, name="go", payload=None)
        assert "late" == (await house.ended(run_id)).run.output

    assert ApprovalStatus.CANCELLED is approval.status


async def test_approvals_beside_each_other_are_decided_one_by_one(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> dict[str, bool]:
        found = await ctx.gather(a=ctx.approve("A?"), b=ctx.approve("B?"))
        return {name: bool(decision) for name, decision in found.items()}

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        a, b = sorted(await of_run(house, run_id), key=lambda one: one.wait)
        await decide(house, b, "deny")
        await decide(house, a)

        assert {"a": True, "b": False} == (await house.ended(run_id)).run.output


async def test_cancelled_run_closes_its_approvals(tmp_path: Path) -> None:
    async with open_house(tmp_path, ship) as house:
        run_id = await house.start("ship", 1)
        approval = await asked(house, run_id)
        await house.runs.cancel(run_id)
        await house.ended(run_id)

        assert "cancelled" == (await house.engine.approvals.get(approval.id)).status


async def test_rule_answers_the_like_at_once_and_leaves_a_record(tmp_path: Path) -> None:
    async with open_house(tmp_path, ship) as house:
        first = await asked(house, await house.start("ship", 1))
        await decide(house, first, always=RuleRequest(where={"total": {"lt": 10}}, note="small"))

        small = await house.run("ship", 9)
        large = await house.start("ship", 10)
        (record,) = await of_run(house, small.run.id)
        await asked(house, large)
        (rule,) = await house.engine.approvals.rules(before=None, limit=9)

    assert [True, None, "small", f"rule {rule.number}", False] == small.run.output
    assert (ApprovalStatus.APPROVED, rule.number) == (record.status, record.rule)
    assert ("ship", "ship", Risk.MEDIUM, 1) == (
        rule.workflow,
        rule.name,
        rule.risk_max,
        rule.uses,
    )


async def test_rule_made_of_a_name_with_signs_is_for_that_name_only(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context, name: str) -> bool:
        return bool(await ctx.approve("?", name=name))

    async with open_house(tmp_path, w) as house:
        first = await asked(house, await house.start("w", "a*[b]?"))
        await decide(house, first, always=RuleRequest())

        assert True is (await house.run("w", "a*[b]?")).run.output
        await asked(house, await house.start("w", "aXbY"))


async def test_approval_is_not_answered_by_resuming(tmp_path: Path) -> None:
    async with open_house(tmp_path, ship) as house:
        run_id = await house.start("ship", 1)
        approval = await asked(house, run_id)

        with pytest.raises(WaitNotAnswerable) as refused:
            await house.resume(run_id, True)

    assert approval.id in refused.value.hint


@pytest.mark.parametrize(
    "ask",
    [
        {"question": ""},
        {"question": "x" * 5000},
        {"question": "a\x00b"},
        {"question": "?", "risk": "none"},
        {"question": "?", "on_expiry": "wait"},
        {"question": "?", "show": "x" * 70_000},
        {"question": "?", "show": object()},
        {"question": "?", "name": "a/b"},
    ],
)
async def test_what_cannot_be_asked_fails_the_run(tmp_path: Path, ask: dict[str, Any]) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.approve(**ask)

    async with open_house(tmp_path, w) as house:
        detail = await house.run("w")
        assert "failed" == detail.run.status
        assert [] == await of_run(house, detail.run.id)


async def test_approval_that_was_opened_survives_a_kill(tmp_path: Path) -> None:
    async with open_house(tmp_path / "a", ship) as house:
        run_id = await house.start("ship", 1)
        await asked(house, run_id)
        copy = crashed(tmp_path / "a", tmp_path / "b")

    async with open_house(copy, ship) as house:
        await decide(house, await asked(house, run_id))
        assert (await house.ended(run_id)).run.output[0] is True


async def test_message_to_a_session_answers_its_input_in_the_record(tmp_path: Path) -> None:
    @workflow("asks")
    async def asks(ctx: Context, message: dict[str, Any]) -> Any:
        return await ctx.input("Your name?")

    async with open_house(tmp_path, asks) as house:
        run_id = await house.start("asks", {"message": "hello"}, session_id="s")
        approval = await asked(house, run_id)
        await house.start("asks", {"message": "Ada"}, session_id="s", principal="eve")
        await house.ended(run_id)

        found = await house.engine.approvals.get(approval.id)

    assert ("answered", "Ada", "eve") == (found.status, found.value, found.decided_by)
