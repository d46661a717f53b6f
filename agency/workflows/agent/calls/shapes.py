"""From JSON values to calls: the spellings in which models name a tool and its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.workflows.agent.calls.names import OfferedTools

CALLS_MAX = 64
"""Calls of one reply; a model that writes more has lost its way."""

_NAMES = ("name", "tool", "tool_name", "function", "function_name", "action", "recipient_name")
_ARGUMENTS = (
    "arguments",
    "parameters",
    "args",
    "input",
    "action_input",
    "tool_input",
    "kwargs",
    "params",
)
_BESIDE = frozenset({"id", "type", "index", "call_id", "tool_call_id"})
_LISTS = ("tool_calls", "calls", "tool_uses", "function_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """Something with the shape of a call; the name may be unknown, the arguments may not fit.

    Attributes:
        arguments: An object, unless the model wrote something else.
        is_plain: It has a name and an object of arguments and nothing else: no accident.
        is_changed: It was written in a way of its own and had to be rearranged.
    """

    name: str
    arguments: Any
    id: str = ""
    is_plain: bool = False
    is_changed: bool = False


def shaped(value: Any, offered: OfferedTools, *, lenient: bool) -> list[Shaped] | None:  # noqa: ANN401  JSON
    """Understand a value as one or more calls.

    Args:
        lenient: It stood in a wrapper that only calls have. Then a call without arguments, with
            its arguments beside the name, or as ``{"tool": {…}}`` is understood as well.

    Returns:
        None unless all of it has the shape of calls; at most `CALLS_MAX` of them.
    """
    found: list[Shaped] = []
    for part in _parts(value):
        one = _one(part, offered, lenient=lenient)
        if one is None:
            return None
        found.append(one)
        if len(found) == CALLS_MAX:
            break
    return found or None


def _parts(value: Any) -> Iterator[Any]:  # noqa: ANN401  JSON
    if isinstance(value, list):
        for part in value:
            yield from _parts(part) if isinstance(part, dict) else (part,)
        return
    if isinstance(value, dict):
        for name in _LISTS:
            inner = value.get(name)
            if isinstance(inner, list) and inner and len(value) == 1:
                yield from inner
                return
    yield value


def _one(value: Any, offered: OfferedTools, *, lenient: bool) -> Shaped | None:  # noqa: ANN401  JSON
    if isinstance(value, str) and lenient:
        try:
            value = json.decode(value)
        except json.NotJson:
            return None
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict) and set(value) <= {"function", *_BESIDE}:
        one = _named(inner, offered, lenient=lenient)
        if one is None:
            return None
        return Shaped(name=one.name, arguments=one.arguments, id=_id(value), is_plain=one.is_plain)
    return _named(value, offered, lenient=lenient)


def _named(value: Mapping[str, Any], offered: OfferedTools, *, lenient: bool) -> Shaped | None:
    name_key = next((key for key in _NAMES if isinstance(value.get(key), str)), None)
    if name_key is None:
        return _keyed(value, offered) if lenient else None
    name = value[name_key]
    rest = {key: part for key, part in value.items() if key != name_key and key not in _BESIDE}
    argument_key = next((key for key in _ARGUMENTS if key in rest), None)
    if argument_key is not None and len(rest) == 1:
        arguments = _decoded(rest[argument_key])
        return Shaped(
            name=name,
            arguments=arguments,
            id=_id(value),
            is_plain=isinstance(arguments, dict),
        )
    if not lenient:
        return None
    if not rest:
        return Shaped(name=name, arguments={}, id=_id(value))
    return _flat(name, rest, offered)


def _flat(name: str, rest: dict[str, Any], offered: OfferedTools) -> Shaped | None:
    """Take ``{"name": "read_file", "path": "a"}``, if all the members belong to the tool."""
    spec = offered.find(name)
    properties = spec.parameters.get("properties") if spec is not None else None
    if isinstance(properties, Mapping) and set(rest) <= set(properties):
        return Shaped(name=name, arguments=rest, is_changed=True)
    return None


def _keyed(value: Mapping[str, Any], offered: OfferedTools) -> Shaped | None:
    """Take ``{"read_file": {"path": "a"}}``, if that is a tool."""
    if len(value) != 1:
        return None
    name, arguments = next(iter(value.items()))
    if name not in offered.specs or not isinstance(arguments, dict):
        return None
    return Shaped(name=name, arguments=arguments, is_changed=True)


def _decoded(arguments: Any) -> Any:  # noqa: ANN401  JSON
    """Take arguments that were encoded twice, or are absent."""
    if arguments is None:
        return {}
    if isinstance(arguments, str):
        try:
            inner = json.decode(arguments)
        except (json.NotJson, UnicodeEncodeError):
            return arguments
        return inner if isinstance(inner, dict) else arguments
    return arguments


def _id(value: Mapping[str, Any]) -> str:
    for name in ("id", "call_id", "tool_call_id"):
        found = value.get(name)
        if isinstance(found, str):
            return found[:128]
    return ""
