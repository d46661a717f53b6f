"""What an agent's run asks people: values, and whether a tool may be called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from agency.core import json
from agency.core.limits import APPROVAL_SHOW_BYTES_MAX, QUESTION_CHARACTERS_MAX
from agency.core.records import dataclass
from agency.domain.approval import ApprovalKind
from agency.domain.run import Run
from agency.domain.wait import NewWait, Wait
from agency.engine.questions import ApprovalCall, approval_wait, input_wait
from agency.ports.tool import ToolRequest

SHOWN_TEXT_CHARACTERS_MAX = (28_000, 14_000, 8000, 200)
"""A longer text is shown by its head and tail, its length and its hash; the first bound counts with
which all fits. Whoever decides is to see all of a command: part of it could hide the rest."""
_ROOM_BYTES = APPROVAL_SHOW_BYTES_MAX // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolQuestion:
    """Whether a tool may be called.

    Attributes:
        schema: Of the arguments, so that they may be edited.
    """

    tool: str
    arguments: Mapping[str, Any]
    request: ToolRequest
    schema: Mapping[str, Any]


def value_wait(
    run: Run,
    key: str,
    *,
    name: str,
    prompt: str,
    schema: Mapping[str, Any] | None,
    show: Any = None,  # noqa: ANN401  JSON
) -> NewWait:
    """Make the wait that asks a person for a value that obeys a JSON Schema."""
    asked = input_wait(run, key, name, printable(prompt), None, None)
    shown: dict[str, Any] = {"prompt": asked.show["prompt"], "schema": schema}
    if show is not None:
        shown["show"] = show
    return replace(asked, show=shown)


def tool_wait(run: Run, key: str, asked: ToolQuestion, due_at: datetime | None = None) -> NewWait:
    """Make the wait that asks whether a tool may be called.

    Its name is the tool's, and what is shown has the arguments, for rules to look at.
    """
    shown = {"tool": asked.tool, "arguments": dict(asked.arguments), **asked.request.show}
    for most in SHOWN_TEXT_CHARACTERS_MAX:
        subject = _shortened(shown, most)
        if len(json.encode(subject)) <= _ROOM_BYTES:
            break
    else:
        text = json.encode(shown).decode()
        subject = {"tool": asked.tool, "shown": _short(text, SHOWN_TEXT_CHARACTERS_MAX[-2])}
    wait = approval_wait(
        run,
        key,
        ApprovalCall(
            question=printable(asked.request.question),
            subject=subject,
            risk=asked.request.risk.value,
            on_expiry="deny",
            schema=None,
            name=asked.tool,
        ),
        due_at,
    )
    assert wait.approval is not None
    show = dict(wait.show)
    if len(json.encode(asked.schema)) <= APPROVAL_SHOW_BYTES_MAX - _ROOM_BYTES - 8192:
        show["schema"] = dict(asked.schema)
    else:
        show["schema"] = {"type": "object"}
    return replace(wait, show=show, approval=replace(wait.approval, kind=ApprovalKind.TOOL))


def printable(text: str) -> str:
    """Bring a text of a model into what a question may be."""
    cleaned = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text).strip()
    return cleaned[: QUESTION_CHARACTERS_MAX - 1] or "(no question)"


def answered_text(wait: Wait) -> str:
    """Give what a person has answered, as text."""
    value = wait.payload
    return value if isinstance(value, str) else json.encode(value).decode()


def _shortened(value: Any, characters_max: int) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, str):
        return _short(value, characters_max)
    if isinstance(value, Mapping):
        return {str(key): _shortened(one, characters_max) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(one, characters_max) for one in value]
    return value


def _short(text: str, characters_max: int) -> str:
    if len(text) <= characters_max:
        return text
    half = characters_max // 2
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    left_out = len(text) - 2 * half
    return (
        f"{text[:half]}\n… {left_out} characters are not shown; all {len(text)} have the SHA-256 "
        f"{digest} …\n{text[-half:]}"
    )
