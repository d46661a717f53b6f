"""What served a turn, and what stood in its way: the words that are recorded and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.ports.model import ToolCall


class Rung(StrEnum):
    """What it took to get a usable reply, from the best to the last."""

    NATIVE = "native"
    """The server handed out the call, or the model answered in words."""
    TEXT = "text"
    """The call stood in the text, in one of the usual wrappers."""
    REPAIRED = "repaired"
    """Its JSON was broken and could be mended without a doubt."""
    COERCED = "coerced"
    """Its arguments fitted the schema after a harmless change."""
    RESAMPLED = "resampled"
    """The same was asked again at another temperature, or without thinking."""
    CORRECTED = "corrected"
    """The model was told the exact fault."""
    ACTION = "action"
    """The model filled in a schema: a tool with its arguments, or the final answer."""


RUNGS = tuple(Rung)


def worse(one: Rung, other: Rung) -> Rung:
    """Pick the one further down."""
    return max(one, other, key=RUNGS.index)


class Trouble(StrEnum):
    """What was wrong with a reply that could not be used."""

    MALFORMED = "malformed"
    """The server could not read the model's call."""
    EMPTY = "empty"
    """Nothing came, with or without tokens spent."""
    CUT = "cut"
    """The stream ended early."""
    STUTTER = "stutter"
    """The model repeated itself without end."""
    EATEN = "eaten"
    """The limit of tokens was used up before anything was said, mostly by thinking."""
    UNREADABLE = "unreadable"
    """Something was meant as a call, and cannot be read."""
    UNKNOWN_TOOL = "unknown_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    HIDDEN = "hidden"
    """The call stood inside of the model's thinking only."""
    NARRATED = "narrated"
    """The model said what it is about to do, and did not do it."""
    NO_ACTION = "no_action"
    """In action mode: neither a tool nor a final answer."""
    NO_TOOLS = "no_tools"
    """The model has no tool calls of its own."""
    NO_SCHEMA = "no_schema"
    """The server refuses to bind the answer to a schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFault:
    """Why something that was meant as a call cannot be made.

    Attributes:
        tool: The name that the model used, or what was understood of it; may be empty.
        what: One sentence for the model: the exact fault.
        excerpt: What the model wrote, shortened.
    """

    trouble: Trouble
    tool: str = ""
    what: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that is not made; ``note`` is its result for the model."""

    call: ToolCall
    note: str


def write_call(call: ToolCall) -> dict[str, Any]:
    """Turn a call into JSON; `parse_call` reads it."""
    written: dict[str, Any] = {"name": call.name, "arguments": dict(call.arguments)}
    if call.id:
        written["id"] = call.id
    return written


def parse_call(found: Mapping[str, Any]) -> ToolCall:
    """Read what `write_call` wrote."""
    return ToolCall(name=found["name"], arguments=found["arguments"], id=found.get("id", ""))


def parse_calls(found: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    """Read several of them."""
    return tuple(parse_call(one) for one in found)
