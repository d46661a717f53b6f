"""What the model is told when its reply could not be used: the exact fault, and what is wanted.

Short, concrete, and without blame: small models copy what they are shown, so they are shown the
right shape last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.core import json
from agency.ports.model import ToolSpec
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.rungs import CallFault, Trouble

SHAPE_CHARACTERS_MAX = 1_200
"""Of the expected arguments that are quoted."""

NAMES_MAX = 20
"""Tools that are named when the one called does not exist."""


def correct(fault: CallFault, tools: OfferedTools) -> str:
    """Write the corrective turn for one fault."""
    lines = [f"Your tool call was not made: {fault.what}."]
    if fault.excerpt and fault.trouble is Trouble.UNREADABLE:
        lines.append(f"You wrote: {fault.excerpt}")
    spec = tools.specs.get(fault.tool)
    if fault.trouble is Trouble.UNKNOWN_TOOL:
        near = tools.nearest(fault.tool)
        names = near or list(tools.specs)[:NAMES_MAX]
        lead = "The nearest tools are" if near else "The tools are"
        lines.append(f"{lead}: {', '.join(names)}.")
        if near:
            spec = tools.specs[near[0]]
    if spec is not None:
        lines.append(expected(spec))
    else:
        lines.append(
            'A call has the name of a tool and a JSON object: {"name": "…", "arguments": {…}}.'
        )
    lines.append("Call the tool again, correctly, or answer in plain words if you need no tool.")
    return "\n".join(lines)


def expected(spec: ToolSpec) -> str:
    """Show how a tool is called: each argument with its type, and an example's shape."""
    properties = spec.parameters.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return f"{spec.name} takes no arguments: {{}}."
    required = spec.parameters.get("required") or ()
    ordered = sorted(properties, key=lambda name: name not in required)
    parts = [
        f"{json.encode(name).decode()}: {_kind(properties[name])}"
        + ("" if name in required else " (optional)")
        for name in ordered
    ]
    text = f"{spec.name} takes this JSON object as arguments: {{{', '.join(parts)}}}."
    if len(text) <= SHAPE_CHARACTERS_MAX:
        return text
    needed = ", ".join(parts[: max(len(required), 1)])[:SHAPE_CHARACTERS_MAX]
    return f"{spec.name} needs at least these arguments: {{{needed}}}."


def refusal(faults: Sequence[str], spec: ToolSpec) -> str:
    """Write the result of a call whose arguments do not fit."""
    return "\n".join(
        [
            f"The call of {spec.name} was not made, because its arguments do not fit:",
            *(f"- {fault}" for fault in faults),
            expected(spec),
        ]
    )


def not_reached(name: str) -> str:
    """Write the result of a call that stood behind one that was refused."""
    return f"The call of {name} was not made, because a call before it was refused."


def nearest(name: str, tools: OfferedTools) -> str:
    """Name the tools that may be meant."""
    near = tools.nearest(name)
    lead = "the nearest are" if near else "there are"
    return f"{lead} {', '.join(near or list(tools.specs)[:NAMES_MAX])}"


def empty(*, has_tools: bool) -> str:
    """Ask again after a reply that held nothing."""
    if not has_tools:
        return "Your last reply was empty. Answer in plain words."
    return (
        "Your last reply was empty. Call one of the tools with a JSON object as its arguments, or "
        "answer in plain words."
    )


def malformed(raw: str) -> str:
    """Ask again after a call that the server could not read."""
    lines = ["Your last tool call could not be read, so nothing was done."]
    if raw.strip():
        lines.append(f"You wrote: {raw.strip()[: SHAPE_CHARACTERS_MAX // 2]}")
    lines.append("Write the arguments as one JSON object, with quotes and line ends escaped.")
    return "\n".join(lines)


def hidden() -> str:
    """Ask again after a call that was only thought of."""
    return (
        "You have called a tool inside of your thinking, where calls are not made. "
        "Call it in your reply."
    )


def cut_off(tokens_max: int | None) -> str:
    """Ask again after a reply that ran into its limit."""
    limit = f" of {tokens_max} tokens" if tokens_max else ""
    return (
        f"Your reply reached its limit{limit} before it was complete, so nothing was done. Think "
        "less, and write less at once: a long text in several smaller calls."
    )


def narrated() -> str:
    """Ask again after an announcement."""
    return (
        "You have said what you are about to do, and have not done it. Call the tool now, or give "
        "the final answer."
    )


def stuttered() -> str:
    """Ask again after endless repetition."""
    return "Your last reply repeated itself without end. Answer briefly, in other words."


def no_action(what: str) -> str:
    """Ask again in action mode."""
    return (
        f"Your last reply could not be used: {what}. Reply with one JSON object and nothing else: "
        '{"tool": "NAME", "args": {…}} to call a tool, or {"final": "ANSWER"} when the task is '
        "done."
    )


def _kind(schema: Any) -> str:  # noqa: ANN401  a JSON Schema
    if not isinstance(schema, Mapping):
        return "any value"
    allowed = schema.get("enum")
    if isinstance(allowed, list) and allowed:
        return "one of " + ", ".join(json.encode(one).decode() for one in allowed[:12])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in kind)
    if kind == "array":
        return f"list of {_kind(schema.get('items', True))}"
    if isinstance(kind, str):
        return kind
    for name in ("anyOf", "oneOf"):
        choices = schema.get(name)
        if isinstance(choices, list):
            return " or ".join(dict.fromkeys(_kind(one) for one in choices[:6]))
    return "any value"
