"""Agents under test: a model that follows a script, and tools over real workspaces."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Llm
from agency.core.clock import SystemClock
from agency.domain.approval import Risk
from agency.domain.tool import (
    Asks,
    Capability,
    Level,
    Permission,
    ToolEffect,
    ToolOutput,
)
from agency.errors import ModelUnavailable
from agency.files.folder import Bounds
from agency.files.workspaces import FileWorkspaces
from agency.ports.model import (
    CallProgress,
    ChatReply,
    ChatRequest,
    ToolCall,
    ToolSpec,
)
from agency.ports.tool import ToolContext, ToolRequest
from agency.storage.sqlite.store import SqliteStore
from agency.testing.model import ScriptedModel
from agency.workflows.agent.agent import Agent

LLM = Llm(provider="rehearsal", system_prompt="You are a test.", max_steps=50)

Say = str | ToolCall | Sequence[ToolCall] | ChatReply | Exception | Callable[[ChatRequest], Any]


class Played(ScriptedModel):
    """Says what its script has for the turn; which script, the task's first words decide.

    The turn is counted from the request, so that a process that was killed goes on where it was.
    """

    def __init__(self) -> None:
        """Begin without scripts."""
        super().__init__(LLM)
        self.scripts: dict[str, Sequence[Say]] = {}
        self.prompt_tokens = 100
        self.in_flight = asyncio.Event()

    def plays(self, task: str, *turns: Say) -> None:
        """Write the script of the task that begins with these words."""
        self.scripts[task] = turns

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Say what the script has."""
        del on_progress
        self.requests.append(request)
        if self.is_away:
            raise ModelUnavailable(self.resource, "the test has sent it away")
        said = self._lines(request)[self._turn(request)]
        if callable(said):
            said = said(request)
            if isinstance(said, Awaitable):
                self.in_flight.set()
                said = await said
        if isinstance(said, Exception):
            raise said
        reply = _reply(said)
        if on_token is not None and reply.content:
            on_token(reply.content)
        return replace(
            reply,
            model=request.model or "played",
            provider=self.name,
            is_rehearsal=True,
            prompt_tokens=self.prompt_tokens if reply.prompt_tokens is None else 0,
            reply_tokens=10,
        )

    def _lines(self, request: ChatRequest) -> Sequence[Say]:
        users = [one.content for one in request.messages if one.role == "user"]
        for text in users:
            for task, script in self.scripts.items():
                if text.startswith(task):
                    return script
        raise AssertionError(f"there is no script for {users[:1]}")

    def _turn(self, request: ChatRequest) -> int:
        start = next(
            i
            for i, one in enumerate(request.messages)
            if one.role == "user" and any(one.content.startswith(task) for task in self.scripts)
        )
        return sum(one.role == "assistant" for one in request.messages[start:])


def _reply(said: Say) -> ChatReply:
    if isinstance(said, ChatReply):
        return said
    if isinstance(said, str):
        return ChatReply(content=said, model="", provider="")
    calls = [said] if isinstance(said, ToolCall) else list(said)  # type: ignore[arg-type]
    return ChatReply(content="", model="", provider="", tool_calls=calls)


def call(name: str, /, **arguments: Any) -> ToolCall:
    """Make a call."""
    return ToolCall(name=name, arguments=arguments)


@dataclass
class PlainTool:
    """A tool made of a function."""

    name: str
    function: Callable[..., Awaitable[Any]]
    parameters: Mapping[str, Any]
    effect: ToolEffect = ToolEffect.REPEATABLE
    permission: Permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s: float = 10.0
    description: str = ""

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            name=self.name,
            description=self.description or f"The tool {self.name}.",
            parameters=self.parameters,
        )

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        return ToolRequest(
            question=f"Use {self.name}?", show={"command": str(dict(arguments))}, risk=Risk.MEDIUM
        )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput | Asks:
        result = await self.function(context, **arguments)
        return ToolOutput(content=result) if isinstance(result, str) else result


@dataclass
class PlainSet:
    """A source of tools; ``error`` is raised when it is asked."""

    name: str
    found: list[PlainTool]
    error: Exception | None = None

    async def tools(self) -> Sequence[PlainTool]:
        if self.error is not None:
            raise self.error
        return self.found


@dataclass
class PlainSets:
    """All of them."""

    sets: list[PlainSet]

    def all(self) -> Sequence[PlainSet]:
        return self.sets


TEXT = {"type": "string"}


def taking(**properties: Any) -> dict[str, Any]:
    """Make a schema in which all is required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


async def write(context: ToolContext, path: str, text: str) -> ToolOutput:
    """Append to a file, so that twice is seen."""
    folder = await context.workspace.folder()
    with (folder / path).open("a") as file:
        file.write(text)
    return ToolOutput(content=f"Wrote {len(text)} characters.", files=[path])


async def read(context: ToolContext, path: str) -> ToolOutput:
    file = (await context.workspace.folder()) / path
    if not file.exists():
        return ToolOutput(content=f"There is no {path}.", is_error=True)
    return ToolOutput(content=file.read_text())


@dataclass
class World:
    """What tests turn: the model, the tools, the agents' settings, and what was sent outside."""

    model: Played = field(default_factory=Played)
    agents: dict[str, AgentSettings] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    extra: list[PlainSet] = field(default_factory=list)
    redact: Callable[[str], str] = str
    levels: dict[Capability, Level] = field(default_factory=dict)
    llm: Llm = LLM
    sees: bool = False
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    async def send(self, context: ToolContext, to: str) -> str:
        self.sent[to] += 1
        return f"Sent to {to}."

    def sets(self) -> PlainSets:
        files = PlainSet(
            "files",
            [
                PlainTool("read", read, taking(path=TEXT)),
                PlainTool("write", write, taking(path=TEXT, text=TEXT), ToolEffect.RESTORE),
            ],
        )
        mail = PlainSet("mail", [PlainTool("send", self.send, taking(to=TEXT), ToolEffect.ONCE)])
        return PlainSets([files, mail, *self.extra])

    def make_agent(self, store: SqliteStore, model: ScriptedModel, folder: Path) -> Agent:
        """Make the agent of one life."""
        workspaces = FileWorkspaces(
            folder,
            versions=store.versions,
            bounds=Bounds(bytes_max=1 << 20, files_max=100),
            threads=self.threads,
        )
        return Agent(
            providers={model.name: model},
            default=model.name,
            settings=self.llm,
            sessions=store.sessions,
            agents={"default": AgentSettings(), **self.agents},
            toolsets=self.sets(),
            workspaces=workspaces.of,
            redact=self.redact,
            levels=lambda: self.levels,
            sees=self.sees,
        )


CLOCK = SystemClock()
