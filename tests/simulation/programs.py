"""Workflows made by chance.

A run's input says by which seed its program is drawn; so each replay, and each life, runs the same
one. Everything that has an effect outside is noted by the witness.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from agency import (
    Context,
    NotDone,
    Permanent,
    Retry,
    StepFailed,
    WaitTimedOut,
    current_step,
    workflow,
)
from agency.errors import ModelUnavailable
from tests.simulation.witness import Witness

EVENTS = "xyz"
MODEL = "model:m"
LEAVES = (
    "step", "step", "step", "slow_step", "thread", "once", "once", "flaky", "later", "busy",
    "failing", "hopeless", "doomed", "ask", "sleep", "sleep", "event", "brief_event", "input",
    "random", "now", "progress", "at_end", "tidy", "stubborn", "late",
)  # fmt: skip
BRANCHES = ("gather", "first", "map", "call")
DEPTH_MAX = 2
NAPS_S = (0, 0.01, 0.5, 3.0, 40.0, 900.0)
CHILDREN = ("life", "life", "tough")

Plan = list[tuple[str, Any]]


class Busy(OSError):
    """A server that says when to come again."""

    retry_after_s = 12.0


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
            detail = source.choice(NAPS_S)
        elif kind == "doomed":
            detail = source.random() < 0.3  # most would end the run before anything happens
        elif kind == "call":
            spec = {"seed": source.randrange(1 << 30), "depth": depth + 1, "turns": 0}
            detail = (source.choice(CHILDREN), spec)
        plan.append((kind, detail))
    return plan


class Programs:
    """The authors' code. One set serves all seeds, one after another.

    Attributes:
        witness: Of the present seed.
        source: Chance of the present seed; used only by what is outside of the engine.
        is_model_there: Whether the resource answers.
    """

    def __init__(self) -> None:
        self.witness = Witness()
        self.source = random.Random()
        self.is_model_there = True

    def workflows(self) -> list[Callable[..., Any]]:
        """Make them, to be registered."""

        @workflow("life", version="1")
        async def life(ctx: Context, spec: dict[str, int]) -> list[Any]:
            return await self._live(ctx, spec)

        @workflow("tough", version="1", retry=Retry(attempts=3, base_s=2.0))
        async def tough(ctx: Context, spec: dict[str, int]) -> list[Any]:
            return await self._live(ctx, spec)

        return [life, tough]

    async def look(self) -> bool:
        await asyncio.sleep(self.source.random() * 0.1)
        return self.is_model_there

    # --- what a run does --------------------------------------------------------------------

    async def _live(self, ctx: Context, spec: dict[str, int]) -> list[Any]:
        plan = make_plan(random.Random(spec["seed"]), spec["depth"])
        try:
            out = await self._go(ctx, "", plan)
        except StepFailed as failed:
            self.witness.ended(ctx.run_id, ctx.attempt, "raised", failed.message)
            raise
        if spec["turns"] > 0:
            self.witness.ended(ctx.run_id, ctx.attempt, "continued")
            ctx.continue_as({**spec, "seed": spec["seed"] + 1, "turns": spec["turns"] - 1})
        self.witness.ended(ctx.run_id, ctx.attempt, "returned", out)
        return out

    async def _go(self, ctx: Context, path: str, plan: Plan) -> list[Any]:
        out = []
        for position, (kind, detail) in enumerate(plan):
            value = await self._do(ctx, f"{path}/{position}", kind, detail)
            if kind not in {"now", "progress", "at_end"}:
                self.witness.see(ctx.run_id, path, position, value)
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
                done = await ctx.map("item", range(detail), self.work, limit=2)
                return [self._handed(ctx, value) for value in done]
            case "call":
                try:
                    return await ctx.call(*detail)
                except StepFailed as failed:
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
            case "doomed":
                # Not caught: the run fails, or is tried again as a whole.
                return (
                    self._handed(ctx, await ctx.step("doomed", self.fail_for_long))
                    if detail
                    else None
                )
            case _:
                return self._handed(ctx, await self._step(ctx, kind))

    def _handed(self, ctx: Context, value: Any) -> Any:
        if isinstance(value, dict) and "serial" in value:
            self.witness.acknowledge(ctx.run_id, value["key"], value["serial"])
        return value

    async def _step(self, ctx: Context, kind: str) -> Any:
        again = Retry(attempts=3, base_s=0.1)
        match kind:
            case "step":
                return await ctx.step("step", self.work)
            case "slow_step":
                return await ctx.step("slow_step", self.work_for_long)
            case "thread":
                return await ctx.step("thread", self.work_in_thread)
            case "flaky":
                return await ctx.step("flaky", self.fail_at_first, retry=again)
            case "later":
                far = Retry(attempts=3, base_s=60.0)
                return await ctx.step("later", self.fail_at_first, retry=far)
            case "busy":
                return await ctx.step("busy", self.be_busy_at_first, retry=again)
            case "ask":
                return await ctx.step("ask", self.ask)
            case "stubborn":
                return await ctx.step("stubborn", self.work_whatever)
            case _:
                return await self._caught(ctx, kind, again)

    async def _caught(self, ctx: Context, kind: str, again: Retry) -> Any:
        try:
            match kind:
                case "once":
                    return await ctx.step("once", self.charge, effect="once", retry=again)
                case "late":
                    return await ctx.step("late", self.work_for_long, timeout_s=1.0)
                case "hopeless":
                    return await ctx.step("hopeless", self.refuse, retry=again)
                case _:
                    return await ctx.step("failing", self.fail, retry=Retry(attempts=2))
        except StepFailed as failed:
            return failed.message

    async def _wait(self, ctx: Context, kind: str, detail: Any) -> Any:
        match kind:
            case "sleep":
                return await ctx.sleep(detail)
            case "event":
                return await ctx.wait_event(detail)
            case "brief_event":
                try:
                    return await ctx.wait_event(detail, timeout_s=3.0)
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

    def _begin(self, *, is_once: bool = False) -> tuple[str, str, int]:
        info = current_step()
        return info.run_id, info.key, self.witness.begin(info.run_id, info.key, is_once=is_once)

    async def work(self, item: int = 0) -> dict[str, Any]:
        _, key, serial = self._begin()
        await asyncio.sleep(self.source.random() * 0.2)
        return {"key": key, "serial": serial, "item": item}

    async def work_for_long(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        await asyncio.sleep(self.source.random() * 8.0)
        return {"key": key, "serial": serial}

    async def work_whatever(self) -> dict[str, Any]:
        """It does not stop when it is told to."""
        _, key, serial = self._begin()
        until = asyncio.get_running_loop().time() + self.source.random() * 12.0
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return {"key": key, "serial": serial}

    def work_in_thread(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        return {"key": key, "serial": serial}

    async def charge(self) -> dict[str, Any]:
        run_id, key, serial = self._begin(is_once=True)
        chance = self.source.random()
        if chance < 0.15:
            self.witness.not_done(run_id, key)
            raise NotDone("the till is closed")
        await asyncio.sleep(self.source.random() * 0.5)
        if chance < 0.3:
            raise OSError("the connection was lost")
        return {"key": key, "serial": serial}

    async def fail_at_first(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        if current_step().attempt < 3:
            raise OSError("try again")
        return {"key": key, "serial": serial}

    async def be_busy_at_first(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        if current_step().attempt < 2:
            raise Busy("come later")
        return {"key": key, "serial": serial}

    async def fail(self) -> None:
        _, key, serial = self._begin()
        raise ValueError(f"{key} never works, as {serial} shows")

    async def refuse(self) -> None:
        _, key, serial = self._begin()
        if current_step().attempt > 1:
            self.witness.fault(f"a permanent failure was tried again: {key}")
        raise Permanent(f"{key} is refused, as {serial} shows")

    async def fail_for_long(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        if self.source.random() < 0.7:
            raise OSError(f"{key} did not work, as {serial} shows")
        return {"key": key, "serial": serial}

    async def ask(self) -> dict[str, Any]:
        _, key, serial = self._begin()
        await asyncio.sleep(self.source.random())
        if not self.is_model_there:
            raise ModelUnavailable(MODEL, "it is away")
        return {"key": key, "serial": serial}
