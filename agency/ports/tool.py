"""Tools, whoever offers them: what the agent's loop and the legs of sagas call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from agency.core.records import dataclass
from agency.domain.approval import Risk
from agency.domain.tool import Asks, Capability, Permission, ToolEffect, ToolOutput
from agency.ports.model import ToolSpec
from agency.ports.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """For whom a tool works.

    Attributes:
        agent: Name of the agent; its memory and secrets are kept apart from those of others.
        call_key: The same for each try of one call: an idempotency key for servers that honour it.
        workspace: The run's files; opened when it is first asked for.
        progress: Takes a line of progress, or a piece of output, for those who watch.
        answers: Of the questions that an earlier try of this call has asked, by key.
        state: What that try has handed over with its questions.
    """

    run_id: str
    agent: str
    session_id: str | None
    principal: str
    call_key: str
    workspace: Workspace
    progress: Callable[[str], None]
    answers: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A call as whoever has to approve it sees it.

    Attributes:
        question: One sentence: ``Run a command in the workspace?``
        show: What exactly: the command, the difference, the request, the arguments.
    """

    question: str
    show: Mapping[str, Any]
    risk: Risk = Risk.MEDIUM


class Tool(Protocol):
    """Something that a model may ask for. Safe to call from many runs at once."""

    @property
    def spec(self) -> ToolSpec:
        """Name, description and JSON Schema of the arguments."""
        ...

    @property
    def effect(self) -> ToolEffect:
        """What becomes of an interrupted call."""
        ...

    @property
    def permission(self) -> Permission:
        """What holds when no policy says otherwise."""
        ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What must be enforced for a call; empty for what needs no sandbox."""
        ...

    @property
    def timeout_s(self) -> float:
        """Longest call, in seconds."""
        ...

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call exactly, without any effect. ``arguments`` fit the schema."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput | Asks:
        """Do it. ``arguments`` fit the schema; cancelling ends all that was begun.

        What the model can mend (no such file, a command that fails) is an output with
        ``is_error``; it is not raised.

        Raises:
            SandboxTooWeak: what the call needs is not in force; nothing was done.
            ToolUnavailable: who offers it is away; nothing was done, and it may be tried again.
            ToolInterrupted: it broke off in the middle; whether it has happened is unknown.
        """
        ...


class Toolset(Protocol):
    """A source of tools: those of our own, or one MCP server."""

    @property
    def name(self) -> str:
        """``files``, ``shell`` …, or the connection's; names all of its tools at once."""
        ...

    async def tools(self) -> Sequence[Tool]:
        """List what it offers now.

        Raises:
            ToolUnavailable: it cannot be asked now.
        """
        ...


class Toolsets(Protocol):
    """All sources of tools of this daemon; they may come and go."""

    def all(self) -> Sequence[Toolset]:
        """List the sources there are now, ordered by name."""
        ...


class ToolCalls(Protocol):
    """Calls of tools that no agent makes, where nobody is asked."""

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        run_id: str,
        caller: str,
        call_key: str,
        principal: str = "",
    ) -> ToolOutput | Asks:
        """Call a tool over the newest files of a run, and keep what it has changed.

        Args:
            caller: Who calls, as a name of an agent would say.
            call_key: The same for each try of one call.

        Raises:
            UnknownTool: there is none of that name.
            ToolNotAllowed: it may only be called after somebody was asked, or not at all.
            InvalidInput: the arguments do not fit.
            ToolUnavailable, SandboxTooWeak, SandboxFailed: nothing was done.
            ToolInterrupted, TimeoutError: whether it was done is unknown.
            WorkspaceTooLarge, WorkspaceLost, StoreFull: the files cannot be kept, or put back.
        """
        ...
