"""Events of a stream whose data is a JSON object each."""

from __future__ import annotations

from typing import Any

from agency.core import json
from agency.errors import ModelReplyBroken
from agency.models.refusals import shortened


def parse_event(data: bytes, model: str) -> dict[str, Any]:
    """Read the data of an event.

    Raises:
        ModelReplyBroken: it is not a JSON object.
    """
    try:
        found = json.decode(data)
    except json.NotJson as error:
        beginning = shortened(data[:80].decode(errors="replace"))
        raise ModelReplyBroken(
            f"The reply of the model {model!r} is broken: an event of it is no JSON "
            f"({beginning!r})."
        ) from error
    if not isinstance(found, dict):
        raise ModelReplyBroken(
            f"The reply of the model {model!r} is broken: an event of it is no object."
        )
    return found
