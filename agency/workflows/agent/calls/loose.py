"""JSON as models write it: read strictly, then by rules, then mended, and never guessed.

A value counts as mended only when nothing was lost or made up on the way: json-repair turns
``{path: /tmp/a}`` into an empty path, and closes the string of a file that was cut off in the
middle. Both would be calls that the model has not made.
"""

from __future__ import annotations

import ast
import json as stdlib_json
import math
import re
from typing import Any

from agency.core import json
from agency.core.records import dataclass

VALUE_CHARACTERS_MAX = 1_000_000
"""Longest text that is read as one value."""

REPAIR_CHARACTERS_MAX = 64 * 1024
"""Longest text that is mended: json-repair takes some 4 ms for each 1,000 characters."""

DEPTH_MAX = 64
"""Nesting of arguments: deeper ones are refused."""

LETTERS_LOST_MAX = 2
"""Letters and digits that mending may lose: of a stray word such as ``ok`` at the most."""

_ESCAPE_UNKNOWN = re.compile(r"""\\[^nrtbfavuxUN0-7"'\\\n]""")
_TOKEN = re.compile(r'\\.|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_PLAIN = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|[\W_]+", re.DOTALL)
_DECODER = stdlib_json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    """What was read.

    Attributes:
        value: The value; None when ``fault`` says why there is none.
        is_repaired: It was not JSON as it stood.
        fault: Empty, or one sentence without a subject: ``is cut off in the middle of a text``.
    """

    value: Any = None
    is_repaired: bool = False
    fault: str = ""


def read_value(text: str) -> Loose:
    """Read one value; never raises. Linear in the length of the text, which is bounded."""
    text = text.strip().removeprefix("\ufeff")
    if not text:
        return Loose(fault="is empty")
    if len(text) > VALUE_CHARACTERS_MAX:
        return Loose(fault=f"is longer than {VALUE_CHARACTERS_MAX} characters")
    try:
        return _checked(json.decode(text), is_repaired=False)
    except (json.NotJson, UnicodeEncodeError) as error:
        reason = f"is no JSON: {error}"
    for read in (_lenient, _python):
        value = read(text)
        if value is not _NOTHING:
            return _checked(value, is_repaired=True)
    return _mended(text, reason)


def read_first(text: str, start: int) -> tuple[Any, int] | None:
    """Read the value that begins exactly at ``start``; None unless it is whole and well-formed.

    Returns:
        The value, and the position behind it. Raw line ends in texts are accepted.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return None if _fault_of(value) else (value, end)


def end_of_value(text: str, start: int) -> int | None:
    """Find the end of the object or list that begins at ``start``, well-formed or not.

    None when it is not closed.
    """
    depth = 0
    for token in _TOKEN.finditer(text, start, start + VALUE_CHARACTERS_MAX):
        match token[0]:
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
                if depth <= 0:
                    return token.end()
    return None


class _Nothing:
    """Marks that nothing was read, because None is a value."""


_NOTHING = _Nothing()


def _lenient(text: str) -> Any:  # noqa: ANN401  JSON enters here
    """Read JSON whose texts hold raw line ends and tabs."""
    try:
        return stdlib_json.loads(text, strict=False, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NOTHING


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _python(text: str) -> Any:  # noqa: ANN401  JSON enters here
    """Read a Python literal: single quotes, True, None, trailing commas."""
    if len(text) > REPAIR_CHARACTERS_MAX or text[0] not in "{[" or _ESCAPE_UNKNOWN.search(text):
        return _NOTHING
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NOTHING


def _plain(value: Any) -> Any:  # noqa: ANN401  a literal of Python
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _plain(part) for key, part in value.items()}
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")


def _mended(text: str, reason: str) -> Loose:
    if text[0] not in "{[" or len(text) > REPAIR_CHARACTERS_MAX:
        return Loose(fault=reason)
    missing = _missing(text)
    if missing is None:
        return Loose(fault="is cut off before its end")
    if missing:
        value = _lenient(text + missing) if text[-1] in '}]"' else _NOTHING
        if value is not _NOTHING:
            return _checked(value, is_repaired=True)
        if text[-1] not in "}]":
            return Loose(fault="is cut off before its end")
        text += missing
    import json_repair

    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError, IndexError, TypeError, KeyError):
        return Loose(fault=reason)
    if not value or not isinstance(value, dict if text[0] == "{" else list):
        return Loose(fault=reason)
    found = _checked(value, is_repaired=True)
    if not found.fault and _letters_lost(text, value):
        return Loose(fault=reason)
    return found


def _missing(text: str) -> str | None:
    """Name the brackets that a text lacks at its end; empty when it lacks none.

    None when it ends inside of a string: how that goes on would be a guess.
    """
    missing: list[str] = []
    last = ""
    for token in _TOKEN.finditer(text):
        last = token[0]
        match last:
            case "{":
                missing.append("}")
            case "[":
                missing.append("]")
            case "}" | "]" if missing:
                missing.pop()
    if last.startswith('"') and (len(last) < 2 or not last.endswith('"')):
        return None
    return "".join(reversed(missing))


def _letters_lost(text: str, value: Any) -> bool:  # noqa: ANN401  JSON value
    kept = _PLAIN.sub("", json.encode(value).decode())
    written = _PLAIN.sub("", text)
    return abs(len(written) - len(kept)) > LETTERS_LOST_MAX


def _checked(value: Any, *, is_repaired: bool) -> Loose:  # noqa: ANN401  JSON value
    fault = _fault_of(value)
    return Loose(fault=fault) if fault else Loose(value=value, is_repaired=is_repaired)


def _fault_of(value: Any) -> str:  # noqa: ANN401  JSON value
    """Say why a value cannot be stored; empty when it can."""
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below.extend(part.values())
            elif isinstance(part, list):
                below.extend(part)
            elif isinstance(part, float) and not math.isfinite(part):
                return "holds a number that is not finite"
        if not below:
            break
        level = below
    else:
        return f"is nested deeper than {DEPTH_MAX}"
    try:
        json.encode(value)
    except json.NotJson:
        return "holds a number or a sign that JSON does not have"
    return ""
