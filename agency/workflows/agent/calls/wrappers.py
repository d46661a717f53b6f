"""Wrappers that only calls have: tags and marks, by which models without a parser give calls.

Each opener is found by one linear search, and its body read by the rules of that family. Source:
the chat templates of Qwen 2.5 and 3, Qwen3-Coder, Hermes, GLM 4.5, Llama 3.1 to 4, Mistral, Phi,
LFM2, Granite and DeepSeek, as published with the models, and the issues named in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.workflows.agent.calls.loose import end_of_value, read_first, read_value
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.pythonic import read_python
from agency.workflows.agent.calls.shapes import Shaped, shaped

WRAPPERS_MAX = 64
"""Wrappers of one reply that are looked at."""

_CLOSERS = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<toolcall>": "</toolcall>",
    "<function_call>": "</function_call>",
    "<functioncall>": "</functioncall>",
    "<|tool_call|>": "<|/tool_call|>",
    "<|tool_call_start|>": "<|tool_call_end|>",
    "<|tool_call_begin|>": "<|tool_call_end|>",
    "<tools>": "</tools>",
    "[TOOL_CALLS]": "[/TOOL_CALLS]",
    "[TOOL_CALL]": "[/TOOL_CALL]",
    "[TOOL_REQUEST]": "[END_TOOL_REQUEST]",
    "<|python_tag|>": "<|eom_id|>",
    "functools[": "",
    "<function=": "</function>",
    "<invoke name=": "</invoke>",
    "<function_calls>": "",
}
_TAGGED = {"<function=": "</function>", "<invoke name=": "</invoke>"}
_WEAK = frozenset({"<tools>"})
"""Texts may hold these by chance: what cannot be read in them is no fault."""

_OPENER = re.compile(
    "|".join(re.escape(one) for one in sorted(_CLOSERS, key=len, reverse=True))
    + r"|^[ \t]*Action:[ \t]*[^\n]{1,128}\n+[ \t]*Action Input:",
    re.MULTILINE | re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"<parameter(?:=|\s+name=)[\"']?([^>\"'\n]{1,128})[\"']?>(.*?)(</parameter>|(?=<parameter)|\Z)",
    re.DOTALL,
)
_ARGUMENT = re.compile(
    r"<arg_key>([^<\n]{1,128})</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL
)
_NAMED = re.compile(r"[\"']?([\w.\-:]{1,128})[\"']?\s*(?:\[ARGS\]|>|:|\[CALL_ID\]\w*\[ARGS\])?\s*")
_ACTION = re.compile(r"Action:[ \t]*([^\n]+)\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A wrapper that was found in a text, from ``start`` up to ``end``.

    Attributes:
        fault: Why its body cannot be read; empty when ``calls`` are there.
        is_repaired: Its JSON had to be mended.
    """

    start: int
    end: int
    body: str
    calls: Sequence[Shaped] = field(default=())
    fault: str = ""
    is_repaired: bool = False
    is_weak: bool = False


def find_wrapped(text: str, offered: OfferedTools) -> list[Wrapped]:
    """Find the wrappers of a text, in order, none inside of another.

    One in back quotes is a mention, and is left alone.
    """
    found: list[Wrapped] = []
    position = 0
    while len(found) < WRAPPERS_MAX:
        opener = _OPENER.search(text, position)
        if opener is None:
            break
        if text[opener.start() - 1 : opener.start()] == "`" and not text.startswith(
            "```", max(opener.start() - 3, 0)
        ):
            position = opener.end()
            continue
        wrapped = _wrapped(text, opener, offered)
        position = max(wrapped.end, opener.end())
        if wrapped.calls or not wrapped.is_weak:
            found.append(wrapped)
    return found


def _wrapped(text: str, opener: re.Match[str], offered: OfferedTools) -> Wrapped:
    mark = opener[0].lower() if opener[0].startswith("<") else opener[0]
    closer = _CLOSERS.get(mark)
    if closer is None:
        mark = next((one for one in _CLOSERS if one.lower() == mark.lower()), mark)
        closer = _CLOSERS.get(mark, "")
    begin = opener.end()
    if mark == "<function_calls>":
        inner = text.find("<", begin)
        if 0 <= inner <= begin + 8:
            # A list of <invoke>: each is found by itself.
            return Wrapped(start=opener.start(), end=begin, body="", is_weak=True)
    if mark == "functools[":
        begin -= 1
    end, body_end = _extent(text, begin, closer)
    body = text[begin:body_end]
    calls, is_repaired, fault = _read_body(mark, opener[0], body, offered, is_closed=body_end < end)
    return Wrapped(
        start=opener.start(),
        end=end,
        body=body,
        calls=calls,
        fault=fault,
        is_repaired=is_repaired,
        is_weak=mark in _WEAK,
    )


def _extent(text: str, begin: int, closer: str) -> tuple[int, int]:
    """Find where a wrapper ends, and its body: behind its values, wherever its closer stands.

    A file that is written may hold the closing tag itself, so whole JSON values are stepped over.
    """
    after = _after_values(text, begin)
    if closer:
        closed = text.find(closer, after)
        if closed >= 0 and (after == begin or not text[after:closed].strip(" \n\t,;")):
            return closed + len(closer), closed
    if after > begin:
        return after, after
    if closer and closed >= 0:
        return closed + len(closer), closed
    following = _OPENER.search(text, begin)
    end = following.start() if following is not None and following.start() > begin else len(text)
    return end, end


