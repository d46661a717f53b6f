"""Faults put into the product, each of which the simulation has to find.

A simulation that finds nothing proves nothing, unless it is known what it would find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, cast

import pytest

from agency.domain.entry import EntryKind
from agency.domain.run import NewRun, RunStatus
from agency.engine import compensation, foreign
from agency.engine import execution as execution_module
from agency.engine.journal import JournalView
from agency.engine.recorder import Recorder
from agency.engine.runs import StartRequest
from agency.engine.steps import _OnceStep, _Step
from agency.engine.verdict import Verdict, judge
from agency.ports.store import Delivery, Started
from agency.storage.sqlite import endings, waits
from agency.storage.sqlite.forms import start_form
from agency.storage.sqlite.mail import SqliteMail
from agency.storage.sqlite.runs import SqliteRuns, _new_run
from agency.storage.sqlite.statements import load_record_statements, load_statements
from agency.workflows.saga.interpreter import Interpreter
from tests.simulation.programs import Plan, make_plan

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        plant: Puts it in, until the patch is undone.
        shows_as: One of these is in what the simulation says.
        bend: Turns what is started to where the fault can show at all, if that is rare.
    """

    plant: Callable[[Patch], None]
    shows_as: tuple[str, ...]
    bend: Callable[[list[StartRequest]], list[StartRequest]] = list


def _skip_fence_of_transactions(patch: Patch) -> None:
    statements = cast(MutableMapping[str, str], load_statements())
    fence = "SELECT hold, ending, ending_epoch FROM runs WHERE number = ? AND ? IS NOT NULL"
    patch.setitem(statements, "fence", fence)


def _skip_fence_of_entries(patch: Patch) -> None:
    statements = cast(MutableMapping[int, str], load_record_statements())
    for size, sql in statements.items():
        fenced = "WHERE runs.number = entry.run AND runs.epoch = entry.epoch"
        assert fenced in sql
        open_sql = sql.replace(fenced, "WHERE runs.number = entry.run").replace(
            "AND runs.status = 'running'", ""
        )
        patch.setitem(statements, size, open_sql)


def _acknowledge_steps_early(patch: Patch) -> None:
    commit = Recorder.commit

    async def early(self: Recorder, *entries: Any, **more: Any) -> None:
        if any(entry.kind is not EntryKind.STEP for entry in entries):
            await commit(self, *entries, **more)
            return
        task = asyncio.get_running_loop().create_task(commit(self, *entries, **more))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())

    patch.setattr(Recorder, "commit", early)


def _acknowledge_events_early(patch: Patch) -> None:
    deliver = SqliteMail.deliver

    async def early(self: SqliteMail, run_id: str, *, event_id: str, **more: Any) -> Delivery:
        task = asyncio.get_running_loop().create_task(
            deliver(self, run_id, event_id=event_id, **more)
        )
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return Delivery(event_id=event_id, wakes=())

    patch.setattr(SqliteMail, "deliver", early)


def _acknowledge_starts_early(patch: Patch) -> None:
    start = SqliteRuns.start

    async def early(self: SqliteRuns, new: NewRun) -> Started:
        task = asyncio.get_running_loop().create_task(start(self, new))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return Started(run=_new_run(0, start_form(new)), is_new=True)

    patch.setattr(SqliteRuns, "start", early)


def _lose_wakes(patch: Patch) -> None:
    patch.setattr(waits, "wake", lambda tx, state, *, now: None)


def _lose_half_of_the_timers(patch: Patch) -> None:
    wake_all = waits.wake_all
    calls = count()

    def some(tx: Any, runs: Any, *, now: int) -> Any:
        return wake_all(tx, runs, now=now) if next(calls) % 10 else []

    patch.setattr(waits, "wake_all", some)


def _forget_failed_attempts(patch: Patch) -> None:
    release = SqliteRuns.release

    async def forgetful(self: SqliteRuns, *claim: Any, **more: Any) -> None:
        await release(self, *claim, **{**more, "failed": None})

    patch.setattr(SqliteRuns, "release", forgetful)


def _erase_failures(patch: Patch) -> None:
    def lenient(*outcome: Any, **more: Any) -> Any:
        verdict = judge(*outcome, **more)
        if isinstance(verdict, Verdict) and verdict.status is RunStatus.FAILED:
            return Verdict(status=RunStatus.COMPLETED)
        return verdict

    patch.setattr(execution_module, "judge", lenient)


