"""Put a reply together from the lines of a stream; only a whole one comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.core import json
from agency.errors import ModelCallMalformed, ModelReplyBroken
from agency.models.endings import cut_off, empty
from agency.models.ollama.faults import RAW_CHARACTERS_MAX, shortened
from agency.ports.model import ChatReply, ToolCall

NANOSECONDS = 1_000_000_000


class ReplyBuilder:
    """Collects the lines of one answer of ``POST /api/chat``.

    Tool calls are taken from any line, the last one included: models that Ollama parses by itself
    send them as soon as they are complete, those run by llama-server all at once with ``done``.
    """

    def __init__(self, model: str) -> None:
        """Begin an answer of ``model``."""
        self._model = model
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._last: Mapping[str, Any] = {}
        self.is_done = False

    def add(self, line: Mapping[str, Any]) -> tuple[str, bool]:
        """Take in one line.

        Returns:
            The new text of the answer, maybe empty; and whether the line brought anything at all,
            a thought or a tool call included.

        Raises:
            ModelReplyBroken: the line is not what the protocol promises.
        """
        message = line.get("message")
        if message is None:
            message = {}
        if not isinstance(message, dict):
            raise self._broken(f"its message is {_kind(message)} instead of an object")
        content = self._text(message, "content")
        thinking = self._text(message, "thinking")
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise self._broken(f"its tool calls are {_kind(calls)} instead of a list")
        if content:
            self._content.append(content)
        if thinking:
            self._thinking.append(thinking)
        self._tool_calls.extend(self._tool_call(call) for call in calls)
        if line.get("done") is True:
            self.is_done = True
            self._last = line
        return content, bool(content or thinking or calls or self.is_done)

    def finish(self, *, provider: str, elapsed_s: float, tokens_max: int | None) -> ChatReply:
        """Hand out the whole reply.

        Args:
            provider: Name to record.
            elapsed_s: Seconds since the request.
            tokens_max: The limit that was sent, for messages.

        Raises:
            ModelReplyBroken: the answer ended early or is empty.
        """
        if not self.is_done:
            raise cut_off(self._model, "".join(self._content))
        content = "".join(self._content)
        reply_tokens = _count(self._last, "eval_count")
        ended_by = "length" if self._last.get("done_reason") == "length" else "stop"
        if not content.strip() and not self._tool_calls:
            raise empty(
                self._model,
                ended_by=ended_by,
                reply_tokens=reply_tokens,
                thought=bool(self._thinking),
                tokens_max=tokens_max,
            )
        return ChatReply(
            content=content,
            thinking="".join(self._thinking),
            tool_calls=tuple(self._tool_calls),
            model=str(self._last.get("model") or self._model),
            provider=provider,
            ended_by=ended_by,
            prompt_tokens=_count(self._last, "prompt_eval_count"),
            reply_tokens=reply_tokens,
            load_s=(_count(self._last, "load_duration") or 0) / NANOSECONDS,
            elapsed_s=elapsed_s,
        )

    def _text(self, message: Mapping[str, Any], name: str) -> str:
        text = message.get(name)
        if text is None:
            return ""
        if not isinstance(text, str):
            raise self._broken(f"its {name} is {_kind(text)} instead of a text")
        return text

    def _tool_call(self, call: object) -> ToolCall:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise self._broken("a tool call in it has no function")
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise self._broken("a tool call in it has no name")
        call_id = call.get("id")
        return ToolCall(
            name=name,
            arguments=self._arguments(name, function.get("arguments")),
            id=call_id if isinstance(call_id, str) else "",
        )

    def _arguments(self, name: str, arguments: object) -> Mapping[str, Any]:
        if arguments is None:  # Go's encoder writes an empty map that was never made as null.
            return {}
        raw = ""
        if isinstance(arguments, str):
            raw = arguments
            try:
                arguments = json.decode(raw)
            except json.NotJson as error:
                raise self._malformed(name, f"are no JSON: {error}", raw) from error
        if not isinstance(arguments, dict):
            what = f"are {_kind(arguments)} instead of an object"
            raise self._malformed(name, what, raw or json.encode(arguments).decode())
        return arguments

    def _malformed(self, name: str, what: str, raw: str) -> ModelCallMalformed:
        return ModelCallMalformed(
            f"The reply of the model {self._model!r} is broken: the arguments of its call of "
            f"{name!r} {what}.",
            raw=raw[:RAW_CHARACTERS_MAX],
        )

    def _broken(self, what: str) -> ModelReplyBroken:
        return ModelReplyBroken(f"The reply of the model {self._model!r} is broken: {what}.")


def parse_line(text: bytes, model: str) -> dict[str, Any]:
    """Read one line of a stream.

    Raises:
        ModelReplyBroken: it is not a JSON object.
    """
    try:
        line = json.decode(text)
    except json.NotJson as error:
        beginning = shortened(text[:80].decode(errors="replace"))
        raise ModelReplyBroken(
            f"The reply of the model {model!r} is broken: a line of it is no JSON ({beginning!r})."
        ) from error
    if not isinstance(line, dict):
        raise ModelReplyBroken(
            f"The reply of the model {model!r} is broken: a line of it is {_kind(line)} instead "
            "of an object."
        )
    return line


def _count(line: Mapping[str, Any], name: str) -> int | None:
    # Go leaves fields out that are zero, and some versions forget them, so absent says nothing.
    value = line.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
