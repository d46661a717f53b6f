"""The saga's interpreter: does legs in order, and takes them back in reverse.

Its state is what is recorded. A leg whose outcome is there is not done again; one that was begun
and has none is tried again on the way forward, and counts as perhaps done on the way back. Which
of the two ways a run is on is decided once, by the engine, in one commit.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from agency.core import json
from agency.core.records import dataclass
from agency.domain.run import RunError, RunStatus
from agency.domain.wait import Wait
from agency.engine import compensation, foreign
from agency.engine.context import Context
from agency.engine.definition import return_codec
from agency.engine.failure import describe
from agency.engine.joins import run_all
from agency.engine.journal import name_of
from agency.engine.steps import StepCall, is_async
from agency.engine.suspension import Mismatch
from agency.engine.verdict import Verdict
from agency.workflows.saga.leg import Child, Leg, LegContext, Stage
from agency.workflows.saga.records import LegRecord, read_legs, unknown_legs
from agency.workflows.saga.threads import Threads

if TYPE_CHECKING:
    from agency.workflows.saga.saga import Saga


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of a leg on the way back.

    Attributes:
        outcome: ``undone``; ``failed``: its compensation has; ``kept``: what it has done, or may
            have done, stays; ``nothing``: there was nothing to take back.
    """

    outcome: Literal["undone", "failed", "kept", "nothing"]
    error: Mapping[str, Any] | None = None


NOTHING = Undone("nothing")
KEPT = Undone("kept")


Outcome = foreign.Returned | foreign.Raised | None


