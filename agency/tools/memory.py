"""``remember``, ``recall``, ``forget`` and ``core_memory_edit``: what an agent knows later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.domain.approval import Risk
from agency.domain.memory import (
    FACT_CHARACTERS_MAX,
    QUERY_CHARACTERS_MAX,
    Asker,
    Block,
    NewBlock,
    Passage,
)
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import (
    BlockChanged,
    BlockNotFound,
    FactNotFound,
    InvalidInput,
    MemoryFull,
    NotebookNotFound,
    TooManyBlocks,
)
from agency.memory.memories import Memories
from agency.ports.tool import Tool, ToolContext, ToolRequest
from agency.tools.shape import describe, text, whole

NAME = "memory"

SHOWN_CHARACTERS = 1500
"""Of one passage; the whole document is elsewhere."""

RESULTS_MAX = 20
"""Results that a model may ask for: more would fill its context."""

TIMEOUT_S = 60.0


def memory_tools(memories: Memories) -> Sequence[Tool]:
    """Make the tools."""
    return (Remember(memories), Recall(memories), Forget(memories), CoreMemoryEdit(memories))


def asker_of(context: ToolContext) -> Asker:
    """Tell for whom a tool works."""
    return Asker(
        agent=context.agent,
        principal=context.principal,
        session_id=context.session_id,
        run_id=context.run_id,
    )


class _MemoryTool:
    """What all of them have in common.

    They are repeated after an interruption: the key of the call makes twice the same as once.
    """

    effect = ToolEffect.REPEATABLE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = TIMEOUT_S
    question = ""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        return ToolRequest(question=self.question, show=dict(arguments), risk=Risk.LOW)


class Remember(_MemoryTool):
    """Remembers a fact."""

    spec = describe(
        "remember",
        "Remember a fact for later conversations. One or two sentences that can be understood "
        "alone.",
        {
            "fact": text("The fact.", minLength=1, maxLength=FACT_CHARACTERS_MAX),
            "source": text("Where you know it from.", maxLength=500),
        },
        optional="source",
    )
    question = "Remember this?"

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Remember it; see `Tool.call`."""
        asker = asker_of(context)
        try:
            fact, is_new, note = await self._memories.facts.remember(
                self._memories.scope(asker),
                arguments["fact"],
                source=arguments.get("source") or "the conversation",
                principal=context.principal,
                run_id=context.run_id,
                session_id=context.session_id,
                call_key=context.call_key,
            )
        except (InvalidInput, MemoryFull) as error:
            return _failed(error.message)
        said = "Remembered" if is_new else "You knew that already"
        later = f" It is found by its words only for now: {note}" if note else ""
        return ToolOutput(
            content=f"{said} (id {fact.id}).{later}",
            structured={"id": fact.id, "is_new": is_new},
        )


class Recall(_MemoryTool):
    """Finds what was remembered, and what notebooks say."""

    spec = describe(
        "recall",
        "Search your memory and your notebooks. Ask with the words that the answer would have.",
        {
            "query": text("What to look for.", minLength=1, maxLength=QUERY_CHARACTERS_MAX),
            "notebook": text("Only this notebook.", maxLength=128),
            "limit": whole("Results.", minimum=1, maximum=RESULTS_MAX),
        },
        optional="notebook limit",
    )
    question = "Search the memory?"

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Search; see `Tool.call`."""
        try:
            found = await self._memories.recall(
                asker_of(context),
                arguments["query"],
                limit=arguments.get("limit"),
                notebook=arguments.get("notebook") or None,
            )
        except (InvalidInput, NotebookNotFound) as error:
            return _failed(error.message)
        parts = [
            f"[{place}] {_describe(one.passage)}\n{_shorten(one.passage.text)}"
            for place, one in enumerate(found.found, start=1)
        ]
        if not parts:
            parts = ["Nothing was found."]
        return ToolOutput(
            content="\n\n".join([*parts, *found.notes]),
            structured={
                "results": [
                    {"kind": one.passage.kind, "id": one.passage.id, "score": one.score}
                    for one in found.found
                ]
            },
            # What documents say was written by others.
            is_untrusted=any(one.passage.kind == "document" for one in found.found),
        )


class Forget(_MemoryTool):
    """Forgets a fact."""

    spec = describe(
        "forget",
        "Forget a fact that is wrong or no longer needed. recall shows the ids.",
        {"id": text("Id of the fact.", minLength=1, maxLength=64)},
    )
    question = "Forget this fact?"

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Forget it; see `Tool.call`."""
        scope = self._memories.scope(asker_of(context))
        try:
            await self._memories.facts.forget(scope, arguments["id"])
        except FactNotFound:
            # Also what a call has done that was interrupted before it could say so.
            return ToolOutput(content=f"There is no fact {arguments['id']!r} in your memory (now).")
        return ToolOutput(content="Forgotten.")


