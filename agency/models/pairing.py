"""Conversations as strict servers want them: every result answers a call, by an id.

Ollama's calls often have no id, a session may have passed from one provider to another, and a
summary may have taken a call away from its result. OpenAI and Anthropic refuse all of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from agency.ports.model import ChatMessage, ToolCall, ToolSpec

NO_RESULT = "(No result of this call is known.)"

NAME_CHARACTERS_MAX = 64
"""Longest name of a tool that both OpenAI and Anthropic take."""

_GOOD_ID = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_BAD_CHARACTER = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)


def paired(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Give each call an id, and each result the id of the call before it that it answers.

    A call without a result gets `NO_RESULT`; a result without a call becomes a user's message, so
    that nothing that was said is lost.
    """
    done: list[ChatMessage] = []
    open_calls: list[tuple[ToolCall, str]] = []
    # Nothing may stand between a call and its results.
    strays: list[ChatMessage] = []
    ids = _Ids()
    for message in messages:
        if message.role == "tool":
            found = _answered(message, open_calls)
            if found is None:
                strays.append(_as_user(message))
                continue
            call, call_id = open_calls.pop(found)
            done.append(replace(message, tool_call_id=call_id, tool_name=call.name))
            continue
        done += [*_unanswered(open_calls), *strays]
        strays = []
        open_calls = [(call, ids.give(call.id)) for call in message.tool_calls]
        calls = tuple(replace(call, id=call_id) for call, call_id in open_calls)
        done.append(replace(message, tool_calls=calls) if calls else message)
    return [*done, *_unanswered(open_calls), *strays]


class _Ids:
    """Ids that are good on the wire, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._count = 0

    def give(self, wanted: str) -> str:
        given = wanted
        while given in self._given or not _GOOD_ID.fullmatch(given):
            self._count += 1
            given = f"call_{self._count}"
        self._given.add(given)
        return given


def _answered(message: ChatMessage, open_calls: Sequence[tuple[ToolCall, str]]) -> int | None:
    """Find the call that a result answers: by id, else by name, else the oldest."""
    if message.tool_call_id:
        for i, (call, _) in enumerate(open_calls):
            if call.id == message.tool_call_id:
                return i
    if message.tool_name:
        for i, (call, _) in enumerate(open_calls):
            if call.name == message.tool_name:
                return i
        return None
    return 0 if open_calls else None


def _as_user(message: ChatMessage) -> ChatMessage:
    name = f" of the tool {message.tool_name}" if message.tool_name else ""
    return ChatMessage(
        role="user", content=f"An earlier result{name}:\n{message.content}", images=message.images
    )


def _unanswered(open_calls: Iterable[tuple[ToolCall, str]]) -> list[ChatMessage]:
    return [
        ChatMessage(role="tool", content=NO_RESULT, tool_name=call.name, tool_call_id=call_id)
        for call, call_id in open_calls
    ]


class ToolNames:
    """Names of tools as strict servers take them, and back.

    Tools of MCP servers may be called ``files.read``; on the wire only letters, digits, dashes and
    underscores may stand, 64 at most.
    """

    def __init__(self, tools: Sequence[ToolSpec], messages: Sequence[ChatMessage]) -> None:
        """Collect the names of the tools that are offered and of those that were called."""
        names = [tool.name for tool in tools]
        names += [call.name for message in messages for call in message.tool_calls]
        self._sent: dict[str, str] = {}
        self._meant: dict[str, str] = {}
        ordered = dict.fromkeys(names)
        # Names that may stay as they are come first, so that no other one takes their place.
        for name in sorted(ordered, key=lambda name: _is_plain(name) is False):
            sent = self._free(name)
            self._sent[name] = sent
            self._meant[sent] = name

    def sent(self, name: str) -> str:
        """The name on the wire."""
        return self._sent.get(name) or _plain(name)

    def meant(self, name: str) -> str:
        """The name that one on the wire stands for; an unknown one as it is."""
        return self._meant.get(name, name)

    @property
    def known(self) -> Mapping[str, str]:
        """From names to those on the wire."""
        return self._sent

    def _free(self, name: str) -> str:
        base = _plain(name)
        sent, number = base, 1
        while sent in self._meant:
            number += 1
            tail = f"_{number}"
            sent = base[: NAME_CHARACTERS_MAX - len(tail)] + tail
        return sent


def _is_plain(name: str) -> bool:
    return _plain(name) == name


def _plain(name: str) -> str:
    return _BAD_CHARACTER.sub("_", name)[:NAME_CHARACTERS_MAX] or "_"
