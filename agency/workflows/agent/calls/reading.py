"""Calls out of a model's reply, wherever it has put them.

What is taken for a call, and what is not:

1. Calls that the server hands out. Text beside them stays text.
2. Else what stands in a *wrapper that only calls have* (`wrappers`): ``<tool_call>``,
   ``<function=…>``, ``[TOOL_CALLS]``, ``<|python_tag|>`` and the like, anywhere in the text, but
   not in back quotes. What cannot be read there, or names a tool that is not offered, is a fault.
3. Else a *fence* or *bare JSON* with nothing but calls in it (a name that is offered, and an object
   of arguments), when it is the end of the reply and the words before it do not announce an
   example. Fences that are marked ``tool``, ``tool_call`` or ``tool_code`` need not be at the end.
4. Else a reply that consists of nothing but ``name(key="value")`` with offered names.

Everything else is words for the user: prose that mentions a call, JSON in the middle of an
explanation, JSON with any other member. A call inside of the model's thinking is never made. Names
must be those of offered tools, so that no call can be invented: at the worst one is missed, which
costs a turn. Time is linear in the length of the reply, and that length is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field

from agency.core.records import dataclass
from agency.ports.model import ChatReply, ToolCall, ToolSpec
from agency.workflows.agent.calls.loose import Loose, end_of_value, read_first, read_value
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.pythonic import read_python
from agency.workflows.agent.calls.rungs import CallFault, Rung, Trouble, worse
from agency.workflows.agent.calls.shapes import Shaped, shaped
from agency.workflows.agent.calls.wrappers import Wrapped, find_wrapped

TEXT_CHARACTERS_MAX = 1_000_000
"""Of a reply that is looked at; a longer one is words for the user as a whole."""

EXCERPT_CHARACTERS_MAX = 600
"""Of a call that cannot be read, for the model to see again."""

BEFORE_CHARACTERS = 160
"""Before a fence or bare JSON that are searched for the announcement of an example."""

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n]*$", re.MULTILINE)
_TOOL_FENCES = frozenset({"tool", "tool_call", "tool_calls", "tool_code", "tool_use"})
_EXAMPLE = re.compile(
    r"\b(?:examples?|e\.g|for instance|such as|sample|looks? like|would|could|might|if you|"
    r"you can|you should|you may|template|the format|syntax|instead of|do not|don't|never|"
    r"previous(?:ly)?|earlier|beispiel|exemple|ejemplo)\b",
    re.IGNORECASE,
)
_THINK = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHT = re.compile(r"(?<![\"'`\\])</think(?:ing)?>(?=\s|$|<)", re.IGNORECASE)
_MADE_UP = re.compile(
    r"<tool_response>|<tool_result>|<function_response>|^[ \t]*Observation:",
    re.MULTILINE | re.IGNORECASE,
)
_BARE = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_EMPTY_MARKS = re.compile(r"</?(?:function_calls|tool_calls?|tools)>|<\|eo[mt]_id\|>")
BARE_TRIES_MAX = 8
"""Places at which bare JSON may begin that are tried, from the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply holds.

    Attributes:
        calls: Of tools that are offered, under their right names; arguments not yet checked.
        text: What remains for the user, without thinking and without the calls.
        rung: ``native``, ``text`` or ``repaired``.
        faults: What was meant as a call and cannot be one. ``calls`` before the first of them may
            be made.
        is_hidden: No call and no text, but a call inside of the thinking.
    """

    calls: Sequence[ToolCall] = field(default=())
    text: str = ""
    rung: Rung = Rung.NATIVE
    faults: Sequence[CallFault] = field(default=())
    is_hidden: bool = False


def read_calls(reply: ChatReply, offered: Sequence[ToolSpec] | OfferedTools) -> Reading:
    """Read a reply; never raises, and never hands out a call of a tool that is not offered."""
    tools = offered if isinstance(offered, OfferedTools) else OfferedTools(offered)
    text, thought = split_thinking(reply.content)
    if reply.tool_calls:
        return _native(reply.tool_calls, text, tools)
    if not tools.specs or len(text) > TEXT_CHARACTERS_MAX:
        return Reading(text=text.strip())
    reading = read_text(text, tools)
    if not reading.calls and not reading.faults and not reading.text:
        hidden = f"{thought}\n{reply.thinking}"[-TEXT_CHARACTERS_MAX:]
        if find_wrapped(hidden, tools) or read_text(hidden, tools).calls:
            return Reading(is_hidden=True)
    return reading


def read_text(text: str, tools: OfferedTools) -> Reading:
    """Read a text by the rules 2 to 4."""
    made_up = _MADE_UP.search(text)
    if made_up is not None and made_up.start() > 0:
        # The model has gone on to imagine the result: what follows never happened.
        text = text[: made_up.start()]
    wrapped = find_wrapped(text, tools)
    if wrapped:
        fences, covered = _fences(text), _call_spans(text, tools)
        wrapped = [one for one in wrapped if not _is_mention(text, one, fences, covered)]
    if wrapped:
        return _from_wrapped(text, wrapped, tools)
    for read in (_from_fences, _from_bare, _from_python):
        reading = read(text, tools)
        if reading is not None:
            return reading
    return Reading(text=text.strip())


def split_thinking(text: str) -> tuple[str, str]:
    """Take thinking out of a text whose server did not.

    It stands at the beginning; anywhere else the tag is a part of what is said, of a file that is
    written, for example.

    Returns:
        The text without it, and the thinking. One that is not closed goes up to the end.
    """
    thoughts: list[str] = []
    while (opened := _THINK.match(text)) is not None:
        closed = _closer(opened[1]).search(text, opened.end())
        if closed is None:
            thoughts.append(text[opened.end() :])
            return "", "\n".join(thoughts)
        thoughts.append(text[opened.end() : closed.start()])
        text = text[closed.end() :]
    # Templates that open the thinking themselves leave only its end in the reply.
    end = None if thoughts else _THOUGHT.search(text)
    if end is not None:
        thoughts.append(text[: end.start()])
        text = text[end.end() :]
    return text, "\n".join(thoughts)


def _closer(tag: str) -> re.Pattern[str]:
    return re.compile(f"</{re.escape(tag)}>", re.IGNORECASE)


def excerpt_of(text: str) -> str:
    """Shorten what a model wrote, head and tail."""
    text = text.strip()
    if len(text) <= EXCERPT_CHARACTERS_MAX:
        return text
    half = EXCERPT_CHARACTERS_MAX // 2
    return f"{text[:half]} … {text[-half:]}"


def _native(calls: Sequence[ToolCall], text: str, tools: OfferedTools) -> Reading:
    found = [
        Shaped(name=call.name, arguments=call.arguments, id=call.id, is_plain=True)
        for call in calls
    ]
    taken, faults = _taken(found, tools)
    return Reading(calls=taken, text=text.strip(), rung=Rung.NATIVE, faults=faults)


def _taken(found: Sequence[Shaped], tools: OfferedTools) -> tuple[list[ToolCall], list[CallFault]]:
    """Turn shapes into calls, up to the first that cannot be one."""
    calls: list[ToolCall] = []
    for one in found:
        fault = _fault(one, tools)
        if fault is not None:
            return calls, [fault]
        spec = tools.find(one.name)
        assert spec is not None
        calls.append(ToolCall(name=spec.name, arguments=_object(one, spec), id=one.id))
    return calls, []


def _fault(one: Shaped, tools: OfferedTools) -> CallFault | None:
    spec = tools.find(one.name)
    if spec is None:
        return CallFault(
            trouble=Trouble.UNKNOWN_TOOL,
            tool=one.name[:128],
            what=f"there is no tool {one.name[:128]!r}",
        )
    if not isinstance(_object(one, spec), dict):
        return CallFault(
            trouble=Trouble.INVALID_ARGUMENTS,
            tool=spec.name,
            what="the arguments are not a JSON object",
            excerpt=excerpt_of(str(one.arguments)),
        )
    return None


def _object(one: Shaped, spec: ToolSpec) -> dict[str, object]:
    """Take arguments; the bare value of a tool that takes one value is that value."""
    if isinstance(one.arguments, dict):
        return one.arguments
    properties = spec.parameters.get("properties")
    if isinstance(properties, dict) and len(properties) == 1 and one.arguments is not None:
        return {next(iter(properties)): one.arguments}
    return one.arguments  # type: ignore[no-any-return]  # told apart by the caller


def _from_wrapped(text: str, wrapped: Sequence[Wrapped], tools: OfferedTools) -> Reading:
    found: list[Shaped] = []
    rung = Rung.TEXT
    unreadable: list[CallFault] = []
    for one in wrapped:
        if not one.calls:
            unreadable.append(
                CallFault(
                    trouble=Trouble.UNREADABLE,
                    what=f"the text of the call {one.fault}",
                    excerpt=excerpt_of(one.body),
                )
            )
            break
        found += one.calls
        if one.is_repaired:
            rung = worse(rung, Rung.REPAIRED)
    calls, faults = _taken(found, tools)
    rest = _without(text, [(one.start, one.end) for one in wrapped])
    return Reading(calls=calls, text=rest, rung=rung, faults=[*faults, *unreadable][:1])


def _from_fences(text: str, tools: OfferedTools) -> Reading | None:
    if "```" not in text and "~~~" not in text:
        return None
    spans: list[tuple[int, int]] = []
    found: list[Shaped] = []
    rung = Rung.TEXT
    for language, start, begin, end, after in _fences(text):
        is_marked = language in _TOOL_FENCES
        if not is_marked and not _may_call(text, start, after, spans):
            continue
        read, shapes = _calls_of(text[begin:end], tools, lenient=is_marked)
        if shapes is None:
            if is_marked and not spans:
                fault = CallFault(
                    trouble=Trouble.UNREADABLE,
                    what=f"the text of the call {read.fault or 'names no tool'}",
                    excerpt=excerpt_of(text[begin:end]),
                )
                return Reading(
                    text=_without(text, [(start, after)]), rung=Rung.TEXT, faults=[fault]
                )
            continue
        found += shapes
        spans.append((start, after))
        if read.is_repaired:
            rung = Rung.REPAIRED
    if not found:
        return None
    calls, faults = _taken(found, tools)
    return Reading(calls=calls, text=_without(text, spans), rung=rung, faults=faults)


def _fences(text: str) -> list[tuple[str, int, int, int, int]]:
    """List the fences: language, start, begin and end of the body, end of all."""
    found = []
    opened: re.Match[str] | None = None
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened = mark
        elif mark[1][0] == opened[1][0] and len(mark[1]) >= len(opened[1]) and not mark[2]:
            found.append(
                (opened[2].lower(), opened.start(), opened.end(), mark.start(), mark.end())
            )
            opened = None
    if opened is not None:
        found.append((opened[2].lower(), opened.start(), opened.end(), len(text), len(text)))
    return found


def _may_call(text: str, start: int, after: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a place is the end of the reply and not announced as an example.

    Behind it there may only be further fences, which are looked at in their turn.
    """
    rest = text[after:].strip()
    if rest and not rest.startswith(("```", "~~~", "{", "[")):
        return False
    begin = spans[-1][1] if spans else 0
    before = text[max(begin, start - BEFORE_CHARACTERS) : start]
    return _EXAMPLE.search(before) is None


