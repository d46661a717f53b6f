"""Kinds of values that bodies and queries share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from agency.core.ids import is_id
from agency.core.limits import NAME_CHARACTERS_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX
from agency.core.names import QUEUE_NAME
from agency.errors import RunNotFound, SnapshotNotFound

# Surrogates come from bytes in a path that are not UTF-8.
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

Name = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"
    ),
]
"""A name that people choose: no control characters, because it appears in logs and on screens."""

QueueName = Annotated[str, StringConstraints(max_length=64, pattern=f"^{QUEUE_NAME.pattern}$")]
"""The name of a queue. It is part of addresses."""

_RESERVED = frozenset({".", "..", "resume", "snapshots", "execute"})


def _not_reserved(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"{name!r} is part of the paths of the API and cannot be a name")
    return name


WorkflowId = Annotated[
    Name,
    AfterValidator(_not_reserved),
    Field(json_schema_extra={"not": {"enum": sorted(_RESERVED)}}),
]
"""The name of a run. It is part of addresses."""


def _only_text(value: Any) -> Any:  # noqa: ANN401  JSON value
    if not isinstance(value, str):
        raise ValueError("a moment as text in RFC 3339 is needed")  # noqa: TRY004  pydantic's rule
    return value


Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_only_text, json_schema_input_type=datetime)
]
"""A moment with its offset from UTC."""

Limit = Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX, description="Rows of a page.")]
LIMIT_DEFAULT = PAGE_ROWS_DEFAULT
Cursor = Annotated[str | None, Field(max_length=512, description="next_cursor of the page before.")]


def run_id_of(text: str) -> str:
    """Check the id of a run in a path.

    Raises:
        RunNotFound: it is no id, so no run has it.
    """
    if not is_id(text):
        raise RunNotFound(text[:NAME_CHARACTERS_MAX])
    return text.lower()


def snapshot_id_of(text: str) -> str:
    """Check the id of a snapshot.

    Raises:
        SnapshotNotFound: it is no id, so no snapshot has it.
    """
    if not is_id(text):
        raise SnapshotNotFound(text[:NAME_CHARACTERS_MAX])
    return text.lower()


def name_of(text: str) -> str:
    """Check the name of a run in a path.

    Raises:
        RunNotFound: nothing can have that name.
    """
    if len(text) > NAME_CHARACTERS_MAX or _NAME.fullmatch(text) is None:
        raise RunNotFound(text[:NAME_CHARACTERS_MAX])
    return text
