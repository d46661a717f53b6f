"""Pages of lists: an opaque cursor says where the next page begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from agency.core.limits import NAME_CHARACTERS_MAX
from agency.errors import Fault, InvalidInput

_Row = TypeVar("_Row")


def make_cursor(kind: str, position: str) -> str:
    """Make the cursor of a place in the list ``kind``. Callers may not look inside."""
    return base64.urlsafe_b64encode(f"{kind}:{position}".encode()).decode().rstrip("=")


def parse_cursor(kind: str, cursor: str) -> str:
    """Read the place out of a cursor of the list ``kind``.

    Raises:
        InvalidInput: it is not a cursor of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise _refused(cursor) from error
    found, _, position = text.partition(":")
    if found != kind or not position or make_cursor(kind, position) != cursor:
        raise _refused(cursor)
    return position


def parse_text_cursor(kind: str, cursor: str) -> str:
    """Read a cursor whose place is a name.

    Raises:
        InvalidInput: it is not a cursor of this list.
    """
    position = parse_cursor(kind, cursor)
    if len(position) > NAME_CHARACTERS_MAX:
        raise _refused(cursor)
    return position


def parse_number_cursor(kind: str, cursor: str) -> int:
    """Read a cursor whose place is a number from 0 to 2**63 - 1.

    Raises:
        InvalidInput: it is not a cursor of this list.
    """
    position = parse_cursor(kind, cursor)
    is_number = position.isascii() and position.isdecimal() and len(position) <= 19
    if not is_number or int(position) >= 1 << 63:
        raise _refused(cursor)
    return int(position)


def cut_page(
    kind: str, rows: Sequence[_Row], limit: int, position: Callable[[_Row], object]
) -> tuple[Sequence[_Row], str | None]:
    """Cut a page of ``limit`` rows out of up to ``limit + 1``, and make the next page's cursor."""
    if len(rows) <= limit:
        return rows, None
    page = rows[:limit]
    return page, make_cursor(kind, str(position(page[-1])))


def _refused(cursor: str) -> InvalidInput:
    fault = Fault(
        "cursor", f"{cursor!r} is not a cursor of this list.", "Use next_cursor as it is."
    )
    return InvalidInput(fault.what, faults=[fault], hint=fault.hint)
