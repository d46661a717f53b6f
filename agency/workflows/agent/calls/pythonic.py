"""Calls that are written as Python: ``name(path="a", lines=3)``. Parsed, never executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.shapes import CALLS_MAX, Shaped

SOURCE_CHARACTERS_MAX = 64 * 1024
"""Longest source that is parsed."""

_BEGINS = re.compile(r"[\[\w]")
_ESCAPE_UNKNOWN = re.compile(r"""\\[^nrtbfavxuUN0-7"'\\\n]""")
_PRINTED = ("print",)


def read_python(source: str, offered: OfferedTools) -> list[Shaped] | None:
    """Understand a source that consists of nothing but calls of offered tools.

    One call a line, or a list of them; arguments are literals, named, or the only one of a tool
    that takes one. ``print(call(…))`` is the call.

    Returns:
        None for anything else.
    """
    source = source.strip()
    if "(" not in source or len(source) > SOURCE_CHARACTERS_MAX or not _BEGINS.match(source):
        return None
    # Python warns of unknown escapes; and what the model meant by one is a guess.
    if _ESCAPE_UNKNOWN.search(source):
        return None
    try:
        tree = ast.parse(source.replace("; ", "\n"), mode="exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    found: list[Shaped] = []
    for statement in tree.body:
        if not isinstance(statement, ast.Expr):
            return None
        parts = statement.value.elts if isinstance(statement.value, ast.List) else [statement.value]
        for part in parts:
            one = _call(part, offered)
            if one is None:
                return None
            found.append(one)
    return found[:CALLS_MAX] or None


def _call(node: ast.expr, offered: OfferedTools) -> Shaped | None:
    if not isinstance(node, ast.Call):
        return None
    name = _dotted(node.func)
    if name in _PRINTED and name not in offered.specs:
        only = node.args[0] if len(node.args) == 1 and not node.keywords else None
        return _call(only, offered) if only is not None else None
    spec = offered.find(name.removesuffix(".call")) if name else None
    if spec is None:
        return None
    properties = spec.parameters.get("properties")
    names = list(properties) if isinstance(properties, dict) else []
    try:
        arguments = _arguments(node, names)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None
    return Shaped(name=spec.name, arguments=arguments, is_plain=True)


def _arguments(node: ast.Call, names: Sequence[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if node.args:
        # By place only where there is one place: the order of a schema's members means nothing.
        if len(node.args) > 1 or len(names) != 1:
            raise ValueError("arguments by place")
        arguments[names[0]] = _literal(node.args[0])
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError("arguments that are unpacked or given twice")
        arguments[keyword.arg] = _literal(keyword.value)
    return arguments


def _literal(node: ast.expr) -> Any:  # noqa: ANN401  a literal of Python
    if isinstance(node, ast.Name) and node.id in {"true", "false", "null"}:
        return {"true": True, "false": False, "null": None}[node.id]
    value = ast.literal_eval(node)
    _refuse_foreign(value)
    return value


def _refuse_foreign(value: object) -> None:
    match value:
        case None | bool() | int() | float() | str():
            return
        case list():
            for part in value:
                _refuse_foreign(part)
        case dict():
            for key, part in value.items():
                if not isinstance(key, str):
                    raise TypeError("a key that is no text")
                _refuse_foreign(part)
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""
