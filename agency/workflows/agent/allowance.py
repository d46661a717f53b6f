"""How much of its budgets a run has used, and whether one of them is used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Llm
from agency.errors import AgencyError, StepFailed
from agency.workflows.agent.records import AgentInput, Budgets, Usage

CHARACTERS_PER_TOKEN = 3.3
"""Where the server does not count. Source: notes on agents, the loop contract."""
BUDGETS = ("turns", "tokens", "seconds", "tool_calls")


@dataclass(slots=True)
class Spent:
    """What was used so far; counted from what is recorded, so that it is the same on replay."""

    turns: int = 0
    tokens: int = 0
    tool_calls: int = 0
    seconds: float = 0.0
    rungs: Counter[str] = field(default_factory=Counter)

    def add_reply(self, reply: Mapping[str, Any], *, rung: str) -> None:
        """Count a recorded reply."""
        self.turns += 1
        counted = (reply.get("prompt_tokens") or 0) + (reply.get("reply_tokens") or 0)
        if not counted:
            said = len(reply.get("content") or "") + len(reply.get("thinking") or "")
            counted = round(said / CHARACTERS_PER_TOKEN)
        self.tokens += counted
        self.seconds += reply.get("elapsed_s") or 0.0
        self.rungs[rung] += 1

    def add_call(self, record: Mapping[str, Any], *, is_last: bool) -> None:
        """Count a recorded call; of one that has asked first, all its tries are one call."""
        self.seconds += record.get("seconds") or 0.0
        if is_last:
            self.tool_calls += 1
        usage = record.get("usage")
        if usage:
            self.turns += usage["turns"]
            self.tokens += usage["tokens"]
            self.tool_calls += usage["tool_calls"]
            self.seconds += usage["seconds"]

    def add_sample(self, record: Mapping[str, Any]) -> None:
        """Count a reply that was asked for by a tool."""
        self.tokens += (record.get("prompt_tokens") or 0) + (record.get("reply_tokens") or 0)
        self.seconds += record.get("elapsed_s") or 0.0

    def snapshot(self) -> dict[str, float]:
        """Write the counts that budgets look at."""
        return {name: getattr(self, name) for name in BUDGETS}

    def note_in(self, error: AgencyError) -> None:
        """Note in the error that a helper fails with what it has used, for whoever has asked it."""
        if not isinstance(error, StepFailed):
            vars(error)["usage"] = self.snapshot()
        elif error.details is None or isinstance(error.details, dict):
            error.details = {**(error.details or {}), "usage": self.snapshot()}

    def usage(self) -> Usage:
        """Make the record that the run's output has."""
        return Usage(
            turns=self.turns,
            tokens=self.tokens,
            tool_calls=self.tool_calls,
            seconds=round(self.seconds, 3),
            rungs=dict(self.rungs),
        )


def budgets_of(task: AgentInput, agent: AgentSettings, llm: Llm) -> dict[str, float]:
    """Put together what may be used: the run's own wish, else the agent's, else that of ``[llm]``.

    Returns:
        Bounds by name; what is not in it has none.
    """
    asked = task.budgets or Budgets()
    found: dict[str, float | None] = {
        "turns": asked.turns or task.max_steps or agent.turns or llm.max_steps,
        "tokens": asked.tokens or agent.tokens,
        "seconds": asked.seconds or agent.seconds,
        "tool_calls": agent.tool_calls or None if asked.tool_calls is None else asked.tool_calls,
    }
    return {
        name: bound
        for name, bound in found.items()
        if bound or (name == "tool_calls" and bound is not None)
    }


def used_up(
    budgets: Mapping[str, float], spent: Spent, base: Mapping[str, float], *, is_call: bool
) -> str | None:
    """Tell which budget leaves no room for another model turn, or for another call.

    Args:
        base: What had been used when the run was last let go on with the same budgets again.
    """
    counts = spent.snapshot()
    beside = "turns" if is_call else "tool_calls"
    for name, bound in budgets.items():
        if name != beside and counts[name] - base.get(name, 0) >= bound:
            return name
    return None


def share_of(
    budgets: Mapping[str, float], spent: Spent, base: Mapping[str, float], share: float
) -> Budgets:
    """Give a sub-agent a part of what is left."""
    counts = spent.snapshot()
    left = {
        name: max(0.0, bound - (counts[name] - base.get(name, 0))) * share
        for name, bound in budgets.items()
    }
    return Budgets(
        turns=max(1, int(left["turns"])) if "turns" in left else None,
        tokens=max(1, int(left["tokens"])) if "tokens" in left else None,
        seconds=max(0.001, left["seconds"]) if "seconds" in left else None,
        tool_calls=int(left["tool_calls"]) if "tool_calls" in left else None,
    )