def _run_recorded_steps_again(patch: Patch) -> None:
    meet = JournalView.meet
    met = count()

    def forgetful(self: JournalView, branch: str, key: str) -> Any:
        entry = meet(self, branch, key)
        if entry is not None and entry.kind is EntryKind.STEP and next(met) % 5 == 0:
            return None
        return entry

    patch.setattr(JournalView, "meet", forgetful)


def _forget_intents(patch: Patch) -> None:
    async def nothing(self: _OnceStep, intent: int) -> None:
        """Try without a word."""

    patch.setattr(_OnceStep, "_intend", nothing)


def _leave_children_alone(patch: Patch) -> None:
    end_line = endings._end_line
    patch.setattr(endings, "_end_line", lambda tx, line, **more: end_line(tx, line[:1], **more))


def _parents_short_of_time(wishes: list[StartRequest]) -> list[StartRequest]:
    """Start runs that begin with a child which waits, and have less time than it takes."""
    bent = _programs(wishes, "life", _begins_with_a_waiting_child)
    return [replace(wish, timeout_s=1.0) for wish in bent]


def _tried_again(wishes: list[StartRequest]) -> list[StartRequest]:
    """Start runs that fail at once, and are tried again as a whole."""
    return _programs(wishes, "tough", lambda plan: plan[0] == ("doomed", True))


def _programs(
    wishes: list[StartRequest], workflow: str, is_wanted: Callable[[Plan], bool]
) -> list[StartRequest]:
    seeds = (seed for seed in count() if is_wanted(make_plan(random.Random(seed))))
    return [
        replace(wish, workflow=workflow, input={"seed": seed, "depth": 0, "turns": 0})
        for wish, seed in zip(wishes, seeds, strict=False)
    ]


def _begins_with_a_waiting_child(plan: Plan) -> bool:
    kind, detail = plan[0]
    if kind != "call":
        return False
    _, child = detail
    return make_plan(random.Random(child["seed"]), child["depth"])[0][0] in {"event", "input"}


def _retry_permanent_failures(patch: Patch) -> None:
    after_failure = _Step.after_failure

    async def persistent(self: _Step, error: Exception) -> None:
        await after_failure(self, OSError(str(error)))

    patch.setattr(_Step, "after_failure", persistent)


def _skip_compensations(patch: Patch) -> None:
    take_back = compensation.take_back
    calls = count()

    async def some(ctx: Any, leg: str, step: Any) -> Any:
        return foreign.Returned(None) if next(calls) % 3 == 0 else await take_back(ctx, leg, step)

    patch.setattr(compensation, "take_back", some)


def _compensate_forwards(patch: Patch) -> None:
    """The first leg is taken back first."""
    compensate = Interpreter.compensate

    async def wrong(self: Interpreter, ctx: Any, cause: Verdict) -> Verdict:
        self.stages = self.stages[::-1]
        return await compensate(self, ctx, cause)

    patch.setattr(Interpreter, "compensate", wrong)


_AGAIN = ("was done again", "came the result")
_NO_REASON = ("has no reason to go on", "was answered for it to go on")

PLANTED = {
    "skipped fence of transactions": Planted(
        _skip_fence_of_transactions, ("an old attempt could write",)
    ),
    "skipped fence of entries": Planted(
        _skip_fence_of_entries, ("an old attempt could write", "an old attempt has written")
    ),
    "early acknowledgement of a step": Planted(
        _acknowledge_steps_early, (*_AGAIN, "does not fit its journal")
    ),
    "early acknowledgement of an event": Planted(
        _acknowledge_events_early, ("an event was accepted and is lost",)
    ),
    "early acknowledgement of a start": Planted(
        _acknowledge_starts_early, ("a run was accepted and is lost", "has made several runs")
    ),
    "lost wake": Planted(_lose_wakes, _NO_REASON),
    "lost wake of some timers": Planted(_lose_half_of_the_timers, _NO_REASON),
    "failed attempts forgotten": Planted(
        _forget_failed_attempts, ("failures, and it is in attempt",), _tried_again
    ),
    "erased failure": Planted(
        _erase_failures, ("a failure was erased", "was not done of a saga that is done")
    ),
    "recorded step run again": Planted(_run_recorded_steps_again, _AGAIN),
    "intent not recorded": Planted(_forget_intents, ("repeated unasked", "nobody was asked")),
    "children left alone": Planted(
        _leave_children_alone, ("a child outlives its parent",), _parents_short_of_time
    ),
    "compensation skipped": Planted(
        _skip_compensations, ("a compensation was skipped", "is told to be taken back")
    ),
    "compensation in the wrong order": Planted(_compensate_forwards, ("was taken back before",)),
    "permanent failure tried again": Planted(
        _retry_permanent_failures, ("a permanent failure was tried again",)
    ),
}
