"""Tools that need the run itself: plan, find tools, wait, ask people, start workflows.

They have the shape of all tools, and the gate holds for them. What they wait for are waits of the
run, which suspend it; only what they came to is then recorded as the call's result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from agency.core import json
from agency.core.records import dataclass
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import StepFailed
from agency.ports.model import ToolSpec
from agency.ports.tool import ToolContext, ToolRequest
from agency.workflows.agent import asking, plan

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

TOOLSET = "agent"
"""Name under which all of them are allowed or refused at once."""
WAIT_S_MAX = 30 * 86_400.0
"""Longest wait that a model may ask for: a slip of it must not stop a run for years."""
QUESTION_CHARACTERS_MAX = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a call has come to, and what of the run's state it has changed.

    Attributes:
        more: Members of the record: ``todos``, ``found``, ``usage``.
        puts: Files to be written into the workspace with the record.
    """

    output: ToolOutput
    more: Mapping[str, Any] = field(default_factory=dict)
    puts: Mapping[str, bytes] = field(default_factory=dict)


class OwnTool(Protocol):
    """A tool that works through the run's context."""

    @property
    def spec(self) -> ToolSpec: ...
    @property
    def effect(self) -> ToolEffect: ...
    @property
    def permission(self) -> Permission: ...
    @property
    def needs(self) -> frozenset[Capability]: ...
    @property
    def timeout_s(self) -> float: ...
    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """As of all tools."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Refuse: it works only inside of an agent's run, by `perform`."""
        ...

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        """Do it; everything that the run waits for is asked of its context.

        Args:
            loop: The run.
            label: Names the call in the run's journal; names of waits begin with it.
            arguments: They fit the schema.
        """
        ...


class Own:
    """What they have in common."""

    spec: ToolSpec
    effect = ToolEffect.REPEATABLE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = WAIT_S_MAX

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        del context
        return ToolRequest(
            question=f"Let the agent use {self.spec.name}?",
            show={"arguments": dict(arguments)},
            risk=Risk.LOW,
        )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        del arguments, context
        return ToolOutput(
            content=f"{self.spec.name} works only inside of an agent's run.", is_error=True
        )


class Todo(Own):
    """Keeps the list."""

    spec = ToolSpec(
        name="todo",
        description="Write down the whole list of what is to be done, and keep it up to date.",
        parameters={
            "type": "object",
            "properties": {
                "items": {
                    "type": "array",
                    "maxItems": 4 * plan.TODOS_MAX,
                    "items": {
                        "type": "object",
                        "properties": {
                            "text": {"type": "string"},
                            "status": {"type": "string", "enum": list(plan.STATUSES)},
                        },
                        "required": ["text", "status"],
                    },
                }
            },
            "required": ["items"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        del loop, label
        todos, remark = plan.read_todos(arguments["items"])
        done, total, now = plan.progress_of(todos)
        said = f"Noted: {done} of {total} done." + (f" Now: {now}." if now else "")
        return Done(
            output=ToolOutput(content=f"{said} {remark}".strip(), structured=None),
            more={"todos": todos},
        )


class FindTool(Own):
    """Finds tools that are not offered, and has them offered."""

    spec = ToolSpec(
        name="find_tool",
        description="Find a tool for something that the tools you have cannot do.",
        parameters={
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What it should do, in a few words."}
            },
            "required": ["query"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        del label
        found = loop.search(str(arguments["query"]))
        if not found:
            return Done(output=ToolOutput(content="There is no such tool.", is_error=True))
        lines = [f"- {spec.name}: {spec.description}" for spec in found]
        return Done(
            output=ToolOutput(content="\n".join(["You can use now:", *lines])),
            more={"found": [spec.name for spec in found]},
        )


class Wait(Own):
    """Waits without the model spinning."""

    spec = ToolSpec(
        name="wait",
        description="Wait for some seconds, or until a moment; costs nothing.",
        parameters={
            "type": "object",
            "properties": {
                "seconds": {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX},
                "until": {"type": "string", "description": "RFC 3339, as 2030-01-31T08:00:00Z."},
            },
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        seconds, until = arguments.get("seconds"), arguments.get("until")
        if (seconds is None) == (until is None):
            return _refused("Give either seconds or until.")
        if until is not None:
            moment = _moment(str(until))
            if moment is None:
                return _refused("`until` is a moment with a time zone, as 2030-01-31T08:00:00Z.")
            seconds = (moment - loop.now()).total_seconds()
            if seconds > WAIT_S_MAX:
                return _refused("That is more than 30 days away.")
        else:
            assert seconds is not None
            moment = loop.now() + timedelta(seconds=float(seconds))
        if seconds > 0:
            await loop.sleep_until(f"{label}-until", moment)
        return Done(output=ToolOutput(content="The time has passed."))


class AskPerson(Own):
    """Asks somebody for what only people know."""

    spec = ToolSpec(
        name="ask_person",
        description="Ask the person you work for a question that only they can answer, and wait.",
        parameters={
            "type": "object",
            "properties": {
                "question": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": QUESTION_CHARACTERS_MAX,
                },
                "choices": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
            },
            "required": ["question"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        choices = arguments.get("choices")
        schema = {"type": "string", "enum": list(choices)} if choices else {"type": "string"}
        answer = await loop.ask(f"{label}-answer", str(arguments["question"]), schema)
        return Done(output=ToolOutput(content=f"The person answered: {answer}"))


class Approve(Own):
    """Asks somebody whether something may be done."""

    spec = ToolSpec(
        name="approve",
        description="Ask whether something may be done, before it is done, and wait.",
        parameters={
            "type": "object",
            "properties": {
                "question": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": QUESTION_CHARACTERS_MAX,
                },
                "details": {"type": "string", "description": "What exactly is to be done."},
            },
            "required": ["question"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        details = str(arguments.get("details") or "")[:QUESTION_CHARACTERS_MAX]
        decision = await loop.ctx.approve(
            asking.printable(str(arguments["question"])),
            show={"details": details},
            name=f"{label}-approve",
        )
        said = "Approved." if decision else "Denied."
        return Done(output=ToolOutput(content=f"{said} {decision.comment}".strip()))


class StartWorkflow(Own):
    """Runs another workflow as a child."""

    effect = ToolEffect.REPEATABLE  # a child is found again, and never started twice
    permission = Permission.ALLOW

    def __init__(self, workflows: Sequence[str]) -> None:
        self._workflows = tuple(workflows)
        self.spec = ToolSpec(
            name="start_workflow",
            description="Run a workflow and wait for what it comes to.",
            parameters={
                "type": "object",
                "properties": {
                    "workflow": {"type": "string", "enum": list(self._workflows)},
                    "input": {"description": "Its input, a JSON value."},
                },
                "required": ["workflow"],
            },
        )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        name = str(arguments["workflow"])
        assert name in self._workflows, name
        try:
            output = await loop.ctx.call(name, arguments.get("input"), name=f"{label}-run")
        except StepFailed as error:
            return _refused(f"The workflow {name!r} did not succeed: {error.message}")
        text = json.encode(output).decode()
        return Done(output=ToolOutput(content=text, structured=None, is_untrusted=True))


def _refused(what: str) -> Done:
    return Done(output=ToolOutput(content=what, is_error=True))


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
