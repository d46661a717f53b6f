"""Sagas: all legs are done, or what was done is taken back, whatever comes between."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agency import (
    Child,
    Context,
    LegContext,
    OutcomeUnknown,
    Permanent,
    Retry,
    Saga,
    StepFailed,
    current_step,
    workflow,
)
from agency.core.ids import derive_id
from agency.domain.run import Phase, RunStatus
from agency.domain.saga import LegState
from agency.engine.lineage import AnewWish, RetryWish
from agency.engine.registry import load_registry
from agency.errors import (
    CompensationNotFailed,
    InvalidInput,
    RunEnded,
    RunNotRetryable,
    RunTakenBack,
)
from agency.ports.store import RunDetail
from agency.workflows.saga.status import leg_statuses
from tests.integration.engine.house import GUARD_S, House, open_house
from tests.integration.engine.saga_legs import QUICK, Diary


async def states(house: House, saga: Saga, run_id: str) -> dict[str, LegState]:
    detail = await house.runs.get(run_id)
    journal = await house.store.journal.load(detail.run.number)
    return {leg.id: leg.state for leg in leg_statuses(detail.run, journal, saga.stages)}


def details(detail: RunDetail) -> dict[str, Any]:
    assert detail.run.error is not None
    found: dict[str, Any] = detail.run.error.details
    return found


# --- the three outcomes --------------------------------------------------------------------


async def test_completed_saga_hands_back_the_results_of_its_legs(tmp_path: Path) -> None:
    diary = Diary()
    saga = diary.saga("a", "b")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order", {"n": 1})
        found = await states(house, saga, detail.run.id)

    assert ("completed", {"a": "a!", "b": "b!"}) == (detail.run.status, detail.run.output)
    assert (Phase.FORWARD, ["do a", "do b"]) == (detail.run.phase, diary.done)
    assert {"a": "done", "b": "done"} == found


async def test_failing_leg_lets_the_others_be_taken_back_in_reverse(tmp_path: Path) -> None:
    diary = Diary(failures={"do c": -1})
    saga = diary.saga("a", "b", "c", "d")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")
        found = await states(house, saga, detail.run.id)

    assert ["do a", "do b", "do c", "undo b", "undo a"] == diary.done
    assert (RunStatus.COMPENSATED, Phase.COMPENSATING) == (detail.run.status, detail.run.phase)
    assert detail.run.error is not None
    assert ("do c does not work", "c#1") == (detail.run.error.message, detail.run.error.step)
    assert ("c", ["b", "a"]) == (details(detail)["leg"], details(detail)["compensated_legs"])
    assert {"a": "compensated", "b": "compensated", "c": "failed", "d": "skipped"} == found


async def test_failing_compensation_keeps_no_other_from_being_done(tmp_path: Path) -> None:
    """The third leg fails, and so does the first compensation that is tried."""
    diary = Diary(failures={"do c": -1, "undo b": -1})
    saga = diary.saga("a", "b", "c")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")
        found = await states(house, saga, detail.run.id)

    assert ["do a", "do b", "do c", "undo b", "undo a"] == diary.done
    assert RunStatus.COMPENSATION_FAILED is detail.run.status
    assert detail.run.error is not None
    assert "do c does not work" == detail.run.error.message
    told = details(detail)
    assert (["a"], ["b"]) == (told["compensated_legs"], told["legs_left"])
    assert [("b", "undo b does not work")] == [
        (one["leg"], one["message"]) for one in told["compensation_errors"]
    ]
    assert detail.run.id in detail.run.error.hint
    assert {"a": "compensated", "b": "compensation_failed", "c": "failed"} == found


async def test_retried_compensation_does_only_what_has_failed(tmp_path: Path) -> None:
    diary = Diary(failures={"do c": -1, "undo b": 2})
    saga = diary.saga("a", "b", "c")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order", name="mine")
        await house.runs.retry_compensation(detail.run.id)
        again = await house.ended(detail.run.id)
        await house.runs.retry_compensation(detail.run.id)
        last = await house.ended(detail.run.id)
        with pytest.raises(CompensationNotFailed):
            await house.runs.retry_compensation(detail.run.id)

    assert (RunStatus.COMPENSATION_FAILED, RunStatus.COMPENSATED) == (
        again.run.status,
        last.run.status,
    )
    assert ["do a", "do b", "do c", "undo b", "undo a", "undo b", "undo b"] == diary.done
    assert last.run.error is not None
    assert ("do c does not work", "") == (last.run.error.message, last.run.error.hint)
    assert [] == details(last)["legs_left"]
    assert {context.idempotency_key for context in diary.contexts["undo b"]} == {
        derive_id(detail.run.id, "0", "!end/undo.b#1")
    }


async def test_verbs_of_all_runs_take_back_nothing_twice(tmp_path: Path) -> None:
    """Retry is the retry of the compensation, and what was taken back cannot be shared."""
    diary = Diary(failures={"do c": -1, "undo b": 1})
    saga = diary.saga("a", "b", "c")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")
        lineage = house.engine.lineage
        preview = await lineage.retry(detail.run.id, RetryWish(), dry_run=True)
        assert ["!end/undo.b#1"] == [entry.key for entry in preview.again]
        await lineage.retry(detail.run.id, RetryWish())
        assert "compensated" == (await house.ended(detail.run.id)).run.status
        with pytest.raises(RunTakenBack):
            await lineage.fork(detail.run.id, AnewWish())
        with pytest.raises(RunNotRetryable):
            await lineage.retry(detail.run.id, RetryWish())

    assert ["do a", "do b", "do c", "undo b", "undo a", "undo b"] == diary.done


# --- what legs are told --------------------------------------------------------------------


async def test_results_keys_and_the_reason_go_to_legs_and_compensations(tmp_path: Path) -> None:
    diary = Diary(failures={"do c": -1})
    saga = diary.saga("a", "b", "c")

    async with open_house(tmp_path, saga) as house:
        run_id = (await house.run("order", {"n": 1})).run.id

    (second,) = diary.contexts["do b"]
    assert ({"n": 1}, {"a": "a!"}) == (second.input, second.results)
    (undone,) = diary.contexts["undo a"]
    assert ("a!", {"a": "a!", "b": "b!"}) == (undone.result, undone.results)
    assert (
        derive_id(run_id, "0", "a#1") == undone.action_key == diary.contexts["do a"][0].action_key
    )
    assert undone.idempotency_key != undone.action_key
    assert undone.error is not None
    assert ("do c does not work", True) == (undone.error.message, undone.is_compensating)


async def test_leg_is_tried_as_often_as_it_says_with_one_key(tmp_path: Path) -> None:
    keys: list[str] = []
    diary = Diary(failures={"do a": 2, "undo a": 2, "do b": -1})

    async def do(ctx: LegContext) -> str:
        keys.append(current_step().idempotency_key)
        assert ctx.idempotency_key == keys[-1]
        assert ctx.attempt == len(keys)
        await diary.note("do a", ctx)
        return "a!"

    saga = diary.saga(diary.leg("a", do=do, retry=QUICK, undo_retry=QUICK), "b")

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert RunStatus.COMPENSATED is detail.run.status
    assert ["do a"] * 3 + ["do b"] + ["undo a"] * 3 == diary.done
    assert 1 == len(set(keys))


async def test_permanent_failures_are_not_tried_again(tmp_path: Path) -> None:
    tries: list[str] = []

    def do(ctx: LegContext) -> None:
        tries.append(ctx.leg)
        raise Permanent("no such article")

    saga = Diary().saga(Diary().leg("a", do=do, retry=QUICK))

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert (RunStatus.COMPENSATED, ["a"]) == (detail.run.status, tries)


async def test_typed_input_and_results_are_handed_on_as_their_types(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass
    class Order:
        items: int

    seen: list[object] = []
    saga = Saga("order", input=Order, output=lambda ctx: ctx.results["a"].items)

    def take(ctx: LegContext, result: Order) -> None:
        seen.append(result)

    @saga.leg("a", undo=take)
    def a(ctx: LegContext) -> Order:
        return Order(ctx.input.items + 1)

    @saga.leg("b")
    def b(ctx: LegContext) -> None:
        seen.append(ctx.results["a"])
        if ctx.input.items > 5:
            raise ValueError

    a.__annotations__["return"] = Order
    async with open_house(tmp_path, saga) as house:
        assert 3 == (await house.run("order", {"items": 2})).run.output
        assert "compensated" == (await house.run("order", {"items": 7})).run.status
        with pytest.raises(InvalidInput):
            await house.start("order", {"items": "many"})

    assert [Order(3), Order(8), Order(8)] == seen


# --- legs whose outcome is not known -------------------------------------------------------


@pytest.mark.parametrize(
    ("undo_failed", "error", "expected"),
    [
        ("unknown", ValueError("no"), []),
        ("unknown", TimeoutError("late"), ["undo a None"]),
        ("unknown", OutcomeUnknown("lost"), ["undo a None"]),
        ("always", ValueError("no"), ["undo a None"]),
        ("never", OutcomeUnknown("lost"), []),
    ],
)
async def test_failed_leg_is_taken_back_if_it_may_have_had_its_effect(
    tmp_path: Path, undo_failed: Any, error: Exception, expected: list[str]
) -> None:
    done: list[str] = []

    async def do(ctx: LegContext) -> None:
        raise error

    def undo(ctx: LegContext, result: Any) -> None:
        done.append(f"undo {ctx.leg} {result}")

    saga = Diary().saga(Diary().leg("a", do=do, undo=undo, undo_failed=undo_failed))

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert (RunStatus.COMPENSATED, expected) == (detail.run.status, done)
    is_kept = undo_failed == "never"
    assert (["a"] if is_kept else []) == details(detail)["kept_legs"]


async def test_leg_that_runs_out_of_time_is_taken_back(tmp_path: Path) -> None:
    diary = Diary()
    diary.hold("do b")
    saga = diary.saga("a", diary.leg("b", timeout_s=0.05))

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert ["do a", "do b", "undo b", "undo a"] == diary.done
    assert [None, "a!"] == [
        diary.contexts["undo b"][0].result,
        diary.contexts["undo a"][0].result,
    ]
    assert detail.run.error is not None
    assert "timed_out" == detail.run.error.code


async def test_leg_with_effect_once_asks_before_anything_is_taken_back(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": 1})
    saga = diary.saga("a", diary.leg("b", effect="once"))

    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await house.resume(run_id, {"decision": "fail"})
        detail = await house.ended(run_id)

    # It was decided that it had failed: there is nothing to be taken back of it.
    assert (RunStatus.COMPENSATED, ["a"]) == (
        detail.run.status,
        details(detail)["compensated_legs"],
    )


# --- cancel and deadline -------------------------------------------------------------------


async def test_cancel_takes_back_what_was_done_and_what_may_have_been(tmp_path: Path) -> None:
    diary = Diary()
    is_there = diary.hold("do b")
    saga = diary.saga("a", "b", "c")

    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await is_there.wait()
        await house.runs.cancel(run_id, reason="changed my mind")
        detail = await house.ended(run_id)
        with pytest.raises(RunEnded):
            await house.runs.cancel(run_id)
        found = await states(house, saga, run_id)

    assert ["do a", "do b", "undo b", "undo a"] == diary.done
    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "cancelled") == (detail.run.status, detail.run.error.code)
    assert {"a": "compensated", "b": "compensated", "c": "skipped"} == found


async def test_cancel_of_a_saga_that_has_done_nothing_ends_it(tmp_path: Path) -> None:
    diary = Diary()

    async with open_house(tmp_path, diary.saga("a")) as house:
        run_id = await house.start("order", available_at=house.runs._clock.now().replace(year=2999))
        await house.runs.cancel(run_id)
        detail = await house.runs.get(run_id)

    assert (RunStatus.CANCELLED, []) == (detail.run.status, diary.done)


async def test_cancel_of_a_saga_that_waits_to_try_a_leg_again(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": -1})
    slow = Retry(attempts=3, base_s=3600, jitter=False, cap_s=3600)
    saga = diary.saga("a", diary.leg("b", retry=slow, undo_failed="always"))

    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        detail = await house.ended(run_id)

    assert ["do a", "do b", "undo b", "undo a"] == diary.done
    assert RunStatus.COMPENSATED is detail.run.status


async def test_cancel_does_not_stop_a_compensation(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": -1})
    is_there = diary.hold("undo a")

    async with open_house(tmp_path, diary.saga("a", "b")) as house:
        run_id = await house.start("order")
        await is_there.wait()
        detail = await house.runs.cancel(run_id)
        assert (RunStatus.RUNNING, Phase.COMPENSATING, None) == (
            detail.run.status,
            detail.run.phase,
            detail.run.ending,
        )
        diary.holds["undo a"].set()
        detail = await house.ended(run_id)

    assert ["do a", "do b", "undo a"] == diary.done
    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "error") == (detail.run.status, detail.run.error.code)


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_cancel_does_not_stop_a_compensation_that_is_suspended(
    tmp_path: Path, linger_s: float
) -> None:
    diary = Diary(failures={"do b": -1, "undo a": 1})
    soon = Retry(attempts=2, base_s=0.3, jitter=False)
    saga = diary.saga(diary.leg("a", undo_retry=soon), "b")

    async with open_house(tmp_path, saga, linger_s=linger_s) as house:
        run_id = await house.start("order")
        await house.suspended(run_id)
        detail = await house.runs.cancel(run_id)
        assert (RunStatus.SUSPENDED, Phase.COMPENSATING) == (detail.run.status, detail.run.phase)
        detail = await house.ended(run_id)
        assert [] == await house.engine.sweep()

    assert ["do a", "do b", "undo a", "undo a"] == diary.done
    assert RunStatus.COMPENSATED is detail.run.status


async def test_deadline_lets_a_saga_be_taken_back_without_a_deadline(tmp_path: Path) -> None:
    diary = Diary(failures={"undo a": 1})
    diary.hold("do b")
    late = Retry(attempts=2, base_s=0.2, jitter=False)
    saga = diary.saga(diary.leg("a", undo_retry=late), "b", timeout_s=1.5)

    async with open_house(tmp_path, saga) as house:
        detail = await house.ended(await house.start("order"))

    assert ["do a", "do b", "undo b", "undo a", "undo a"] == diary.done
    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "timed_out") == (detail.run.status, detail.run.error.code)


async def test_hold_stops_a_compensation_until_it_is_lifted(tmp_path: Path) -> None:
    diary = Diary(failures={"do c": -1})
    is_there = diary.hold("undo b")

    async with open_house(tmp_path, diary.saga("a", "b", "c")) as house:
        run_id = await house.start("order")
        await is_there.wait()
        held = asyncio.ensure_future(house.runs.suspend(run_id, reason="look", wait_s=GUARD_S))
        await house.until(run_id, lambda detail: detail.run.hold is not None)
        diary.holds["undo b"].set()
        snapshot = await held
        assert snapshot is not None
        assert "undo a" not in diary.done
        await house.runs.resume(snapshot.id)
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["undo b", "undo a"]) == (detail.run.status, diary.done[3:])


# --- legs beside each other ----------------------------------------------------------------


async def test_legs_beside_each_other_all_end_before_they_are_taken_back(tmp_path: Path) -> None:
    diary = Diary(failures={"do x": -1})
    is_there = diary.hold("do y")
    saga = diary.saga("a")
    saga.parallel(diary.leg("x"), diary.leg("y"), diary.leg("z")).add(diary.leg("d"))

    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await is_there.wait()
        await house.until(run_id, lambda detail: "do x" in diary.done)
        assert not any(one.startswith("undo") for one in diary.done)
        diary.holds["do y"].set()
        detail = await house.ended(run_id)
        found = await states(house, saga, run_id)

    assert RunStatus.COMPENSATED is detail.run.status
    assert {"undo y", "undo z"} == set(diary.done[4:6])
    assert "undo a" == diary.done[6]
    expected = {"a": "compensated", "x": "failed", "y": "compensated", "z": "compensated"}
    assert {**expected, "d": "skipped"} == found


async def test_legs_beside_each_other_do_not_see_each_other(tmp_path: Path) -> None:
    diary = Diary()
    saga = diary.saga("a").parallel(diary.leg("x"), diary.leg("y")).add(diary.leg("d"))

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert {"a": "a!"} == diary.contexts["do x"][0].results == diary.contexts["do y"][0].results
    assert {"a": "a!", "x": "x!", "y": "y!"} == diary.contexts["do d"][0].results
    assert "completed" == detail.run.status


# --- children ------------------------------------------------------------------------------


async def test_saga_is_a_step_of_a_workflow(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": 1})

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[Any]:
        first: list[Any] = []
        try:
            await ctx.call("order", {"n": 1})
        except StepFailed as failed:
            first = [failed.error_code, failed.details]
        return [*first, await ctx.call("order", {"n": 2}, name="again")]

    async with open_house(tmp_path, w, diary.saga("a", "b")) as house:
        detail = await house.ended(await house.start("w"))

    code, told, second = detail.run.output
    error = told["error"]
    assert ("compensated", {"a": "a!", "b": "b!"}) == (code, second)
    assert ("do b does not work", ["a"]) == (error["message"], error["details"]["compensated_legs"])


async def test_cancelled_parent_lets_its_saga_be_taken_back(tmp_path: Path) -> None:
    diary = Diary()
    is_there = diary.hold("do b")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.call("order")

    async with open_house(tmp_path, w, diary.saga("a", "b")) as house:
        run_id = await house.start("w")
        await is_there.wait()
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status
        (child,) = await house.runs.list(_of_parent(run_id), before=None, limit=9)
        assert "compensated" == (await house.ended(child.id)).run.status

    assert ["do a", "do b", "undo b", "undo a"] == diary.done


async def test_legs_and_compensations_that_are_runs(tmp_path: Path) -> None:
    seen: list[Any] = []

    @workflow("book")
    async def book(ctx: Context, input: Any) -> Any:
        seen.append(input)
        if input == "no" or (input == "late" and seen.count("late") < 3):
            raise ValueError("it cannot be booked")
        return {"booked": input}

    saga = Saga("order")
    diary = Diary()
    for place in ("hotel", "late", "no"):
        saga.add(
            diary.leg(
                place,
                do=Child(workflow="book", input=lambda ctx: ctx.leg),
                undo=Child(workflow="book", input=lambda ctx: ["cancel", ctx.result]),
                retry=QUICK,
            )
        )

    async with open_house(tmp_path, book, saga) as house:
        detail = await house.ended(await house.start("order"))
        found = await states(house, saga, detail.run.id)

    assert ["hotel", *["late"] * 3, *["no"] * 3] == seen[:7]
    assert [["cancel", {"booked": "late"}], ["cancel", {"booked": "hotel"}]] == seen[7:]
    assert {"hotel": "compensated", "late": "compensated", "no": "failed"} == found


async def test_child_of_a_cancelled_saga_has_ended_before_its_leg_is_taken_back(
    tmp_path: Path,
) -> None:
    order: list[str] = []
    is_there = asyncio.Event()

    async def tidy() -> None:
        order.append("child has tidied up")

    @workflow("slow")
    async def slow(ctx: Context) -> None:
        ctx.at_end(tidy)
        is_there.set()
        await ctx.wait_event("never")

    def undo(ctx: LegContext, result: Any) -> None:
        order.append(f"undo {result}")

    saga = Diary().saga(
        Diary().leg("a", do=Child(workflow="slow", input=lambda ctx: None), undo=undo)
    )

    async with open_house(tmp_path, slow, saga) as house:
        run_id = await house.start("order")
        await is_there.wait()
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["child has tidied up", "undo None"]) == (
        detail.run.status,
        order,
    )


async def test_children_of_a_compensation_are_not_cancelled_with_their_saga(
    tmp_path: Path,
) -> None:
    diary = Diary(failures={"do b": -1})

    @workflow("refund")
    async def refund(ctx: Context) -> Any:
        return await ctx.wait_event("refunded")

    saga = diary.saga(diary.leg("a", undo=Child(workflow="refund", input=lambda ctx: None)), "b")

    async with open_house(tmp_path, refund, saga) as house:
        run_id = await house.start("order")
        await house.suspended(run_id)
        (child,) = await house.runs.list(_of_parent(run_id), before=None, limit=9)
        await house.suspended(child.id)
        await house.runs.cancel(run_id)
        await house.runs.send(child.id, name="refunded", payload=1)
        assert "completed" == (await house.ended(child.id)).run.status
        assert "compensated" == (await house.ended(run_id)).run.status


def _of_parent(run_id: str) -> Any:
    from agency.ports.store import RunFilter

    return RunFilter(parent_id=run_id)


# --- threads -------------------------------------------------------------------------------


async def test_plain_function_has_returned_before_its_leg_is_taken_back(tmp_path: Path) -> None:
    order: list[str] = []
    is_there, may_return = threading.Event(), threading.Event()

    def do(ctx: LegContext) -> None:
        is_there.set()
        assert may_return.wait(GUARD_S)
        order.append("done")

    def undo(ctx: LegContext, result: Any) -> None:
        order.append(f"undo {result}")

    saga = Diary().saga(Diary().leg("a", do=do, undo=undo))

    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await asyncio.to_thread(is_there.wait, GUARD_S)
        await house.runs.cancel(run_id)
        await house.until(run_id, lambda detail: detail.run.phase is Phase.COMPENSATING)
        assert [] == order
        may_return.set()
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["done", "undo None"]) == (detail.run.status, order)


# --- faults --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt()])
async def test_odd_exceptions_of_a_compensation_are_its_failure(
    tmp_path: Path, error: BaseException
) -> None:
    diary = Diary(failures={"do b": -1})

    async def undo(ctx: LegContext, result: Any) -> None:
        raise error

    saga = diary.saga("z", diary.leg("a", undo=undo), "b")

    async with open_house(tmp_path, saga) as house:
        detail = await house.ended(await house.start("order"))

    assert RunStatus.COMPENSATION_FAILED is detail.run.status


async def test_output_that_cannot_be_made_lets_all_be_taken_back(tmp_path: Path) -> None:
    diary = Diary()
    saga = diary.saga("a", output=lambda ctx: ctx.results["nothing"])

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert (RunStatus.COMPENSATED, ["do a", "undo a"]) == (detail.run.status, diary.done)


async def test_full_journal_does_not_keep_a_saga_from_being_taken_back(tmp_path: Path) -> None:
    diary = Diary()
    saga = diary.saga(*(f"leg{number}" for number in range(80)))

    async with open_house(tmp_path, saga, journal_entries_max=101) as house:
        detail = await house.ended(await house.start("order"))

    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "journal_full") == (detail.run.status, detail.run.error.code)
    undone = [one for one in diary.done if one.startswith("undo")]
    assert [one.replace("undo", "do") for one in reversed(undone)] == diary.done[: len(undone)]


async def test_stored_pause_between_tries_is_no_interruption(tmp_path: Path) -> None:
    """A leg that has failed cleanly each time has had no effect, however long that took."""
    diary = Diary(failures={"do a": -1})
    stored = Retry(attempts=3, base_s=0.1, factor=1, jitter=False)
    saga = diary.saga(diary.leg("a", retry=stored))

    async with open_house(tmp_path, saga) as house:
        detail = await house.ended(await house.start("order"))

    assert ["do a"] * 3 == diary.done
    assert RunStatus.COMPENSATED is detail.run.status


# --- definitions ---------------------------------------------------------------------------


def test_bad_sagas_are_refused() -> None:
    diary = Diary()
    with pytest.raises(InvalidInput):
        Saga("a/b")
    with pytest.raises(InvalidInput):
        Saga("empty").definition()
    with pytest.raises(InvalidInput):
        diary.saga("a", "a")
    with pytest.raises(InvalidInput):
        diary.leg("a b")
    with pytest.raises(InvalidInput):
        diary.saga().parallel(diary.leg("a"))
    with pytest.raises(InvalidInput):
        diary.leg("a", do=Child(workflow="w", input=lambda ctx: None), effect="once")


def test_version_follows_what_the_legs_do() -> None:
    def do(ctx: LegContext) -> int:
        return 1

    def other(ctx: LegContext) -> int:
        return 2

    def version(*legs: Any) -> str:
        saga = Saga("order")
        for leg_id, function in legs:
            saga.leg(leg_id)(function)
        return saga.version

    assert version(("a", do), ("b", do)) == version(("a", do), ("b", do))
    different = {
        version(("a", do), ("b", do)),
        version(("a", do), ("b", other)),
        version(("b", do), ("a", do)),
        version(("a", do)),
    }
    assert 4 == len(different)
    assert "7" == Saga("order", version="7").version


def test_sagas_are_found_in_files_once(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from agency import Saga\n"
        "order = Saga('order')\n"
        "also = order\n"
        "@order.leg('a')\n"
        "def a(ctx):\n"
        "    return 1\n"
    )
    (tmp_path / "two.py").write_text("import one\nfrom one import order\n")

    registry = load_registry([tmp_path])

    assert [] == [failure.reason for failure in registry.failures]
    assert ["order"] == [definition.name for definition in registry]
    assert str(tmp_path / "one.py") == registry.get("order").source


def test_saga_without_legs_is_told_and_the_rest_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("from agency import Saga\norder = Saga('order')\n")
    (tmp_path / "good.py").write_text(
        "from agency import Saga\ngood = Saga('good')\ngood.leg('a')(lambda ctx: 1)\n"
    )

    registry = load_registry([tmp_path])

    assert ["good"] == [definition.name for definition in registry]
    assert ["InvalidInput: The saga 'order' has no leg."] == [
        failure.reason for failure in registry.failures
    ]
