"""What tests answer: authors' values as JSON, and decisions in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.core import json
from agency.engine.approvals import DecideRequest
from agency.engine.codec import codec_for
from agency.errors import InvalidInput

DECIDED_BY = "a test"
_MEMBERS = frozenset({"decision", "comment", "value", "by"})


def to_json(value: Any) -> Any:  # noqa: ANN401  author's value
    """Turn a value of any type that a workflow may take into JSON."""
    return json.decode(codec_for(type(value)).encode(value))


def make_decision(given: bool | Mapping[str, Any]) -> DecideRequest:  # noqa: FBT001  the answer
    """Make a decision about an approval.

    Args:
        given: True or False; or ``{"decision": "approve" | "deny", "comment"?, "value"?, "by"?}``.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(given, bool):
        given = {"decision": "approve" if given else "deny"}
    if not isinstance(given, Mapping) or given.get("decision") not in {"approve", "deny"}:
        raise InvalidInput(f"An approval is not decided by {given!r}.", hint="True or False is.")
    unknown = sorted(set(given) - _MEMBERS)
    if unknown:
        raise InvalidInput(f"A decision has no {unknown[0]!r}.", hint=", ".join(sorted(_MEMBERS)))
    return DecideRequest(
        decision=given["decision"],
        by=given.get("by", DECIDED_BY),
        comment=given.get("comment", ""),
        value=to_json(given.get("value")),
        has_value="value" in given,
    )
