"""Agents elsewhere as tools of ours: each call is a child run of ``call_agent``."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from agency.core import json
from agency.core.clock import monotonic_s
from agency.domain.approval import Risk
from agency.domain.content import PartKind
from agency.domain.remote import CALL_WORKFLOW, RemoteAnswer, RemoteCard
from agency.domain.tool import ToolEffect, ToolOutput
from agency.errors import AgencyError, StepFailed
from agency.ports.model import ToolSpec
from agency.ports.remote import RemoteAgents, RemoteSetup
from agency.ports.tool import Tool, ToolContext, ToolRequest
from agency.workflows.agent import files
from agency.workflows.agent.own_tools import Done, Own
from agency.workflows.agent.records import FILES_MAX
from agency.workflows.remote.records import ID_CHARACTERS_MAX

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

TOOLSET = "a2a"
"""Names all of them at once."""

PREFIX = "ask_"
"""What their names begin with; that of the agent in the settings follows."""

FOLDER = "received"
"""Where in the workspace files are put that an agent has sent."""

MESSAGE_CHARACTERS_MAX = 100_000
DESCRIPTION_CHARACTERS_MAX = 600
SKILLS_SHOWN = 10
AWAY_S = 60.0
"""An agent whose card could not be had is left alone so long: tools are listed often."""
CARDS_S = 2.0
"""Longest wait for cards before tools are listed; without its card a tool has less to say."""


class AskRemote(Own):
    """Asks one agent elsewhere, and waits for its answer."""

    effect = ToolEffect.REPEATABLE  # a child is found again, and sends nothing twice

    def __init__(self, setup: RemoteSetup, agents: RemoteAgents) -> None:
        """Take which agent, and where its card is known."""
        self._setup = setup
        self._agents = agents
        self.permission = setup.permission
        self._described: tuple[RemoteCard | None, ToolSpec] | None = None

    @property
    def spec(self) -> ToolSpec:  # type: ignore[override]  # what it says changes with the card
        """Name, description as its card has it now, and arguments."""
        card = self._agents.known_card(self._setup.name)
        if self._described is None or self._described[0] is not card:
            self._described = (card, self._spec(card))
        return self._described[1]

    def _spec(self, card: RemoteCard | None) -> ToolSpec:
        return ToolSpec(
            name=f"{PREFIX}{self._setup.name}",
            description=described(self._setup, card),
            parameters={
                "type": "object",
                "properties": {
                    "message": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": MESSAGE_CHARACTERS_MAX,
                        "description": "Everything that it has to know.",
                    },
                    "data": {"description": "A JSON value that it needs beside the message."},
                    "files": {
                        "type": "array",
                        "items": {"type": "string"},
                        "maxItems": FILES_MAX,
                        "description": "Files of yours, or patterns, that it gets.",
                    },
                    "context_id": {
                        "type": "string",
                        "maxLength": ID_CHARACTERS_MAX,
                        "description": "As it has answered before, to go on with that talk.",
                    },
                },
                "required": ["message"],
            },
        )

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call: what leaves the house, and where it goes."""
        del context
        return ToolRequest(
            question=f"Send this to the agent {self._setup.name}, of another system?",
            show={"address": self._setup.url, **arguments},
            risk=Risk.MEDIUM,
        )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        """Start the child, wait for it, and put the files that came into the workspace."""
        patterns = [str(one) for one in arguments.get("files") or ()]
        given: Mapping[str, Any] = {}
        # A child is found again by its key: once it is started, its input is not made anew.
        if not loop.is_recorded(f"{label}-run") and patterns and loop.workspace is not None:
            root = await loop.workspace.open(loop.state.version)
            given, _ = await asyncio.to_thread(files.read_files, root, patterns)
        wanted: dict[str, Any] = {
            "agent": self._setup.name,
            "message": str(arguments["message"]),
            "data": arguments.get("data"),
            "context_id": str(arguments.get("context_id") or ""),
        }
        if given:
            wanted["files"] = dict(given)
        try:
            answer: RemoteAnswer = await loop.ctx.call(CALL_WORKFLOW, wanted, name=f"{label}-run")
        except StepFailed as error:
            refused = ToolOutput(content=error.message, is_error=True, is_untrusted=True)
            return Done(output=refused)
        return _done(answer, has_workspace=loop.workspace is not None)