class CoreMemoryEdit(_MemoryTool):
    """Changes a block of core memory."""

    spec = describe(
        "core_memory_edit",
        "Change what you know in every conversation: add a line, replace a text, or write a block "
        "anew. Only what always matters; everything else is for remember.",
        {
            "block": text("Small letters: user, task, style …", pattern="^[a-z0-9][a-z0-9_-]*$"),
            "operation": {
                "type": "string",
                "enum": ["append", "replace", "write"],
                "description": "append adds a line; replace changes old into text; write replaces "
                "the whole block, and an empty text removes it.",
            },
            "text": text("The new text."),
            "old": text("For replace: the text that is there now, exactly."),
            "reason": text("Why.", maxLength=300),
        },
        optional="old reason",
    )
    question = "Change the core memory?"

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Change it; see `Tool.call`."""
        scope, core = self._memories.scope(asker_of(context)), self._memories.core
        # A call that was interrupted behind its work must not look for what it has replaced.
        made = await core.made_by(scope, context.call_key)
        if made is None:
            blocks = {one.name: one for one in await core.blocks(scope)}
            wanted = _edited(blocks.get(arguments["block"]), arguments)
            if isinstance(wanted, ToolOutput):
                return wanted
            new = NewBlock(
                name=arguments["block"],
                text=wanted,
                principal=context.principal,
                run_id=context.run_id,
                reason=arguments.get("reason") or "",
                call_key=context.call_key,
            )
            try:
                made = await core.change(scope, new)
            except BlockNotFound:
                return ToolOutput(content=f"There is no block {new.name!r} (any more).")
            except TooManyBlocks as error:
                return _failed(f"{error.message} They are {', '.join(blocks)}.")
            except (InvalidInput, BlockChanged) as error:
                return _failed(error.message)
        if made.text is None:
            return ToolOutput(content=f"The block {made.name!r} is removed.")
        return ToolOutput(
            content=f"The block {made.name!r} has {len(made.text)} of {core.characters_max} "
            "characters now.",
            structured={"block": made.name, "version": made.version},
        )


def _edited(known: Block | None, arguments: Mapping[str, Any]) -> str | ToolOutput | None:
    before = (known.text if known is not None else None) or ""
    new = arguments["text"]
    match arguments["operation"]:
        case "append":
            return f"{before}\n{new}".strip("\n")
        case "write":
            return str(new) or None
        case _:
            old = arguments.get("old") or ""
            if not old or before.count(old) != 1:
                times = before.count(old) if old else 0
                return _failed(
                    f"The text `old` is {times} times in the block {arguments['block']!r}; it must "
                    f"be there once, exactly. The block is now:\n{before}"
                )
            return before.replace(old, new)


def _describe(passage: Passage) -> str:
    when = passage.created_at.date().isoformat()
    if passage.chunk is None:
        return f"fact {passage.id} of {when}, from {passage.source}"
    heading = f", {passage.chunk.heading}" if passage.chunk.heading else ""
    return f"notebook {passage.notebook}: {passage.title}{heading} (part {passage.chunk.position})"


def _shorten(passage: str) -> str:
    if len(passage) <= SHOWN_CHARACTERS:
        return passage
    return f"{passage[:SHOWN_CHARACTERS]} … {len(passage) - SHOWN_CHARACTERS} characters more"


def _failed(message: str) -> ToolOutput:
    return ToolOutput(content=message, is_error=True)
