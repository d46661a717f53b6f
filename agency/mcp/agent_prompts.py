"""Each published agent as a prompt: what is asked for in words becomes a call of its tool.

Skills (prompts in sequence) are no kind of workflow yet; when they are, they belong here.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CompleteRequestParams,
    GetPromptRequestParams,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
)

from agency.mcp.caller import Caller
from agency.mcp.means import Means
from agency.mcp.naming import tool_names
from agency.mcp.offerings import Context
from agency.mcp.run_shape import RUNS
from agency.mcp.verb_names import VERBS
from agency.ports.store import RunFilter
from agency.web.published import Published, PublishedKind

MESSAGE = "message"

COMPLETIONS_MAX = 100
"""Source: MCP 2025-11-25, completion, section "Completion Results"."""


class AgentPrompts:
    """Published agents as prompts."""

    def __init__(self, means: Means) -> None:
        """Take what they are read from."""
        self._means = means

    async def prompts(self, caller: Caller) -> Sequence[Prompt]:
        """List them by name."""
        return [
            Prompt(
                name=name,
                title=f"Ask {one.name}",
                description=one.description,
                arguments=[
                    PromptArgument(
                        name=MESSAGE, description="What the agent is asked to do.", required=True
                    )
                ],
            )
            for name, one in self._agents()
        ]

    async def get(self, ctx: Context, params: GetPromptRequestParams) -> GetPromptResult | None:
        """Write the prompt that has an agent asked."""
        for name, one in self._agents():
            if name != params.name:
                continue
            message = (params.arguments or {}).get(MESSAGE, "")
            if not message.strip():
                raise MCPError(INVALID_PARAMS, f"The prompt {name!r} needs the argument message.")
            text = (
                f"Call the tool `{name}` with this message, and give me its answer. If it takes "
                "longer, go on with run_result; if it asks something, ask me.\n\n" + message
            )
            return GetPromptResult(
                description=one.description,
                messages=[PromptMessage(role="user", content=TextContent(type="text", text=text))],
            )
        return None

    def _agents(self) -> Sequence[tuple[str, Published]]:
        named = tool_names(self._means.publication.list(), VERBS)
        return [(name, one) for name, one in named.items() if one.kind is PublishedKind.AGENT]


class RunCompletions:
    """Ids of the caller's runs, for the addresses of resources."""

    def __init__(self, means: Means) -> None:
        """Take what they are read from."""
        self._means = means

    async def complete(self, caller: Caller, params: CompleteRequestParams) -> Sequence[str] | None:
        """Propose the newest runs whose ids begin so."""
        ref = params.ref
        if isinstance(ref, PromptReference) or not isinstance(ref, ResourceTemplateReference):
            return None
        if not str(ref.uri).startswith(RUNS) or params.argument.name != "run_id":
            return None
        runs = await self._means.services.runs.list(
            RunFilter(principal=caller.principal), before=None, limit=COMPLETIONS_MAX
        )
        return [run.id for run in runs if run.id.startswith(params.argument.value)]