class Interpreter:
    """Runs one version of a saga."""

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self.stages = tuple(saga.stages)
        self._threads = Threads()

    # --- forward -----------------------------------------------------------------------------

    async def run(self, ctx: Context, value: Any) -> Any:  # noqa: ANN401  author's values
        """Do all legs.

        Raises:
            StepFailed: a leg has failed for good.
        """
        self._refuse_unknown(ctx)
        results: dict[str, Any] = {}
        for stage in self.stages:
            if not stage.group:
                (leg,) = stage.legs
                results[leg.id] = await self._do(ctx, stage, leg, value, results)
                continue
            before = dict(results)
            works: dict[str, Callable[[], Awaitable[Any]]] = {
                leg.id: functools.partial(self._do, ctx, stage, leg, value, before)
                for leg in stage.legs
            }
            branch = ctx.execution.enter("a saga's legs", "parallel")
            results |= await run_all(ctx.execution, branch, "parallel", works, None)
        if self.saga.output is None:
            return results
        return self.saga.output(self._context(ctx, "", "output#1", value, results))

    def _refuse_unknown(self, ctx: Context) -> None:
        """Stop before anything is done that the journal does not fit.

        Raises:
            Mismatch: a leg was begun that the saga does not have any more.
        """
        unknown = unknown_legs(self.stages, list(ctx.execution.journal.registered()))
        if unknown and ctx.execution.ending is None:
            raise ctx.execution.leave_by(
                Mismatch(branch="", recorded=f"leg {unknown[0]!r}", asked="no such leg")
            )

    async def _do(
        self,
        ctx: Context,
        stage: Stage,
        leg: Leg,
        value: Any,  # noqa: ANN401  author's value
        results: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401  author's value
        key = stage.key_of(leg)
        context = self._context(ctx, leg.id, key, value, results)
        if ctx.execution.journal.find(key) is None:
            await compensation.register(ctx, leg.id)
        if isinstance(leg.do, Child):
            outcome: Outcome = None
            if ctx.execution.journal.find(key) is None:
                outcome = await foreign.attempt(self.call(ctx, leg, leg.do, context))
            return await ctx.perform(StepCall(name=leg.id, function=_settling(outcome)))
        thread = (ctx.run_id, leg.id)
        call = StepCall(
            name=leg.id,
            function=functools.partial(self._threads.watched(thread, leg.do), context),
            retry=leg.retry,
            timeout_s=leg.timeout_s,
            effect=leg.effect,
            not_done_on=tuple(leg.not_done_on),
        )
        try:
            return await ctx.perform(call)
        finally:
            self._threads.forget_idle(thread)

    async def call(self, ctx: Context, leg: Leg, child: Child, context: LegContext) -> Any:  # noqa: ANN401
        """Run another workflow for a leg or its compensation, as often as its policy says.

        Raises:
            StepFailed: the last of the runs did not complete.
        """
        is_undo = context.is_compensating
        name = f"undo.{leg.id}.{ctx.attempt}" if is_undo else leg.id
        timeout_s = leg.undo_timeout_s or leg.timeout_s if is_undo else leg.timeout_s
        return await compensation.call_often(
            ctx,
            child.workflow,
            child.input(context),
            name=name,
            retry=leg.undo_retry if is_undo else leg.retry,
            timeout_s=timeout_s,
        )

    def _context(
        self,
        ctx: Context,
        leg: str,
        key: str,
        value: Any,  # noqa: ANN401  author's value
        results: Mapping[str, Any],
    ) -> LegContext:
        own = compensation.idempotency_key(ctx.run_id, key)
        return LegContext(
            run_id=ctx.run_id,
            saga=self.saga.name,
            leg=leg,
            input=value,
            results=dict(results),
            idempotency_key=own,
            action_key=own,
        )

    # --- back --------------------------------------------------------------------------------

    async def compensate(self, ctx: Context, cause: Verdict) -> Verdict:
        """Take back what was done, last leg first, and judge how the run ends.

        A compensation that fails does not keep the others from being done.
        """
        journal = await compensation.load(ctx)
        await compensation.stop_children(ctx, journal)
        records = read_legs(self.stages, journal)
        way = _WayBack(self, ctx, cause, records)
        for stage in reversed(self.stages):
            await way.take_back(stage)
        for leg in unknown_legs(self.stages, list(ctx.execution.journal.registered())):
            way.note(leg, Undone("failed", {"code": "leg_unknown", **_LEG_UNKNOWN}))
        return way.verdict()

    async def wait_for_thread(self, run_id: str, leg: Leg) -> None:
        """Wait until a plain function that was cut off has returned."""
        await self._threads.returned((run_id, leg.id))


_LEG_UNKNOWN = {
    "message": "The saga has no such leg any more.",
    "error_class": "LegUnknown",
}


class _WayBack:
    """One compensation of one run."""

    def __init__(
        self,
        interpreter: Interpreter,
        ctx: Context,
        cause: Verdict,
        records: Mapping[str, LegRecord],
    ) -> None:
        self._interpreter = interpreter
        self._ctx = ctx
        self._cause = cause
        self._records = records
        self._value = self._input()
        self._results = {
            leg_id: _result(record) for leg_id, record in records.items() if record.action.is_done
        }
        self._undone: list[str] = []
        self._kept: list[str] = []
        self._errors: list[dict[str, Any]] = []

    def _input(self) -> Any:  # noqa: ANN401  author's value
        execution = self._ctx.execution
        return execution.definition.input_codec.decode(json.encode(execution.run.input))

    async def take_back(self, stage: Stage) -> None:
        """Take back the legs of a stage, those that were beside each other beside each other."""
        if not stage.group:
            (leg,) = stage.legs
            self.note(leg.id, await self._take_back(leg))
            return
        works = {leg.id: functools.partial(self._take_back, leg) for leg in stage.legs}
        branch = self._ctx.execution.enter("a saga's legs", "parallel")
        label = stage.group.replace("#", ".")
        found = await run_all(self._ctx.execution, branch, label, works, None)
        for leg_id, undone in found.items():
            self.note(leg_id, undone)

    def note(self, leg_id: str, undone: Undone) -> None:
        """Take note of what became of a leg."""
        match undone.outcome:
            case "undone":
                self._undone.append(leg_id)
            case "kept":
                self._kept.append(leg_id)
            case "failed":
                self._errors.append({"leg": leg_id, **(undone.error or {})})
            case "nothing":
                pass

    async def _take_back(self, leg: Leg) -> Undone:
        record = self._records[leg.id]
        if record.begun is None:
            return NOTHING
        has_result = record.action.is_done
        result = self._results.get(leg.id)
        if not has_result:
            if not record.is_unknown and leg.undo_failed != "always":
                return NOTHING
            has_result, result = await self._late_result(leg, record)
        if leg.undo is None or (not has_result and leg.undo_failed == "never"):
            return KEPT
        return await self._undo(leg, leg.undo, result)

    async def _late_result(self, leg: Leg, record: LegRecord) -> tuple[bool, Any]:
        """Wait until nothing acts for the leg any more; a child may have come to its result."""
        await self._interpreter.wait_for_thread(self._ctx.run_id, leg)
        if not record.children:
            return False, None
        ends = await compensation.child_ends(self._ctx, leg.id, record.children)
        return _child_result(ends[-1])

    async def _undo(self, leg: Leg, undo: Any, result: Any) -> Undone:  # noqa: ANN401
        ctx = self._ctx
        key = compensation.undo_key(leg.id)
        stage = next(one for one in self._interpreter.stages if leg in one.legs)
        context = LegContext(
            run_id=ctx.run_id,
            saga=self._interpreter.saga.name,
            leg=leg.id,
            input=self._value,
            results=self._results,
            result=result,
            idempotency_key=compensation.idempotency_key(ctx.run_id, key),
            action_key=compensation.idempotency_key(ctx.run_id, stage.key_of(leg)),
            error=self._cause.error,
            is_compensating=True,
        )
        if isinstance(undo, Child):
            made: Outcome = None
            if ctx.execution.journal.find(key) is None:
                made = await foreign.attempt(self._interpreter.call(ctx, leg, undo, context))
            step = StepCall(name=f"undo.{leg.id}", function=_settling(made))
        else:
            step = StepCall(
                name=f"undo.{leg.id}",
                function=_undoing(undo, context, result),
                retry=leg.undo_retry,
                timeout_s=leg.undo_timeout_s or leg.timeout_s,
            )
        outcome = await compensation.take_back(ctx, leg.id, step)
        if isinstance(outcome, foreign.Raised):
            return Undone("failed", _told(outcome.error))
        return Undone("undone")

    def verdict(self) -> Verdict:
        """Judge how the run ends, and report all of it."""
        cause = self._cause.error or RunError(
            code=self._cause.status.value, message=f"The saga ended as {self._cause.status.value}."
        )
        step = cause.step
        details = {
            "leg": name_of(step) if step else None,
            "compensated_legs": self._undone,
            "kept_legs": self._kept,
            "compensation_errors": self._errors,
            "legs_left": [one["leg"] for one in self._errors],
            "cause": cause.details,
        }
        error = replace(cause, details=details)
        if not self._errors:
            return Verdict(status=RunStatus.COMPENSATED, error=error)
        hint = "Mend what keeps the compensations from working, then retry them: "
        hint += f"`agency sagas retry-compensation {self._ctx.run_id}`."
        return Verdict(status=RunStatus.COMPENSATION_FAILED, error=replace(error, hint=hint))


def _told(error: Exception) -> dict[str, Any]:
    description = describe(error)
    return {name: description[name] for name in ("code", "message", "error_class", "details")}


def _result(record: LegRecord) -> Any:  # noqa: ANN401  author's value
    assert record.action.outcome is not None
    body = record.action.outcome.body
    if isinstance(record.leg.do, Child):
        return json.decode(body)
    return return_codec(record.leg.do).decode(body)


def _child_result(end: Wait) -> tuple[bool, Any]:
    payload = end.payload if isinstance(end.payload, dict) else {}
    if payload.get("status") != RunStatus.COMPLETED:
        return False, None
    return True, payload["output"]


def _settling(outcome: Outcome) -> Callable[[], Awaitable[Any]]:
    """Make the function of a step that records what a child has come to."""

    async def settle() -> Any:  # noqa: ANN401  JSON value
        assert outcome is not None, "what is recorded is not done again"
        if isinstance(outcome, foreign.Raised):
            raise outcome.error
        return outcome.value

    return settle


def _undoing(undo: Callable[..., Any], context: LegContext, result: Any) -> Callable[[], Any]:  # noqa: ANN401
    """Make the function of a compensation's step; what it returns is of no use to anybody."""
    if is_async(undo):

        async def undone() -> None:
            await undo(context, result)

        return undone

    def undone_in_thread() -> None:
        undo(context, result)

    return undone_in_thread