class RemoteToolset:
    """One tool for each agent of the settings; the promises are those of `agency.ports.tool`."""

    name = TOOLSET

    def __init__(self, agents: RemoteAgents) -> None:
        """Take whom may be called."""
        self._agents = agents
        self._tools = [AskRemote(setup, agents) for setup in agents.setups()]
        self._names = [setup.name for setup in agents.setups()]
        self._next_look_s: dict[str, float] = {}

    @property
    def tool_names(self) -> Sequence[str]:
        """Names of the tools, without asking anybody."""
        return [f"{PREFIX}{name}" for name in self._names]

    async def tools(self) -> Sequence[Tool]:
        """List the tools, with what the agents' cards say, where these can be had quickly."""
        now_s = monotonic_s()
        async with asyncio.TaskGroup() as group:
            for name in self._names:
                if now_s >= self._next_look_s.get(name, 0.0):
                    group.create_task(self._read_card(name), name=f"card of {name}")
        return list(self._tools)

    async def _read_card(self, name: str) -> None:
        """Bring a card up to date, if its agent answers at once."""
        try:
            async with asyncio.timeout(CARDS_S):
                await self._agents.card(name)
        except (AgencyError, TimeoutError):
            # What is wrong is told when it is called, and by `agency a2a list`.
            self._next_look_s[name] = monotonic_s() + AWAY_S


def described(setup: RemoteSetup, card: RemoteCard | None) -> str:
    """Say what an agent is for: as the settings have it, else as its card does."""
    if setup.description:
        return setup.description
    if card is None:
        return f"Ask {setup.name}, an agent of another system, to do something."
    can = "; ".join(
        f"{one.name}: {one.description}" if one.description else one.name
        for one in card.skills[:SKILLS_SHOWN]
    )
    said = f"{card.description} It can: {can}" if can else card.description
    line = " ".join(said.split())[:DESCRIPTION_CHARACTERS_MAX]
    return f"Ask {card.name}, an agent of another system. It says of itself: {line}"


def _done(answer: RemoteAnswer, *, has_workspace: bool) -> Done:
    """Turn an answer into a result for the model, and files."""
    puts: dict[str, bytes] = {}
    lines: list[str] = []
    for number, part in enumerate(answer.parts, 1):
        match part.kind:
            case PartKind.TEXT:
                lines.append(part.text)
            case PartKind.DATA:
                lines.append(json.encode(part.data).decode())
            case PartKind.LINK:
                lines.append(f"[A link: {part.url}]")
            case PartKind.BYTES if has_workspace and len(puts) < FILES_MAX:
                path = f"{FOLDER}/{_file_name(part.name, part.media_type, number)}"
                puts[path] = part.raw
                lines.append(f"[A file: {path}]")
            case _:
                lines.append(f"[{part.kind.value} of {len(part.raw)} bytes, left out]")
    text = "\n".join(lines) or "(it gave no answer)"
    if answer.context_id:
        text += f"\n[context_id: {answer.context_id}]"
    output = ToolOutput(content=text, structured=answer.data, is_untrusted=True, files=sorted(puts))
    return Done(output=output, puts=puts)


def _file_name(name: str, media_type: str, number: int) -> str:
    """Make a plain name of one that somebody else has chosen."""
    plain = "".join(
        one if one.isalnum() or one in "-_. " else "-" for one in PurePosixPath(name).name
    )
    plain = plain.strip(". ")[:100]
    if plain:
        return f"{number}-{plain}"
    return f"{number}{mimetypes.guess_extension(media_type) or '.bin'}"
