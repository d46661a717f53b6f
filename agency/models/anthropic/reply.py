"""Put a reply together from the events of a stream; only a whole one comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.core import json
from agency.errors import ModelCallMalformed, ModelRefused, ModelReplyBroken
from agency.models.anthropic.body import ANSWER_TOOL, Written
from agency.models.endings import cut_off, empty
from agency.models.refusals import RAW_CHARACTERS_MAX
from agency.ports.model import ChatReply, ToolCall

BLOCKS_ROWS_MAX = 1024
"""Blocks of one reply."""

_BY_LENGTH = frozenset({"max_tokens", "model_context_window_exceeded"})


@dataclass(slots=True)
class _Block:
    kind: str
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ReplyBuilder:
    """Collects the events of one answer of ``POST /v1/messages``.

    Source: Anthropic's API reference, "Streaming messages": unknown events and kinds of blocks
    may come at any time, and are left out.
    """

    def __init__(self, model: str, written: Written) -> None:
        """Begin an answer of ``model`` to what was ``written``."""
        self._model = model
        self._written = written
        self._answered_by = ""
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._reason = ""
        self.is_done = False

    def add(self, event: Mapping[str, Any]) -> tuple[str, bool]:
        """Take in one event.

        Returns:
            The new text of the answer, maybe empty; and whether the event brought anything at all,
            a thought or a tool call included.

        Raises:
            ModelReplyBroken: the event is not what the protocol promises.
        """
        match event.get("type"):
            case "message_start":
                message = self._object(event, "message")
                self._answered_by = _text(message.get("model"))
                self._count(message.get("usage"))
            case "content_block_start":
                return self._begin(event)
            case "content_block_delta":
                return self._go_on(event)
            case "message_delta":
                self._reason = _text(self._object(event, "delta").get("stop_reason"))
                self._count(event.get("usage"))
            case "message_stop":
                self.is_done = True
        return "", False

    def add_whole(self, message: Mapping[str, Any]) -> None:
        """Take in an answer of a server that does not stream.

        Raises:
            ModelReplyBroken: it is not what the protocol promises.
        """
        self.add({"type": "message_start", "message": message})
        blocks = message.get("content")
        if not isinstance(blocks, list):
            raise self._broken("its content is not a list")
        for index, block in enumerate(blocks):
            self.add({"type": "content_block_start", "index": index, "content_block": block})
        self._reason = _text(message.get("stop_reason"))
        self.is_done = True

    def finish(self, *, provider: str, elapsed_s: float) -> ChatReply:
        """Hand out the whole reply.

        Args:
            provider: Name to record.
            elapsed_s: Seconds since the request.

        Raises:
            ModelReplyBroken: the answer ended early, is empty, or has a call that cannot be read.
            ModelRefused: the server withheld the answer.
        """
        blocks = [block for _, block in sorted(self._blocks.items())]
        content = "".join(block.text for block in blocks if block.kind == "text")
        thinking = "".join(block.text for block in blocks if block.kind == "thinking")
        if not self.is_done:
            raise cut_off(self._model, content)
        if self._reason == "refusal":
            raise ModelRefused(
                f"The server of {self._model!r} withheld the answer: its filter objects.",
                hint="Ask otherwise, or choose another model.",
            )
        ended_by = "length" if self._reason in _BY_LENGTH else "stop"
        calls = [self._call(block, ended_by) for block in blocks if block.kind == "tool_use"]
        if self._written.answers_by_call and any(call.name == ANSWER_TOOL for call in calls):
            answer = next(call for call in calls if call.name == ANSWER_TOOL)
            content, calls = json.encode(dict(answer.arguments)).decode(), []
        reply_tokens = _whole(self._usage.get("output_tokens"))
        if not content.strip() and not calls:
            raise empty(
                self._model,
                ended_by=ended_by,
                reply_tokens=reply_tokens,
                thought=bool(thinking),
                tokens_max=self._written.tokens_max,
                setting=f"[providers.{provider}] tokens_max",
            )
        return ChatReply(
            content=content,
            thinking=thinking,
            tool_calls=tuple(calls),
            model=self._answered_by or self._model,
            provider=provider,
            ended_by=ended_by,
            prompt_tokens=self._prompt_tokens(),
            reply_tokens=reply_tokens,
            elapsed_s=elapsed_s,
        )

    def _begin(self, event: Mapping[str, Any]) -> tuple[str, bool]:
        index, found = self._index(event), self._object(event, "content_block")
        if len(self._blocks) >= BLOCKS_ROWS_MAX:
            raise self._broken(f"it has more than {BLOCKS_ROWS_MAX} blocks")
        block = _Block(_text(found.get("type")), _text(found.get("id")), _text(found.get("name")))
        given = found.get("input")
        if isinstance(given, dict):
            block.given = given
        text = _text(found.get("text")) or _text(found.get("thinking"))
        if text:
            block.pieces.append(text)
        self._blocks[index] = block
        is_call = block.kind == "tool_use"
        return (text if block.kind == "text" else ""), bool(text) or is_call

    def _go_on(self, event: Mapping[str, Any]) -> tuple[str, bool]:
        block = self._blocks.get(self._index(event))
        if block is None:
            raise self._broken("a piece of it belongs to no block")
        delta = self._object(event, "delta")
        match delta.get("type"):
            case "text_delta":
                piece = _text(delta.get("text"))
            case "thinking_delta":
                piece = _text(delta.get("thinking"))
            case "input_json_delta":
                piece = _text(delta.get("partial_json"))
            case _:  # Signatures of thoughts, citations, and what is yet to come.
                return "", False
        block.pieces.append(piece)
        return (piece if block.kind == "text" else ""), bool(piece)

    def _call(self, block: _Block, ended_by: str) -> ToolCall:
        name = self._written.names.meant(block.name)
        if not name:
            raise self._broken("a tool call in it has no name")
        raw = block.text
        try:
            arguments = json.decode(raw) if raw.strip() else block.given
        except json.NotJson as error:
            cut = ", cut off at the limit of tokens" if ended_by == "length" else ""
            raise self._malformed(name, f"are no JSON{cut} ({error})", raw) from error
        if not isinstance(arguments, dict):
            raise self._malformed(name, "are no object", raw)
        return ToolCall(name=name, arguments=arguments, id=block.id)

    def _malformed(self, name: str, what: str, raw: str) -> ModelCallMalformed:
        return ModelCallMalformed(
            f"The reply of the model {self._model!r} is broken: the arguments of its call of "
            f"{name!r} {what}.",
            raw=raw[:RAW_CHARACTERS_MAX],
        )

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage.update({name: n for name, n in usage.items() if n is not None})

    def _prompt_tokens(self) -> int | None:
        # What was read from the cache is a part of the prompt as well.
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        counts = [n for n in (_whole(self._usage.get(name)) for name in names) if n is not None]
        return sum(counts) if counts else None

    def _object(self, event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        found = event.get(name)
        if not isinstance(found, dict):
            raise self._broken(f"an event of it has no {name}")
        return found

    def _index(self, event: Mapping[str, Any]) -> int:
        index = event.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            raise self._broken("a block of it has no number")
        return index

    def _broken(self, what: str) -> ModelReplyBroken:
        return ModelReplyBroken(f"The reply of the model {self._model!r} is broken: {what}.")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