def _after_values(text: str, begin: int) -> int:
    after = position = begin
    while True:
        while position < len(text) and text[position] in " \n\t\r,;":
            position += 1
        if position >= len(text) or text[position] not in "{[":
            return after
        first = read_first(text, position)
        if first is None:
            return after
        after = position = first[1]


def _read_body(
    mark: str, opener: str, body: str, offered: OfferedTools, *, is_closed: bool
) -> tuple[Sequence[Shaped], bool, str]:
    if opener.lstrip().lower().startswith("action:"):
        return _named_json(_action_name(opener), body, offered)
    if mark in _TAGGED:
        return _tagged(body, offered, is_closed=is_closed)
    if body.lstrip()[:1] in ("{", "[", '"', "`"):
        return _json_or_python(body, offered)
    for tag, closer in _TAGGED.items():
        if tag in body:
            inner, sign, _ = body.partition(tag)[2].partition(closer)
            return _tagged(inner, offered, is_closed=bool(sign))
    if "<arg_key>" in body:
        return _keyed_arguments(body)
    return _json_or_python(body, offered)


def _action_name(opener: str) -> str:
    found = _ACTION.search(opener)
    return found[1].strip() if found is not None else ""


def _json_or_python(body: str, offered: OfferedTools) -> tuple[Sequence[Shaped], bool, str]:
    stripped = body.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    calls: list[Shaped] = []
    is_repaired = False
    for piece in _pieces(stripped):
        read = read_value(piece)
        if read.fault:
            break
        found = shaped(read.value, offered, lenient=True)
        if found is None:
            break
        calls += found
        is_repaired |= read.is_repaired
    else:
        if calls:
            return calls, is_repaired, ""
    python = read_python(stripped, offered)
    if python is not None:
        return python, False, ""
    if stripped[:1] not in "{[" and (named := _NAMED.match(stripped)) is not None:
        rest = stripped[named.end() :]
        if rest.startswith("{") or not rest:
            return _named_json(named[1], rest or "{}", offered)
    reason = read_value(stripped).fault or "does not name a tool and its arguments"
    return (), False, reason


def _pieces(text: str) -> list[str]:
    """Cut a body into its values: several may stand one after the other."""
    if text[:1] not in ("{", "["):
        return [text]
    pieces: list[str] = []
    position = 0
    while position < len(text) and len(pieces) <= WRAPPERS_MAX:
        if text[position] in " \n\t\r,;":
            position += 1
            continue
        first = read_first(text, position)
        end = first[1] if first is not None else end_of_value(text, position)
        if end is None or text[position] not in "{[":
            pieces.append(text[position:])
            break
        pieces.append(text[position:end])
        position = end
    # A value that only looks closed, because of a quote that is missing, is mended as a whole.
    return pieces if all(not read_value(piece).fault for piece in pieces) else [text]


def _named_json(name: str, body: str, offered: OfferedTools) -> tuple[Sequence[Shaped], bool, str]:
    read = read_value(body)
    if read.fault:
        spec = offered.find(name)
        only = _only_text(spec.parameters) if spec is not None else None
        plain = body.strip().strip("\"'`")
        if only is not None and plain and plain[0] not in "{[" and "\n" not in plain:
            return (Shaped(name=name, arguments={only: plain}, is_changed=True),), False, ""
        return (), False, read.fault
    return (Shaped(name=name, arguments=read.value, is_plain=True),), read.is_repaired, ""


def _only_text(parameters: Any) -> str | None:  # noqa: ANN401  a JSON Schema
    properties = parameters.get("properties")
    if not isinstance(properties, dict) or len(properties) != 1:
        return None
    name, schema = next(iter(properties.items()))
    return name if isinstance(schema, dict) and schema.get("type") == "string" else None


def _tagged(
    body: str, offered: OfferedTools, *, is_closed: bool
) -> tuple[Sequence[Shaped], bool, str]:
    """Read ``name>{…}`` and ``name><parameter=key>value</parameter>``."""
    head, sign, rest = body.partition(">")
    name = head.strip().strip("\"'")
    if not sign or not name or len(name) > 128 or "\n" in name:
        return (), False, "has no name of a tool"
    rest = rest.removesuffix("</tool_call>").strip()
    if rest.startswith("{"):
        return _named_json(name, rest.removesuffix("</function>").strip(), offered)
    parameters = _PARAMETER.findall(rest)
    if not parameters and rest:
        return (), False, "has neither JSON nor parameters in it"
    if parameters and not is_closed and not parameters[-1][2]:
        return (), False, "is cut off before its end"
    arguments = {key.strip(): _tag_value(value) for key, value, _ in parameters}
    return (Shaped(name=name, arguments=arguments, is_changed=False),), False, ""


def _keyed_arguments(body: str) -> tuple[Sequence[Shaped], bool, str]:
    name = body.partition("<arg_key>")[0].strip()
    if not name or "\n" in name:
        return (), False, "has no name of a tool"
    pairs = _ARGUMENT.findall(body)
    if len(pairs) != body.count("<arg_key>"):
        return (), False, "has a key without a value, or is cut off before its end"
    arguments = {key.strip(): _tag_value(value) for key, value in pairs}
    return (Shaped(name=name, arguments=arguments),), False, ""


def _tag_value(value: str) -> Any:  # noqa: ANN401  JSON enters here
    """Take the text of a tag: objects and lists as JSON, all else as text, for the schema to say.

    One line end on either side belongs to the markup.
    """
    text = value.removeprefix("\n").removesuffix("\n")
    if text[:1] in ("{", "["):
        try:
            return json.decode(text)
        except json.NotJson:
            return text
    return text
