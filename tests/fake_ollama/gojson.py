"""JSON as Go's encoder writes it, and the moments and numbers in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

_ESCAPED = {sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def go_json(value: Any) -> bytes:
    """Write JSON: ``<``, ``>``, ``&`` and two line ends escaped, all other signs raw."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Outside of texts JSON has none of these signs.
    return "".join(_ESCAPED.get(sign, sign) for sign in text).encode()


def omitempty(**fields: Any) -> dict[str, Any]:
    """Leave out what is zero or empty, as fields marked so in Go are."""
    return {name: value for name, value in fields.items() if value not in (0, "", None, [], {})}


def now_text() -> str:
    """Write the time as Go does: UTC, up to nine decimals, zeros at the end cut."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
