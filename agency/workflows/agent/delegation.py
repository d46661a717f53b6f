"""Delegation: a part of the task is given to a sub-agent with a clean context."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agency.config.schema import Agent as AgentSettings
from agency.core import json
from agency.domain.tool import ToolOutput
from agency.errors import StepFailed
from agency.ports.model import ToolSpec
from agency.workflows.agent import files
from agency.workflows.agent.allowance import share_of
from agency.workflows.agent.looking import LookAtImage
from agency.workflows.agent.own_tools import (
    Approve,
    AskPerson,
    Done,
    FindTool,
    Own,
    OwnTool,
    StartWorkflow,
    Todo,
    Wait,
)
from agency.workflows.agent.records import FILES_MAX, AgentInput, AgentOutput, EncodedFile

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

WORKFLOW = "agent"
SHARE = 0.5
"""Part of what is left of the budgets that a sub-agent gets when the model names none."""
SHARE_MIN, SHARE_MAX = 0.05, 0.9
TASK_CHARACTERS_MAX = 20_000


def own_tools(settings: AgentSettings, *, depth: int, sees: bool) -> list[OwnTool]:
    """List the tools that an agent has of its own, so deep below others.

    Args:
        sees: There are models for pictures.
    """
    own: list[OwnTool] = [Todo(), FindTool(), Wait(), AskPerson(), Approve()]
    if settings.workflows:
        own.append(StartWorkflow(settings.workflows))
    if sees:
        own.append(LookAtImage())
    if depth < settings.delegation_depth:
        own.append(Delegate())
    return own


class Delegate(Own):
    """Runs a sub-agent as a child, in a workspace of its own."""

    spec = ToolSpec(
        name="delegate",
        description="Give a part of the task to a helper that knows only what you write, and get "
        "its answer.",
        parameters={
            "type": "object",
            "properties": {
                "task": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": TASK_CHARACTERS_MAX,
                    "description": "Everything that it has to know.",
                },
                "tools": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": 64,
                    "description": "Names of tools that it may use; all of yours without it.",
                },
                "share": {
                    "type": "number",
                    "minimum": SHARE_MIN,
                    "maximum": SHARE_MAX,
                    "description": "Part of your budget that it may use.",
                },
                "share_files": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": FILES_MAX,
                    "description": "Files or patterns that it gets, and gives back changed.",
                },
            },
            "required": ["task"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        """Start the child, wait for it, and bring its files back."""
        patterns = [str(one) for one in arguments.get("share_files") or ()]
        given: Mapping[str, Any] = {}
        # A child is found again by its key: once it is started, its input is not made anew.
        if not loop.is_recorded(f"{label}-run") and patterns and loop.workspace is not None:
            root = await loop.workspace.open(loop.state.version)
            given, _ = await asyncio.to_thread(files.read_files, root, patterns)
        task = self._task(loop, arguments, patterns, given)
        try:
            output: AgentOutput = await loop.ctx.call(WORKFLOW, task, name=f"{label}-run")
        except StepFailed as error:
            return _not_completed(error, patterns)
        return _done(output, said="", is_error=False, patterns=patterns)

    def _task(
        self,
        loop: Loop,
        arguments: Mapping[str, Any],
        patterns: Sequence[str],
        given: Mapping[str, Any],
    ) -> AgentInput:
        asked = arguments.get("tools")
        tools: Sequence[str] | None = loop.task.tools
        if asked is not None:
            # Only what this run may use itself: the child's gate knows nothing of this one's.
            tools = [str(name) for name in asked if loop.toolbox.is_known(str(name))]
        return AgentInput(
            message=str(arguments["task"]),
            model=loop.task.model,
            agent=loop.agent,
            tools=tools,
            budgets=share_of(
                loop.budgets, loop.state.spent, loop.base, float(arguments.get("share") or SHARE)
            ),
            files={path: _content(one) for path, one in given.items()} or None,
            system_prompt=loop.task.system_prompt,
            return_files=tuple(patterns),
            depth=loop.task.depth + 1,
        )


def _content(value: Any) -> str | EncodedFile:  # noqa: ANN401  JSON value
    return value if isinstance(value, str) else EncodedFile(base64=value["base64"])


def _not_completed(error: StepFailed, patterns: Sequence[str]) -> Done:
    """Make the result of a child that did not complete; what it has is handed on."""
    details = error.details if isinstance(error.details, dict) else {}
    found = details.get("output")
    if error.error_code == "limit_reached" and isinstance(found, dict):
        from agency.engine.codec import codec_for

        output: AgentOutput = codec_for(AgentOutput).decode(json.encode(found))
        said = f"The helper used up its {output.limit or 'budget'} before it was done."
        return _done(output, said=said, is_error=True, patterns=patterns)
    refused = ToolOutput(content=error.message, is_error=True)
    usage = _usage_in(details)
    return Done(output=refused, more={} if usage is None else {"usage": usage})


def _usage_in(details: Mapping[str, Any]) -> Mapping[str, float] | None:
    """Find what a child had used when it failed; one that was stopped from outside tells nothing.

    See `Spent.note_in`.
    """
    failure = details.get("error")
    said = failure.get("details") if isinstance(failure, dict) else None
    usage = said.get("usage") if isinstance(said, dict) else None
    return usage if isinstance(usage, dict) else None


def _done(output: AgentOutput, *, said: str, is_error: bool, patterns: Sequence[str]) -> Done:
    lines = [said, output.response or "(the helper gave no answer)"]
    puts = files.contents_of(output.returned) if output.returned else {}
    if puts:
        lines.append(f"Files that were brought back: {', '.join(sorted(puts))}.")
    elif patterns:
        lines.append("No files were brought back.")
    lines += list(output.left_out)
    usage = output.usage
    return Done(
        output=ToolOutput(
            content="\n".join(line for line in lines if line),
            is_error=is_error,
            files=sorted(puts),
        ),
        more={
            "usage": {
                "turns": usage.turns,
                "tokens": usage.tokens,
                "tool_calls": usage.tool_calls,
                "seconds": usage.seconds,
            }
        },
        puts=puts,
    )
