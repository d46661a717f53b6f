"""The JSON documents of ``/api/v1``, as a client reads them.

Moments are RFC 3339 text in UTC, ids are UUID text. A client ignores members it does not know, so
that a newer daemon can be asked by an older command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class WaitDocument(TypedDict):
    """Something that a run waits for. ``key`` names it when it is answered."""

    key: str
    kind: str
    name: str
    due_at: str | None
    show: Any


class ErrorDocument(TypedDict):
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str
    step: str
    details: Any


class RunDocument(TypedDict):
    """One run. Lists leave out ``waits``, ``steps_executed`` and ``snapshot_id``."""

    id: str
    name: str | None
    workflow: str
    version: str
    kind: str
    status: str
    input: Any
    output: Any
    error: ErrorDocument | None
    session_id: str | None
    parent_id: str | None
    attempt: int
    max_attempts: int
    provider: str | None
    progress: Any
    created_at: str
    started_at: str | None
    ended_at: str | None
    waits: list[WaitDocument]
    steps_executed: int
    snapshot_id: str | None


class StepDocument(TypedDict):
    """One entry of a run's journal."""

    number: int
    key: str
    kind: str
    at: str
    body: Any
    meta: Any


class SnapshotDocument(TypedDict):
    """One suspension of a run, from which it can be resumed unless it is ``spent``."""

    snapshot_id: str
    run_id: str
    workflow_id: str | None
    workflow: str
    reason: str
    created_at: str
    waits: list[WaitDocument]
    spent: bool


class DefinitionDocument(TypedDict):
    """A workflow that can be run."""

    name: str
    kind: str
    version: str
    description: str
    input_schema: Mapping[str, Any]


class ModelDocument(TypedDict):
    """Who serves the daemon's model calls."""

    provider: str
    model: str
    reachable: bool
    rehearsal: bool


class HealthDocument(TypedDict):
    """How the daemon is. ``runs`` counts them by status."""

    status: str
    service: str
    version: str
    uptime: str
    uptime_seconds: float
    timestamp: str
    database: str
    llm: ModelDocument
    runs: Mapping[str, int]


class TokenDocument(TypedDict):
    """An API token, without its secret."""

    name: str
    prefix: str
    created_at: str


class NewTokenDocument(TokenDocument):
    """A token that was just made: the only time that its secret is shown."""

    token: str
