"""A workflow that is stored: declared by data, and kept in every version that runs need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.records import dataclass
from agency.domain.run import RunKind


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDefinition:
    """One version of a stored workflow.

    Attributes:
        version: Tells apart what differs: derived from the content.
        body: The declaration, JSON.
        created_by: Who has defined it.
        is_current: New runs are of this version. Of what is kept beside a file none is.
    """

    name: str
    version: str
    kind: RunKind
    body: Any
    created_at: datetime
    created_by: str = ""
    is_current: bool = True