def _calls_of(
    body: str, tools: OfferedTools, *, lenient: bool
) -> tuple[Loose, list[Shaped] | None]:
    """Read the body of a fence; without a marked fence only offered names count."""
    read = read_value(body)
    if read.fault:
        python = read_python(body, tools)
        if python is not None:
            return Loose(), python
        lines = [read_value(line) for line in body.strip().splitlines()[:64] if line.strip()]
        if len(lines) < 2 or any(line.fault for line in lines):
            return read, None
        read = Loose(value=[line.value for line in lines])
    shapes = shaped(read.value, tools, lenient=lenient)
    if shapes is None or lenient:
        return read, shapes
    is_sure = all(one.is_plain and tools.find(one.name) is not None for one in shapes)
    return read, shapes if is_sure else None


def _from_bare(text: str, tools: OfferedTools) -> Reading | None:
    """Read JSON at the end of a reply, or that is all of it."""
    for tries, place in enumerate(_BARE.finditer(text)):
        if tries == BARE_TRIES_MAX:
            break
        start = place.end()
        first = read_first(text, start)
        end = first[1] if first is not None else end_of_value(text, start)
        if end is None and not _is_whole(text, start):
            continue
        body = text[start:].strip()
        read, shapes = _bare_calls(body, tools)
        if shapes is None:
            continue
        is_known = all(tools.find(one.name) is not None for one in shapes)
        is_whole = _is_whole(text, start)
        if not is_known and not is_whole:
            continue
        if not is_whole and not _may_call(text, start, len(text), ()):
            continue
        calls, faults = _taken(shapes, tools)
        rung = Rung.REPAIRED if read.is_repaired else Rung.TEXT
        return Reading(calls=calls, text=text[:start].strip(), rung=rung, faults=faults)
    return None


