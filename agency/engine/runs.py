"""The verbs: what every door calls, and nothing that one door has and another lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agency.domain.entry import Entry
from agency.domain.run import Run
from agency.domain.snapshot import Snapshot
from agency.ports.store import RunDetail, RunFilter, SnapshotFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """A request for work, as a door has checked its shape.

    Attributes:
        workflow: Name of a registered workflow.
        input: JSON value; checked against the workflow's input type.
        request_hash: Hash of the whole request; wanted when ``idempotency_key`` is set.
        timeout_s: The run is timed out this long after its start, queueing included.
    """

    workflow: str
    input: Any
    name: str | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    correlation_id: str = ""
    principal: str = "local"
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    available_at: datetime | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """What became of a request for work.

    Attributes:
        is_new: False when an earlier request with the same idempotency key made the run.
        answered: The session's live run waited for input and has taken the message; ``run`` is
            that run.
    """

    run: Run
    is_new: bool
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionInfo:
    """A registered workflow, for people and programs."""

    name: str
    kind: str
    version: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    source: str


class Runs:
    """Start, watch and steer runs. All methods raise the errors of ``agency.errors``."""

    async def start(self, request: StartRequest) -> StartedRun:
        """Accept work; when this returns it is durable.

        Raises:
            WorkflowNotFound, InvalidInput, NameTaken, IdempotencyMismatch, SessionBusy,
            ShuttingDown, StoreFull.
        """
        raise NotImplementedError

    async def get(self, run_id: str) -> RunDetail:
        """Read one run. Raises: RunNotFound."""
        raise NotImplementedError

    async def get_named(self, name: str) -> RunDetail:
        """Read the live run of that name, else the newest ended. Raises: RunNotFound."""
        raise NotImplementedError

    async def list(self, which: RunFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        """Read runs, newest first."""
        raise NotImplementedError

    async def wait(self, run_id: str, *, timeout_s: float) -> RunDetail:
        """Wait until the run has ended or is suspended, ``timeout_s`` at most; then read it.

        Woken by notification. A run that is suspended only because its model server is away,
        or on a timer or child that goes on by itself, is waited for further.

        Raises:
            RunNotFound: there is none.
        """
        raise NotImplementedError

    async def entries(self, run_id: str, *, after: int, limit: int) -> Sequence[Entry]:
        """Read a page of the run's journal, oldest first. Raises: RunNotFound."""
        raise NotImplementedError

    async def cancel(self, run_id: str, *, reason: str = "") -> RunDetail:
        """Cancel the run and its descendants; work in flight is really stopped.

        Returns when the end is recorded as wanted; the run's status says whether it has ended.

        Raises:
            RunNotFound, RunEnded.
        """
        raise NotImplementedError

    async def suspend(self, run_id: str, *, reason: str, wait_s: float) -> Snapshot | None:
        """Hold the run until it is resumed; None when its safe point is not reached in ``wait_s``.

        Raises:
            RunNotFound, RunEnded.
        """
        raise NotImplementedError

    async def resume(
        self,
        snapshot_id: str,
        *,
        wait: str | None = None,
        input: Any = None,  # noqa: ANN401  the word of the API; JSON value
        has_input: bool = False,
    ) -> str:
        """Answer a wait of a suspended run (design section 5), and return the run's id.

        Raises:
            SnapshotNotFound, SnapshotSpent, RunEnded, WaitNotFound, WaitAmbiguous, AnswerNeeded,
            WaitNotAnswerable, WaitTaken, InvalidInput (input does not fit the wait's schema).
        """
        raise NotImplementedError

    async def send(
        self,
        run_id: str,
        *,
        name: str,
        payload: Any,  # noqa: ANN401  JSON value
        event_id: str | None = None,
    ) -> str:
        """Send an event to a run, and return the event's id. The same id twice counts once.

        Raises:
            RunNotFound, RunEnded.
        """
        raise NotImplementedError

    async def snapshot(self, snapshot_id: str) -> Snapshot:
        """Read one snapshot. Raises: SnapshotNotFound."""
        raise NotImplementedError

    async def snapshots(
        self, which: SnapshotFilter, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Read snapshots, newest first."""
        raise NotImplementedError

    async def delete_snapshot(self, snapshot_id: str, *, cancel: bool) -> None:
        """Delete a snapshot; with ``cancel`` its live run is cancelled first.

        Raises:
            SnapshotNotFound, SnapshotLive.
        """
        raise NotImplementedError

    def definitions(self) -> Sequence[DefinitionInfo]:
        """List the registered workflows by name."""
        raise NotImplementedError
