"""Secrets as they are kept: sealed, with the id of the key that opens them."""

from __future__ import annotations

import re
from datetime import datetime

from agency.core.records import dataclass
from agency.errors import Fault, InvalidInput

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_])?")
"""What a secret may be called: it is part of addresses and references, which end where it ends."""

VALUE_BYTES_MAX = 64 * 1024
"""Longest value, in UTF-8: a key or certificate; the values of all secrets are held in memory."""

REDACTED_CHARACTERS_MIN = 8
"""Shorter values are not looked for in texts: they are part of too many words and numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A row.

    Attributes:
        id: UUID; like the name and the key's id it is bound to the sealed value, so that a row
            cannot be passed off as another.
        key_id: Of the key that it was sealed with.
        nonce: 12 random bytes, new with each sealing.
        sealed: The encrypted value, with its tag of 16 bytes.
        updated_by: Name of the principal who has set the value.
    """

    id: str
    name: str
    key_id: str
    nonce: bytes
    sealed: bytes
    created_at: datetime
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What is kept of a key, by which the right one is known; never the key itself.

    Attributes:
        id: 16 hexadecimal digits, derived from the key.
        check: 32 bytes, derived from the key in another way.
    """

    id: str
    check: bytes
    created_at: datetime


def check_name(name: str) -> None:
    """Refuse a name that a secret cannot have.

    Raises:
        InvalidInput: it cannot.
    """
    if NAME.fullmatch(name) is None:
        fault = Fault(
            "name",
            "1 to 128 letters, digits, dots, dashes and underscores are needed, with a letter or "
            "digit at both ends.",
        )
        raise InvalidInput(f"{name[:128]!r} cannot be the name of a secret.", faults=[fault])


def check_value(value: str) -> None:
    """Refuse a value that cannot be one; it is not repeated.

    Raises:
        InvalidInput: it is empty, too long, or holds what no header or variable can hold.
    """
    what = ""
    if not value:
        what = "It is empty."
    elif "\0" in value:
        what = "It holds a NUL character, which fits into no header and no variable."
    elif not _is_utf8(value):
        what = "It holds half of a surrogate pair, which is no character."
    elif len(value.encode()) > VALUE_BYTES_MAX:
        what = f"It has more than {VALUE_BYTES_MAX} bytes."
    if what:
        raise InvalidInput(
            f"The value cannot be that of a secret: {what[0].lower()}{what[1:]}",
            faults=[Fault("value", what)],
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
