"""Put a reply together from the pieces of a stream; only a whole one comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.core import json
from agency.errors import ModelCallMalformed, ModelRefused, ModelReplyBroken
from agency.models.endings import cut_off, empty
from agency.models.pairing import ToolNames
from agency.models.refusals import RAW_CHARACTERS_MAX
from agency.ports.model import ChatReply, ToolCall

CALLS_ROWS_MAX = 256
"""Tool calls of one reply."""


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    given: Mapping[str, Any] | None = None


class ReplyBuilder:
    """Collects the chunks of one answer of ``POST /chat/completions``.

    A call comes in pieces: id and name in the first, its arguments as bits of JSON in all of them.
    Pieces name their call by ``index``; where a server leaves it out, a piece with another id or
    name begins a call and any other one goes on with the last.
    """

    def __init__(self, model: str, names: ToolNames) -> None:
        """Begin an answer of ``model``, with the tools called as ``names`` says."""
        self._model = model
        self._names = names
        self._answered_by = ""
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._last_call = -1
        self._usage: Mapping[str, Any] = {}
        self._reason = ""
        self.is_done = False

    @property
    def is_finished(self) -> bool:
        """The model has ended; counts may still come."""
        return bool(self._reason)

    @property
    def has_usage(self) -> bool:
        """The counts have come as well."""
        return bool(self._usage)

    def add(self, chunk: Mapping[str, Any]) -> tuple[str, bool]:
        """Take in one chunk, or a whole answer of a server that does not stream.

        Returns:
            The new text of the answer, maybe empty; and whether the chunk brought anything at all,
            a thought or a tool call included.

        Raises:
            ModelReplyBroken: the chunk is not what the protocol promises.
        """
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        self._answered_by = _text(chunk.get("model")) or self._answered_by
        choices = chunk.get("choices")
        if choices is None:
            choices = []
        if not isinstance(choices, list):
            raise self._broken("its choices are not a list")
        if not choices:
            return "", False
        choice = choices[0]
        if not isinstance(choice, dict):
            raise self._broken("its choice is not an object")
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, dict):
            raise self._broken("its message is not an object")
        content, has_news = self._add_delta(delta)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._reason = reason
        return content, has_news or self.is_finished

    def _add_delta(self, delta: Mapping[str, Any]) -> tuple[str, bool]:
        content = _parts(delta.get("content")) or _text(delta.get("refusal"))
        # DeepSeek, vLLM and llama.cpp say reasoning_content; newer ones and routers reasoning.
        thinking = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        calls = delta.get("tool_calls") or []
        if not isinstance(calls, list):
            raise self._broken("its tool calls are not a list")
        if content:
            self._content.append(content)
        if thinking:
            self._thinking.append(thinking)
        for piece in calls:
            self._add_call(piece)
        return content, bool(content or thinking or calls)

    def _add_call(self, piece: object) -> None:
        function = piece.get("function") if isinstance(piece, dict) else None
        if not isinstance(piece, dict) or not isinstance(function, dict):
            raise self._broken("a tool call in it has no function")
        name, call_id = _text(function.get("name")), _text(piece.get("id"))
        index = self._index(piece.get("index"), call_id, name)
        if index not in self._calls and len(self._calls) >= CALLS_ROWS_MAX:
            raise self._broken(f"it has more than {CALLS_ROWS_MAX} tool calls")
        call = self._calls.setdefault(index, _Call())
        self._last_call = index
        call.id = call.id or call_id
        if name and not call.name:
            call.name = name
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Some servers hand out an object at once.
            call.given = arguments
        elif isinstance(arguments, str):
            call.arguments.append(arguments)
        elif arguments is not None:
            raise self._broken(f"the arguments of its call of {call.name!r} are not a text")

    def _index(self, index: object, call_id: str, name: str) -> int:
        if isinstance(index, int) and not isinstance(index, bool):
            return index
        last = self._calls.get(self._last_call)
        begins = last is None or (call_id and call_id != last.id) or (name and not call_id)
        return self._last_call + 1 if begins else self._last_call

    def finish(self, *, provider: str, elapsed_s: float, tokens_max: int | None) -> ChatReply:
        """Hand out the whole reply.

        Args:
            provider: Name to record.
            elapsed_s: Seconds since the request.
            tokens_max: The limit that was sent, for messages.

        Raises:
            ModelReplyBroken: the answer ended early, is empty, or has a call that cannot be read.
            ModelRefused: the server withheld the answer.
        """
        content, thinking = "".join(self._content), "".join(self._thinking)
        if not self.is_finished and not self.is_done:
            raise cut_off(self._model, content)
        if self._reason == "content_filter":
            raise ModelRefused(
                f"The server of {self._model!r} withheld the answer: its filter objects.",
                hint="Ask otherwise, or choose another model.",
            )
        ended_by = "length" if self._reason == "length" else "stop"
        calls = tuple(self._finished(call, ended_by) for _, call in sorted(self._calls.items()))
        reply_tokens = _count(self._usage, "completion_tokens")
        if not content.strip() and not calls:
            raise empty(
                self._model,
                ended_by=ended_by,
                reply_tokens=reply_tokens,
                thought=bool(thinking),
                tokens_max=tokens_max,
                setting=f"[providers.{provider}] tokens_max",
            )
        return ChatReply(
            content=content,
            thinking=thinking,
            tool_calls=calls,
            model=self._answered_by or self._model,
            provider=provider,
            ended_by=ended_by,
            prompt_tokens=_count(self._usage, "prompt_tokens"),
            reply_tokens=reply_tokens,
            elapsed_s=elapsed_s,
        )

    def _finished(self, call: _Call, ended_by: str) -> ToolCall:
        if not call.name:
            raise self._broken("a tool call in it has no name")
        name = self._names.meant(call.name)
        raw = "".join(call.arguments)
        if call.given is not None:
            return ToolCall(name=name, arguments=call.given, id=call.id)
        try:
            arguments = json.decode(raw) if raw.strip() else {}
            if isinstance(arguments, str):  # Encoded twice, as some templates do.
                arguments = json.decode(arguments)
        except json.NotJson as error:
            cut = ", cut off at the limit of tokens" if ended_by == "length" else ""
            raise self._malformed(name, f"are no JSON{cut} ({error})", raw) from error
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise self._malformed(name, "are no object", raw)
        return ToolCall(name=name, arguments=arguments, id=call.id)

    def _malformed(self, name: str, what: str, raw: str) -> ModelCallMalformed:
        return ModelCallMalformed(
            f"The reply of the model {self._model!r} is broken: the arguments of its call of "
            f"{name!r} {what}.",
            raw=raw[:RAW_CHARACTERS_MAX],
        )

    def _broken(self, what: str) -> ModelReplyBroken:
        return ModelReplyBroken(f"The reply of the model {self._model!r} is broken: {what}.")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _parts(value: object) -> str:
    """Read content that is a text, or a list of parts of which the texts count."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return _text(value)


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
