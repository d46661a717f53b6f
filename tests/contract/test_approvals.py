"""`ApprovalStore`: opened with their waits, decided once, closed with their waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.core.limits import RULES_ROWS_MAX
from agency.domain.approval import (
    Approval,
    ApprovalKind,
    ApprovalStatus,
    NewApproval,
    NewRule,
    OnExpiry,
    Risk,
)
from agency.domain.run import RunStatus
from agency.domain.wait import NewWait, WaitKind, WaitOutcome
from agency.errors import (
    ApprovalDecided,
    ApprovalNotFound,
    JournalKeyTaken,
    RuleNotFound,
    TooManyRules,
)
from agency.ports.approval import ApprovalFilter, Decided, NewDecision
from agency.ports.store import Store, Writes
from tests.contract.conftest import Opener
from tests.contract.making import (
    T0,
    answer,
    at,
    claim,
    end,
    finish,
    hold,
    ids,
    record,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for_event,
    waits_of,
)

PENDING = ApprovalFilter(statuses=frozenset({ApprovalStatus.PENDING}))
RULE = NewRule(
    workflow=None,
    name="*",
    question="*",
    where=None,
    risk_max=Risk.HIGH,
    expires_at=None,
    made_by="ada",
    note="why",
)


def ask(
    key: str = "ask", *, due_s: float | None = None, subject: Any = None, **more: Any
) -> NewWait:
    """A wait with an approval."""
    plain = NewApproval(
        id=new_id(), kind=ApprovalKind.QUESTION, question=f"May I {key}?", subject=subject
    )
    approval = replace(plain, **more)
    is_input = approval.kind is ApprovalKind.INPUT
    return NewWait(
        key=key,
        kind=WaitKind.INPUT if is_input else WaitKind.APPROVAL,
        name=key,
        due_at=None if due_s is None else at(due_s),
        show={"prompt": approval.question, "show": subject, "schema": {"type": "integer"}},
        approval=approval,
    )


def id_of(wait: NewWait) -> str:
    assert wait.approval is not None
    return wait.approval.id


async def decide(store: Store, wait: NewWait, *, by: str = "ada", **more: Any) -> Decided:
    decision = NewDecision(**{"status": ApprovalStatus.APPROVED, "by": by, **more})
    return await store.approvals.decide(id_of(wait), decision, now=at(5))


async def get(store: Store, wait: NewWait) -> Approval:
    return await store.approvals.get(id_of(wait))


async def listed(store: Store, **which: Any) -> list[str]:
    found = await store.approvals.list(ApprovalFilter(**which), before=None, limit=99)
    return [approval.wait for approval in found]


async def test_approval_is_opened_with_its_wait(store: Store) -> None:
    wait = ask(subject={"n": 1}, risk=Risk.HIGH, on_expiry=OnExpiry.FAIL, due_s=9)

    claimed, _ = await start_suspended(store, wait, principal="bob", name="mine")

    found = await get(store, wait)
    assert (id_of(wait), ApprovalKind.QUESTION, ApprovalStatus.PENDING) == (
        found.id,
        found.kind,
        found.status,
    )
    assert ("bob", claimed.run_id, "mine", "order", "ask", "ask") == (
        found.asked_by,
        found.run_id,
        found.run_name,
        found.workflow,
        found.wait,
        found.name,
    )
    assert ("May I ask?", {"n": 1}, {"type": "integer"}, Risk.HIGH) == (
        found.question,
        found.subject,
        found.schema,
        found.risk,
    )
    assert (T0, at(9), OnExpiry.FAIL) == (found.opened_at, found.expires_at, found.on_expiry)
    assert (None, None, None, "", None) == (
        found.decided_at,
        found.decided_by,
        found.rule,
        found.comment,
        found.value,
    )


async def test_decision_answers_the_wait_and_wakes_the_run(store: Store) -> None:
    wait = ask()
    claimed, _ = await start_suspended(store, wait)

    decided = await decide(store, wait, comment="good", value=7, has_value=True)

    assert [(claimed.run_id, RunStatus.PENDING)] == [(w.run_id, w.status) for w in decided.wakes]
    found = await get(store, wait)
    assert found == decided.approval
    assert (ApprovalStatus.APPROVED, "ada", at(5), "good", 7, None) == (
        found.status,
        found.decided_by,
        found.decided_at,
        found.comment,
        found.value,
        found.rule,
    )
    resolved = (await waits_of(store, claimed))["ask"]
    assert (WaitOutcome.ANSWERED, at(5)) == (resolved.outcome, resolved.resolved_at)
    assert {"approved": True, "value": 7, "comment": "good", "decided_by": "ada"} == (
        resolved.payload
    )


async def test_denial_is_told_to_the_run(store: Store) -> None:
    wait = ask()
    claimed, _ = await start_suspended(store, wait)

    await decide(store, wait, status=ApprovalStatus.DENIED)

    assert (await waits_of(store, claimed))["ask"].payload["approved"] is False
    assert ApprovalStatus.DENIED is (await get(store, wait)).status


async def test_large_value_comes_back_whole(store: Store) -> None:
    wait = ask()
    claimed, _ = await start_suspended(store, wait)

    await decide(store, wait, value="x" * 200_000, has_value=True)

    assert "x" * 200_000 == (await get(store, wait)).value
    assert "x" * 200_000 == (await waits_of(store, claimed))["ask"].payload["value"]


async def test_of_many_who_decide_at_once_one_succeeds(store: Store) -> None:
    wait = ask()
    await start_suspended(store, wait)

    results = await asyncio.gather(
        *(decide(store, wait, by=f"p{i}") for i in range(20)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, ApprovalDecided)]
    (winner,) = [result for result in results if isinstance(result, Decided)]
    assert 19 == len(refused)
    assert {winner.approval.decided_by} == {error.decided_by for error in refused}


async def test_decision_about_a_claimed_run_tells_it(store: Store) -> None:
    claimed = await start_claimed(store)
    wait = ask()
    await record(store, claimed, waits=[wait])

    decided = await decide(store, wait)

    assert [RunStatus.RUNNING] == [wake.status for wake in decided.wakes]


async def test_decision_about_a_held_run_is_kept_until_it_is_let_go(store: Store) -> None:
    wait = ask()
    claimed, _ = await start_suspended(store, wait)
    await hold(store, claimed.run_id)

    decided = await decide(store, wait)

    assert [] == list(decided.wakes)
    assert [claimed.run_id] == ids(await answer(store, claimed.run_id, "!operator#1"))


async def test_unknown_approval_is_not_found(store: Store) -> None:
    with pytest.raises(ApprovalNotFound):
        await store.approvals.get(new_id())
    with pytest.raises(ApprovalNotFound):
        await decide(store, ask())


async def test_approval_expires_in_the_transaction_of_its_wait(store: Store) -> None:
    wait = ask(due_s=10)
    claimed, _ = await start_suspended(store, wait)

    await store.runs.fire_due(now=at(9), limit=9)
    assert ApprovalStatus.PENDING is (await get(store, wait)).status
    due = await store.runs.fire_due(now=at(10), limit=9)

    assert [claimed.run_id] == ids(due.wakes)
    found = await get(store, wait)
    assert (ApprovalStatus.EXPIRED, at(10), None) == (
        found.status,
        found.decided_at,
        found.decided_by,
    )
    with pytest.raises(ApprovalDecided):
        await decide(store, wait)


async def test_approval_whose_moment_has_passed_expires_as_it_is_opened(store: Store) -> None:
    wait = ask(due_s=-1)
    claimed = await start_claimed(store)

    (resolved,) = await record(store, claimed, waits=[wait])

    assert WaitOutcome.TIMED_OUT is resolved.outcome
    assert ApprovalStatus.EXPIRED is (await get(store, wait)).status


async def test_lost_branch_takes_its_question_back(store: Store) -> None:
    claimed = await start_claimed(store)
    wait, other = ask("a"), ask("b")
    await record(store, claimed, waits=[wait, other])

    await record(store, claimed, closed_waits=["a"])

    assert ApprovalStatus.CANCELLED is (await get(store, wait)).status
    assert ApprovalStatus.PENDING is (await get(store, other)).status
    with pytest.raises(ApprovalDecided) as refused:
        await decide(store, wait)
    assert "cancelled" == refused.value.decision


async def test_decided_approval_stays_decided_when_its_branch_loses(store: Store) -> None:
    claimed = await start_claimed(store)
    wait = ask()
    await record(store, claimed, waits=[wait])
    await decide(store, wait, comment="yes")

    await record(store, claimed, closed_waits=["ask"])

    found = await get(store, wait)
    assert (ApprovalStatus.APPROVED, "yes") == (found.status, found.comment)


async def test_end_of_a_run_takes_its_questions_back(store: Store) -> None:
    finished, cancelled = ask(), ask()
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[finished])
    suspended, _ = await start_suspended(store, cancelled)

    await finish(store, claimed)
    await end(store, suspended.run_id)

    assert [ApprovalStatus.CANCELLED] * 2 == [
        (await get(store, wait)).status for wait in (finished, cancelled)
    ]


async def test_record_is_not_kept_when_its_wait_is_not(store: Store) -> None:
    claimed = await start_claimed(store)
    first, second = ask(), ask()
    await record(store, claimed, waits=[first])

    with pytest.raises(JournalKeyTaken):
        await record(store, claimed, waits=[second])

    with pytest.raises(ApprovalNotFound):
        await get(store, second)


async def test_input_is_answered_by_a_decision(store: Store) -> None:
    wait = ask(kind=ApprovalKind.INPUT)
    claimed, _ = await start_suspended(store, wait)

    await decide(store, wait, status=ApprovalStatus.ANSWERED, value=[1], has_value=True)

    found = await get(store, wait)
    assert (ApprovalStatus.ANSWERED, [1], "ada") == (found.status, found.value, found.decided_by)
    assert [1] == (await waits_of(store, claimed))["ask"].payload


async def test_input_that_is_answered_with_null_is_answered(store: Store) -> None:
    wait = ask(kind=ApprovalKind.INPUT)
    claimed, _ = await start_suspended(store, wait)

    await decide(store, wait, status=ApprovalStatus.ANSWERED, value=None, has_value=True)

    resolved = (await waits_of(store, claimed))["ask"]
    assert (WaitOutcome.ANSWERED, None) == (resolved.outcome, resolved.payload)


async def test_input_that_is_resumed_is_answered_in_its_record(store: Store) -> None:
    wait = ask(kind=ApprovalKind.INPUT)
    claimed, snapshot_id = await start_suspended(store, wait)

    await store.mail.answer(
        claimed.run_id,
        wait="ask",
        outcome=WaitOutcome.ANSWERED,
        payload={"a": 1},
        snapshot_id=snapshot_id,
        now=at(3),
        by="eve",
    )

    found = await get(store, wait)
    assert (ApprovalStatus.ANSWERED, {"a": 1}, "eve", at(3)) == (
        found.status,
        found.value,
        found.decided_by,
        found.decided_at,
    )
    with pytest.raises(ApprovalDecided):
        await decide(store, wait, status=ApprovalStatus.ANSWERED, value=2, has_value=True)


async def test_list_is_newest_first_filtered_and_paged(store: Store) -> None:
    a, b, c = ask("a", risk=Risk.LOW), ask("b"), ask("c", kind=ApprovalKind.INPUT)
    first, _ = await start_suspended(store, a, b)
    await start_suspended(store, c, workflow="other")
    await decide(store, b)

    assert ["c", "b", "a"] == await listed(store)
    assert ["c", "a"] == await listed(store, statuses=PENDING.statuses)
    assert ["b"] == await listed(store, statuses=frozenset({ApprovalStatus.APPROVED}))
    assert ["b", "a"] == await listed(store, run_id=first.run_id)
    assert ["a"] == await listed(store, run_id=first.run_id, statuses=PENDING.statuses)
    assert ["c"] == await listed(store, workflow="other")
    assert ["a"] == await listed(store, workflow="order", statuses=PENDING.statuses)
    assert ["c"] == await listed(store, kinds=frozenset({ApprovalKind.INPUT}))
    assert ["a"] == await listed(store, risks=frozenset({Risk.LOW}))
    assert [] == await listed(store, run_id=new_id())
    (newest,) = await store.approvals.list(ApprovalFilter(), before=None, limit=1)
    rest = await store.approvals.list(ApprovalFilter(), before=newest.number, limit=9)
    assert ["b", "a"] == [approval.wait for approval in rest]


async def test_inbox_has_what_people_have_to_answer(store: Store) -> None:
    wait, asked = ask("a"), ask("i", kind=ApprovalKind.INPUT)
    doubt = NewWait(key="d", kind=WaitKind.DECISION, name="d", show={"step": "s"})
    other = NewWait(key="v", kind=WaitKind.VERSION, name="v")
    claimed, snapshot_id = await start_suspended(
        store, wait, asked, doubt, other, wait_for_event("e")
    )

    found = await store.approvals.inbox(before=None, limit=9)

    assert ["v", "d", "i", "a"] == [item.wait for item in found]
    assert [None, None, id_of(asked), id_of(wait)] == [item.approval_id for item in found]
    assert {(claimed.run_id, snapshot_id, "order")} == {
        (item.run_id, item.snapshot_id, item.workflow) for item in found
    }
    assert {"step": "s"} == found[1].show
    rest = await store.approvals.inbox(before=found[1].number, limit=1)
    assert ["i"] == [item.wait for item in rest]
    await decide(store, wait)
    await end(store, claimed.run_id)
    left = [item.wait for item in await store.approvals.inbox(before=None, limit=9)]
    # With an effect in doubt the run stays until that is decided.
    assert "a" not in left


# --- rules ---------------------------------------------------------------------------------


async def test_rule_decides_as_the_approval_is_opened(store: Store) -> None:
    rule = await store.approvals.add_rule(RULE, now=T0)
    wait = ask()
    claimed = await start_claimed(store)

    (resolved,) = await record(store, claimed, waits=[wait])

    by = f"rule {rule.number}"
    found = await get(store, wait)
    assert (ApprovalStatus.APPROVED, by, rule.number, "why", T0) == (
        found.status,
        found.decided_by,
        found.rule,
        found.comment,
        found.decided_at,
    )
    assert {"approved": True, "value": None, "comment": "why", "decided_by": by} == resolved.payload
    assert [1] == [one.uses for one in await store.approvals.rules(before=None, limit=9)]


async def test_run_that_a_rule_lets_go_on_is_not_suspended(store: Store) -> None:
    await store.approvals.add_rule(RULE, now=T0)
    claimed = await start_claimed(store)

    assert await suspend(store, claimed, ask()) is None
    assert RunStatus.RUNNING is await status_of(store, claimed.run_id)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({}, True),
        ({"workflow": "order"}, True),
        ({"workflow": "other"}, False),
        ({"name": "as?"}, True),
        ({"name": "b*"}, False),
        ({"name": "AS*"}, False),
        ({"question": "May I *[?]"}, True),
        ({"question": "May I*!"}, False),
        ({"where": {"total": {"le": 10}}}, True),
        ({"where": {"total": {"lt": 10}}}, False),
        ({"where": {"other": 1}}, False),
        ({"risk_max": Risk.MEDIUM}, True),
        ({"risk_max": Risk.LOW}, False),
        ({"expires_at": at(1)}, True),
        ({"expires_at": T0}, False),
    ],
)
async def test_rule_is_only_for_what_fits_it(
    store: Store, rule: dict[str, Any], *, fits: bool
) -> None:
    await store.approvals.add_rule(replace(RULE, **rule), now=T0)
    wait = ask(subject={"total": 10}, risk=Risk.MEDIUM)
    claimed = await start_claimed(store)

    resolved = await record(store, claimed, waits=[wait])

    assert fits == (len(resolved) == 1)
    status = (await get(store, wait)).status
    assert (ApprovalStatus.APPROVED if fits else ApprovalStatus.PENDING) is status


async def test_oldest_rule_that_fits_decides(store: Store) -> None:
    await store.approvals.add_rule(replace(RULE, name="x"), now=T0)
    second = await store.approvals.add_rule(RULE, now=T0)
    await store.approvals.add_rule(RULE, now=T0)
    wait = ask()
    claimed = await start_claimed(store)

    await record(store, claimed, waits=[wait])

    assert second.number == (await get(store, wait)).rule


async def test_rule_answers_no_input(store: Store) -> None:
    await store.approvals.add_rule(RULE, now=T0)
    claimed = await start_claimed(store)

    assert [] == await record(store, claimed, waits=[ask(kind=ApprovalKind.INPUT)])


async def test_rule_is_made_with_the_decision_or_not_at_all(store: Store) -> None:
    wait, late = ask("a"), ask("b")
    await start_suspended(store, wait)

    decided = await decide(store, wait, always=replace(RULE, name="b"))
    with pytest.raises(ApprovalDecided):
        await decide(store, wait, always=RULE)

    (rule,) = await store.approvals.rules(before=None, limit=9)
    assert (decided.rule, id_of(wait), "b", "ada", at(5)) == (
        rule.number,
        rule.approval_id,
        rule.name,
        rule.made_by,
        rule.made_at,
    )
    claimed = await start_claimed(store)
    assert 1 == len(await record(store, claimed, waits=[late]))


async def test_deleted_rule_decides_nothing_and_its_number_is_not_used_again(store: Store) -> None:
    rule = await store.approvals.add_rule(RULE, now=T0)

    await store.approvals.delete_rule(rule.number)

    with pytest.raises(RuleNotFound):
        await store.approvals.delete_rule(rule.number)
    claimed = await start_claimed(store)
    assert [] == await record(store, claimed, waits=[ask()])
    assert rule.number < (await store.approvals.add_rule(RULE, now=T0)).number


async def test_rules_are_bounded_and_a_decision_without_room_decides_nothing(store: Store) -> None:
    wait = ask()
    await start_suspended(store, wait)
    for _ in range(RULES_ROWS_MAX):
        await store.approvals.add_rule(replace(RULE, name="x"), now=T0)

    with pytest.raises(TooManyRules):
        await store.approvals.add_rule(RULE, now=T0)
    with pytest.raises(TooManyRules):
        await decide(store, wait, always=RULE)

    assert ApprovalStatus.PENDING is (await get(store, wait)).status
    assert RULES_ROWS_MAX == len(await store.approvals.rules(before=None, limit=2000))


async def test_rules_are_read_newest_first_and_whole(store: Store) -> None:
    made = [
        await store.approvals.add_rule(
            replace(RULE, workflow="w", where={"a": i}, expires_at=at(i)), now=T0
        )
        for i in range(3)
    ]

    assert made[::-1] == list(await store.approvals.rules(before=None, limit=9))
    assert made[:1] == list(await store.approvals.rules(before=made[1].number, limit=9))


async def test_approvals_and_rules_survive_a_restart(opener: Opener) -> None:
    wait, other = ask("a"), ask("b")
    async with opener() as store:
        claimed, _ = await start_suspended(store, wait, other)
        await decide(store, wait, always=RULE)

    async with opener() as store:
        assert ApprovalStatus.APPROVED is (await get(store, wait)).status
        assert ApprovalStatus.PENDING is (await get(store, other)).status
        again = await claim(store, claimed.run_id)
        resolved = await store.runs.record(again, Writes(waits=[ask("c")]), now=T0)
        assert ["c"] == [one.key for one in resolved]
