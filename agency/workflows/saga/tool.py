"""The tool of a declared saga's leg: one call, over the files of the run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from agency.core.records import dataclass
from agency.domain.tool import Asks
from agency.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Permanent,
    ToolInterrupted,
)
from agency.ports.tool import ToolCalls
from agency.workflows.saga.http import EXCERPT_CHARACTERS, scope_of
from agency.workflows.saga.leg import LegContext
from agency.workflows.saga.templates import render

SHELL = "shell"
"""The tool whose texts are commands."""


class ToolFailed(Permanent):
    """A tool has said that it failed, or cannot be called; the same call fails again."""

    code = "tool_failed"

    def __init__(self, message: str, *, tool: str) -> None:
        super().__init__(message)
        self.tool = tool


class ToolLost(OutcomeUnknown):
    """A call of a tool broke off; whether it has had its effect is not known."""

    code = "tool_lost"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ToolCallOfLeg:
    """A call, with references in its arguments.

    Attributes:
        calls: Finds who makes calls; asked when it is called, for tools are opened after files of
            workflows are read.
    """

    tool: str
    arguments: Mapping[str, Any]
    calls: Callable[[], ToolCalls | None]

    async def __call__(self, context: LegContext, result: Any = None) -> Any:  # noqa: ANN401
        """Make the call.

        Returns:
            ``{"content": …, "structured": …, "files": …}``.

        Raises:
            ToolFailed: it has failed, or cannot be called.
            ToolLost: nobody knows whether it was done.
            ToolUnavailable, SandboxFailed, StoreFull: nothing was done; it may work later.
        """
        calls = self.calls()
        if calls is None:
            raise ToolFailed("There are no tools here.", tool=self.tool)
        # What is put into a command is one word of it, whatever it says.
        escape = shlex.quote if self.tool == SHELL else str
        arguments = render(dict(self.arguments), scope_of(context), escape=escape)
        try:
            output = await calls.call(
                self.tool,
                arguments,
                run_id=context.run_id,
                caller=context.saga,
                call_key=context.idempotency_key,
            )
        except (NotFound, Forbidden, InvalidInput) as error:
            raise ToolFailed(f"{error.message} {error.hint}".strip(), tool=self.tool) from error
        except (ToolInterrupted, TimeoutError) as error:
            raise ToolLost(f"The call of {self.tool!r} broke off: {error}") from error
        if isinstance(output, Asks):
            asked = "; ".join(question.prompt for question in output.questions)[:EXCERPT_CHARACTERS]
            raise ToolFailed(
                f"{self.tool!r} asks, and nobody answers here: {asked}", tool=self.tool
            )
        if output.is_error:
            said = output.content[:EXCERPT_CHARACTERS]
            raise ToolFailed(f"{self.tool!r} has failed: {said}", tool=self.tool)
        return {
            "content": output.content,
            "structured": output.structured,
            "files": list(output.files),
        }
