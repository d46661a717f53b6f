"""Workflows made by chance, and a witness outside of the engine that notes what they did."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agency import Context, NotDone, Retry, StepFailed, WaitTimedOut, current_step, workflow
from agency.domain.entry import EntryKind
from agency.errors import ModelUnavailable

EVENTS = "xyz"
MODEL = "model:m"
LEAVES = (
    "step", "step", "step", "thread", "once", "once", "flaky", "failing", "ask", "sleep", "sleep",
    "event", "brief_event", "input", "random", "now", "progress", "at_end", "tidy",
)  # fmt: skip
BRANCHES = ("gather", "first", "map", "call")
DEPTH_MAX = 2

Plan = list[tuple[str, Any]]
StepKey = tuple[str, str]


def make_plan(source: random.Random, depth: int = 0) -> Plan:
    """Draw what a branch does, one thing after another."""
    kinds = LEAVES if depth >= DEPTH_MAX else (*LEAVES, *BRANCHES, *BRANCHES)
    plan: Plan = []
    for _ in range(source.randint(1, 4)):
        kind = source.choice(kinds)
        detail: Any = None
        if kind in {"gather", "first"}:
            detail = [make_plan(source, depth + 1) for _ in range(source.randint(1, 3))]
        elif kind in {"event", "brief_event"}:
            detail = source.choice(EVENTS)
        elif kind == "map":
            detail = source.randint(0, 5)
        elif kind in {"sleep", "tidy"}:
            detail = source.choice([0, 0.01, 0.05])
        elif kind == "call":
            detail = {"seed": source.randrange(1 << 30), "depth": depth + 1, "turns": 0}
        plan.append((kind, detail))
    return plan


class Lives:
    """What the workflows of one seed do, over several lives of the engine.

    Attributes:
        faults: What should never have happened.
        is_model_there: Whether the resource answers.
        is_dead: The present life was killed: what it still does has not happened.
        decided_again: How often somebody has asked for a once-step to be repeated.
        held: Runs that an operator holds for certain.
        asked: Runs whose end was asked for.
    """

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.faults: list[str] = []
        self.is_model_there = True
        self.is_dead = False
        self.decided_again: Counter[StepKey] = Counter()
        self.held: set[str] = set()
        self.asked: set[str] = set()
        self._done: Counter[StepKey] = Counter()
        self._recorded: dict[StepKey, int] = {}
        self._seen: dict[tuple[str, str, int], Any] = {}

    def workflows(self) -> list[Callable[..., Any]]:
        """Make them for the present life."""

        @workflow("life", version="1")
        async def life(ctx: Context, spec: dict[str, int]) -> list[Any]:
            plan = make_plan(random.Random(spec["seed"]), spec["depth"])
            out = await self._go(ctx, "", plan)
            if spec["turns"] > 0:
                ctx.continue_as({**spec, "seed": spec["seed"] + 1, "turns": spec["turns"] - 1})
            return out

        return [life]

    async def look(self) -> bool:
        return self.is_model_there

    # --- what a branch does -----------------------------------------------------------------

    async def _go(self, ctx: Context, path: str, plan: Plan) -> list[Any]:
        out = []
        for position, (kind, detail) in enumerate(plan):
            value = await self._do(ctx, f"{path}/{position}", kind, detail)
            if kind not in {"now", "progress", "at_end"}:
                self._see(ctx.run_id, path, position, value)
            out.append(value)
        return out

    async def _do(self, ctx: Context, path: str, kind: str, detail: Any) -> Any:
        match kind:
            case "gather":
                return await ctx.gather(
                    *[self._go(ctx, f"{path}.{n}", plan) for n, plan in enumerate(detail)],
                    limit=2 if len(detail) == 3 else None,
                )
            case "first":
                won = await ctx.first(
                    **{f"b{n}": self._go(ctx, f"{path}.{n}", p) for n, p in enumerate(detail)}
                )
                return [won.name, won.value]
            case "map":
                return await ctx.map("item", range(detail), self.work, limit=2)
            case "call":
                try:
                    return await ctx.call("life", detail)
                except StepFailed as failed:  # somebody has cancelled it
                    return failed.error_code
            case "tidy":
                try:
                    return await ctx.sleep(detail)
                finally:
                    await asyncio.sleep(0)
            case "sleep" | "event" | "brief_event" | "input":
                return await self._wait(ctx, kind, detail)
            case "random" | "now" | "progress" | "at_end":
                return self._ask(ctx, kind, path)
            case _:
                return await self._step(ctx, kind)

    async def _step(self, ctx: Context, kind: str) -> Any:
        again = Retry(attempts=3, base_s=0.005)
        match kind:
            case "step":
                return await ctx.step("step", self.work)
            case "thread":
                return await ctx.step("thread", self.work_in_thread)
            case "once":
                try:
                    return await ctx.step("once", self.charge, effect="once", retry=again)
                except StepFailed as failed:  # it was not done three times
                    return failed.error_code
            case "flaky":
                return await ctx.step("flaky", self.fail_at_first, retry=again)
            case "ask":
                return await ctx.step("ask", self.ask)
            case _:
                try:
                    return await ctx.step("failing", self.fail)
                except StepFailed as failed:
                    return str(failed)

    async def _wait(self, ctx: Context, kind: str, detail: Any) -> Any:
        match kind:
            case "sleep":
                return await ctx.sleep(detail)
            case "event":
                return await ctx.wait_event(detail)
            case "brief_event":
                try:
                    return await ctx.wait_event(detail, timeout_s=0.05)
                except WaitTimedOut:
                    return "late"
            case _:
                return await ctx.input("What now?")

    def _ask(self, ctx: Context, kind: str, path: str) -> Any:
        match kind:
            case "random":
                return [ctx.random(), ctx.uuid()]
            case "now":
                return ctx.now().isoformat()
            case "progress":
                return ctx.progress(1, 2, path)
            case _:
                return ctx.at_end(self.work)

    # --- what its steps do ------------------------------------------------------------------

    async def work(self, item: int = 0) -> int:
        self._note()
        await asyncio.sleep(self.source.random() * 0.01)
        return item

    def work_in_thread(self) -> str:
        self._note()
        time.sleep(0.002)
        return "worked"

    async def charge(self) -> str:
        key, count = self._note()
        if count > 1 + self.decided_again[key] and not self.is_dead:
            self.faults.append(f"a once-step was repeated unasked: {key}")
        chance = self.source.random()
        if chance < 0.1:
            self._done[key] -= 1
            raise NotDone("the till is closed")
        await asyncio.sleep(self.source.random() * 0.01)
        if chance < 0.2:
            raise OSError("the connection was lost")
        return "paid"

    async def fail_at_first(self) -> str:
        self._note()
        if current_step().attempt < 3:
            raise OSError("try again")
        return "done at last"

    async def fail(self) -> None:
        self._note()
        raise ValueError("this never works")

    async def ask(self) -> str:
        self._note()
        if not self.is_model_there:
            raise ModelUnavailable(MODEL, "it is away")
        return "answer"

    # --- the witness ------------------------------------------------------------------------

    def _note(self) -> tuple[StepKey, int]:
        info = current_step()
        key = (info.run_id, info.key)
        if self.is_dead:
            return key, 0
        self._done[key] += 1
        if info.run_id in self.held and not info.key.startswith("!end/"):
            self.faults.append(f"a step was begun in a held run: {key}")
        return key, self._done[key]

    def _see(self, run_id: str, path: str, position: int, value: Any) -> None:
        """What a run was handed, it is handed again on each replay."""
        if self.is_dead:
            return
        place = (run_id, path, position)
        known = self._seen.setdefault(place, value)
        if known != value:
            self.faults.append(f"at {place} came {value!r}, and before {known!r}")

    def check_journal(self, path: Path) -> None:
        """No step that was recorded at an earlier look has been done again since."""
        for key, count in self._recorded.items():
            if self._done[key] != count:
                self.faults.append(f"a recorded step was done again: {key}")
        rows = _read(
            path,
            "SELECT runs.id, key FROM journal JOIN runs ON runs.number = journal.run"
            " WHERE journal.kind = ?",
            EntryKind.STEP,
        )
        self._recorded = {(run_id, key): self._done[run_id, key] for run_id, key in rows}

    def check_end(self, path: Path) -> None:
        """All that was begun has ended as it may."""
        for run_id, status, error in _read(path, "SELECT id, status, error FROM runs"):
            allowed = {"completed", "cancelled", "timed_out"}
            if status not in allowed:
                self.faults.append(f"run {run_id} ended as {status}: {error}")
        undone = _read(
            path,
            "SELECT run, key FROM journal AS registered WHERE kind = ? AND NOT EXISTS ("
            " SELECT 1 FROM journal WHERE run = registered.run"
            " AND key = '!end/' || registered.key)",
            EntryKind.AT_END,
        )
        self.faults += [f"work for the end was not done: {row}" for row in undone]
        twice = _read(
            path,
            "SELECT run, payload, count(*) FROM waits WHERE kind = 'event'"
            " AND outcome = 'answered' GROUP BY run, payload HAVING count(*) > 1",
        )
        self.faults += [f"an event was handed out twice: {row}" for row in twice]


def _read(path: Path, sql: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(path / "agency.db")
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()
