"""Filters on JSON values: which events a wait takes, which approvals a rule is for.

A filter is an object of conditions, all of which must hold. Each names a place in the value and
says what must be there::

    {"order.region": "eu", "order.total": {"gt": 100, "le": 500}, "lines.0.sku": {"glob": "A-*"}}

A place is a path of member names and list positions, joined by dots. What must be there is a
scalar or a list, which stands for ``{"eq": …}``, or an object of operators. There is no code in a
filter, it is stored as it was written, and it is judged in one place: `fits`.

Values are compared as JSON: ``1`` equals ``1.0`` but not ``true`` and not ``"1"``; only numbers
with numbers and texts with texts have an order. A place that is not there fits ``ne``, ``not_in``
and ``{"exists": false}``, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from agency.core import json
from agency.core.limits import FILTER_BYTES_MAX, FILTER_CONDITIONS_MAX
from agency.errors import Fault, InvalidInput

Where = Mapping[str, Any]
"""A filter, as it is written."""

_MISSING: Final = object()


def _is_equal(found: Any, wanted: Any) -> bool:  # noqa: ANN401  JSON values
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_is_equal, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(
            _is_equal(value, wanted[name]) for name, value in found.items()
        )
    return bool(found == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def judge(found: Any, wanted: Any) -> bool:  # noqa: ANN401  JSON values
        return _is_same_order(found, wanted) and compare(found, wanted)

    return judge


def _is_same_order(found: Any, wanted: Any) -> bool:  # noqa: ANN401  JSON values
    if isinstance(found, bool) or isinstance(wanted, bool):
        return False
    return (isinstance(found, (int, float)) and isinstance(wanted, (int, float))) or (
        isinstance(found, str) and isinstance(wanted, str)
    )


def _is_in(found: Any, wanted: list[Any]) -> bool:  # noqa: ANN401  JSON value
    return any(_is_equal(found, one) for one in wanted)


def _contains(found: Any, wanted: Any) -> bool:  # noqa: ANN401  JSON values
    if isinstance(found, list):
        return any(_is_equal(one, wanted) for one in found)
    return isinstance(found, str) and isinstance(wanted, str) and wanted in found


def _has_shape(found: Any, wanted: str) -> bool:  # noqa: ANN401  JSON value
    return isinstance(found, str) and fnmatchcase(found, wanted)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": _is_equal,
    "ne": lambda found, wanted: not _is_equal(found, wanted),
    "lt": _ordered(lambda found, wanted: found < wanted),
    "le": _ordered(lambda found, wanted: found <= wanted),
    "gt": _ordered(lambda found, wanted: found > wanted),
    "ge": _ordered(lambda found, wanted: found >= wanted),
    "in": _is_in,
    "not_in": lambda found, wanted: not _is_in(found, wanted),
    "contains": _contains,
    "glob": _has_shape,
    "exists": lambda found, wanted: (found is not _MISSING) is wanted,
}
OPERATORS = tuple(_OPERATORS)
_OF_MISSING = frozenset({"ne", "not_in", "exists"})
_OF_LISTS = frozenset({"in", "not_in"})
_ORDERS = frozenset({"lt", "le", "gt", "ge"})


def fits(where: Where | None, value: Any) -> bool:  # noqa: ANN401  JSON value
    """Tell whether a value fits a filter that `check_where` has let pass; None fits everything."""
    if not where:
        return True
    return all(_holds(wanted, _find(value, path)) for path, wanted in where.items())


def _holds(wanted: Any, found: Any) -> bool:  # noqa: ANN401  JSON values
    if not isinstance(wanted, Mapping):
        return found is not _MISSING and _is_equal(found, wanted)
    return all(
        (found is not _MISSING or operator in _OF_MISSING) and _OPERATORS[operator](found, operand)
        for operator, operand in wanted.items()
    )


def _find(value: Any, path: str) -> Any:  # noqa: ANN401  JSON value
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part, _MISSING)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 10:
            position = int(part)
            value = value[position] if position < len(value) else _MISSING
        else:
            return _MISSING
        if value is _MISSING:
            return _MISSING
    return value


def check_where(where: Any, *, at: str = "/where") -> dict[str, Any] | None:  # noqa: ANN401
    """Check a filter, and give it as plain JSON; None when it has no condition.

    Args:
        where: What somebody has written.
        at: JSON pointer of the filter, for the faults.

    Raises:
        InvalidInput: it is none, or larger than one may be; all faults are named.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise _refused([Fault(at, "An object of paths and what must be there is needed.")])
    try:
        body = json.encode(dict(where))
    except json.NotJson as error:
        raise _refused([Fault(at, f"It is not JSON: {error}")]) from error
    if len(body) > FILTER_BYTES_MAX or len(where) > FILTER_CONDITIONS_MAX:
        what = (
            f"A filter has at most {FILTER_CONDITIONS_MAX} conditions and {FILTER_BYTES_MAX} bytes."
        )
        raise _refused([Fault(at, what)])
    plain: dict[str, Any] = json.decode(body)
    faults = [
        Fault(f"{at}/{path.replace('~', '~0').replace('/', '~1')}", what, hint)
        for path, wanted in plain.items()
        for what, hint in [_fault_of(path, wanted)]
        if what
    ]
    if faults:
        raise _refused(faults)
    return plain or None


def _fault_of(path: str, wanted: Any) -> tuple[str, str]:  # noqa: ANN401  JSON value
    """Say what is wrong with one condition, and what to write instead; empty when nothing is."""
    if not all(path.split(".")):
        return "A path has no empty parts.", ""
    if not isinstance(wanted, dict):
        return "", ""
    unknown = [operator for operator in wanted if operator not in _OPERATORS]
    if unknown or not wanted:
        named = f"{unknown[0]!r} is no operator" if unknown else "An operator is needed"
        return f"{named}.", f"Known are {', '.join(OPERATORS)}; compare an object with eq."
    for operator, operand in wanted.items():
        what = _fault_of_operand(operator, operand)
        if what:
            return what, ""
    return "", ""


def _fault_of_operand(operator: str, operand: Any) -> str:  # noqa: ANN401  JSON value
    if operator in _OF_LISTS and not isinstance(operand, list):
        return f"{operator!r} needs a list."
    if operator in _ORDERS and not _is_same_order(operand, operand):
        return f"{operator!r} needs a number or a text."
    if operator == "glob" and not isinstance(operand, str):
        return "'glob' needs a text."
    if operator == "exists" and not isinstance(operand, bool):
        return "'exists' needs true or false."
    return ""


def _refused(faults: list[Fault]) -> InvalidInput:
    return InvalidInput(f"The filter cannot be used: {faults[0].what}", faults=faults)
