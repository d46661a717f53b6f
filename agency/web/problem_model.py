"""The shape of problem documents, for the API's document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class FaultAnswer(BaseModel):
    """One thing that is wrong with an input."""

    model_config = ConfigDict(defer_build=True)

    pointer: str
    """JSON pointer into the body, or the name of a parameter or header."""
    detail: str
    hint: str


class ProblemAnswer(BaseModel):
    """What went wrong (RFC 9457). Further members belong to the code, such as ``run_id``."""

    model_config = ConfigDict(extra="allow", defer_build=True, use_attribute_docstrings=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    """Stable, for programs."""
    success: bool
    error: str
    message: str
    correlationId: str  # noqa: N815  the guides' spelling
    timestamp: str
    hint: str | None = None
    """What to do about it."""
    errors: list[FaultAnswer] | None = None
    links: dict[str, Any] | None = None
