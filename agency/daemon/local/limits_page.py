"""The reference page of limits that are not settings, made from the constants and their reasons."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from types import MappingProxyType

from agency.core import limits
from agency.core.records import dataclass

PAGE = "docs/reference/limits.md"

_HEAD = """\
# Limits

This page is generated from `agency/core/limits.py` by `make docs`.

These limits are fixed: each has its reason, and none is a matter of taste or of the machine.
Those that are, such as the largest request body or the longest journal, are settings: see \
[configuration](configuration.md).
What is refused because of a limit is refused with an [error](errors.md) that names it.

| limit | value | means |
| --- | --- | --- |
"""

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "BYTES": "bytes",
        "CHARACTERS": "characters",
        "ROWS": "rows",
        "TRANSACTIONS": "transactions",
        "DEPTH": "levels",
        "RUNS": "runs",
        "PRIORITY": "points",
        "ATTEMPTS": "attempts",
        "CONDITIONS": "conditions",
        "FAULTS": "faults",
        "S": "s",
    }
)
"""What a part of a constant's name says about its unit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One constant. ``reason`` says what it bounds, and why there."""

    name: str
    value: float
    reason: str


def write_limits() -> str:
    """Write the page."""
    rows = [f"| `{one.name}` | {_amount(one)} | {one.reason} |\n" for one in list_limits()]
    return _HEAD + "".join(rows)


def list_limits() -> list[Limit]:
    """Read all constants with their reasons, in the order of the file.

    Raises:
        AssertionError: a constant has no reason.
    """
    source = inspect.getsource(limits)
    found: list[Limit] = []
    group: list[str] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            group += [target.id for target in statement.targets if isinstance(target, ast.Name)]
        elif group and (reason := _text(statement)):
            found += [
                Limit(name, getattr(limits, name), " ".join(reason.split())) for name in group
            ]
            group = []
    assert not group, f"no reason is given for {group}"
    return found


def _text(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _amount(limit: Limit) -> str:
    """Write a value with its unit, large sizes in binary multiples."""
    unit = _unit(limit.name)
    value = limit.value
    if unit == "bytes":
        for name, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size:g} {name}"
    return f"{value:g} {unit}"


def _unit(name: str) -> str:
    for part in reversed(name.split("_")):
        if part in _UNITS:
            return _UNITS[part]
    raise AssertionError(f"the name {name} has no unit")