def _bare_calls(body: str, tools: OfferedTools) -> tuple[Loose, list[Shaped] | None]:
    read = read_value(body)
    if not read.fault:
        shapes = shaped(read.value, tools, lenient=False)
        if shapes is not None and all(one.is_plain for one in shapes):
            return read, shapes
        return read, None
    # Several objects one after the other.
    shapes = []
    position, is_repaired = 0, False
    while position < len(body) and len(shapes) < BARE_TRIES_MAX:
        if body[position] in " \n\t\r,;":
            position += 1
            continue
        end = end_of_value(body, position) if body[position] in "{[" else None
        if end is None:
            return read, None
        part = read_value(body[position:end])
        found = None if part.fault else shaped(part.value, tools, lenient=False)
        if found is None or not all(one.is_plain for one in found):
            return read, None
        shapes += found
        is_repaired |= part.is_repaired
        position = end
    return Loose(is_repaired=is_repaired), shapes or None


def _is_whole(text: str, start: int) -> bool:
    return not text[:start].strip()


def _from_python(text: str, tools: OfferedTools) -> Reading | None:
    shapes = read_python(text, tools)
    if shapes is None:
        return None
    calls, faults = _taken(shapes, tools)
    return Reading(calls=calls, rung=Rung.TEXT, faults=faults)


def _is_mention(
    text: str,
    one: Wrapped,
    fences: Sequence[tuple[str, int, int, int, int]],
    covered: Sequence[tuple[int, int]],
) -> bool:
    """Tell whether a wrapper stands in a fence that is an example, or in an argument of a call."""
    if any(start < one.start < end for start, end in covered):
        return True
    for language, start, begin, end, after in fences:
        if begin <= one.start < end:
            return language not in _TOOL_FENCES and not _may_call(text, start, after, ())
    return False


def _call_spans(text: str, tools: OfferedTools) -> list[tuple[int, int]]:
    """Find whole JSON calls at the beginning of a line."""
    spans: list[tuple[int, int]] = []
    for place, _ in zip(_BARE.finditer(text), range(BARE_TRIES_MAX), strict=False):
        first = read_first(text, place.end())
        if first is not None and shaped(first[0], tools, lenient=False):
            spans.append((place.end(), first[1]))
    return spans


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    kept: list[str] = []
    position = 0
    for start, end in spans:
        kept.append(text[position:start])
        position = end
    kept.append(text[position:])
    rests = (_EMPTY_MARKS.sub("", piece).strip().strip("`").strip() for piece in kept)
    return "\n".join(rest for rest in rests if rest)
