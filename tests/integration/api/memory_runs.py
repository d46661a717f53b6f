"""The verbs over a dictionary: enough of an engine to show a door what it can meet.

Its workflows: ``echo`` gives its input back, ``asks`` waits for input, ``listens`` for the event
``paid``, ``both`` for both, ``hangs`` runs until it is cancelled, and ``agent`` answers a message;
the message ``fail CODE`` makes it fail with that code, ``limit`` makes it reach its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agency import errors
from agency.core import json
from agency.core.ids import new_id
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import ENDED, Phase, Run, RunError, RunKind, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait, WaitKind
from agency.engine.runs import DefinitionInfo, Runs, StartedRun, StartRequest
from agency.ports.store import RunDetail, RunFilter, SnapshotFilter

WORKFLOWS = ("agent", "asks", "both", "echo", "hangs", "listens")


def _now() -> datetime:
    return datetime.now(UTC)


def _wait(key: str, kind: WaitKind, name: str) -> Wait:
    return Wait(
        key=key,
        kind=kind,
        name=name,
        due_at=None,
        show={"prompt": name},
        target="",
        opened_at=_now(),
        outcome=None,
        payload=None,
        resolved_at=None,
        resolved_number=0,
    )


class MemoryRuns(Runs):
    """All runs of one test."""

    def __init__(self) -> None:
        self.details: dict[str, RunDetail] = {}
        self.shots: dict[str, Snapshot] = {}
        self.journal: dict[str, list[Entry]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.moved = asyncio.Condition()
        self.is_broken = False

    async def start(self, request: StartRequest) -> StartedRun:
        if self.is_broken:
            raise ZeroDivisionError("a bug")
        if request.workflow not in WORKFLOWS:
            raise errors.WorkflowNotFound(request.workflow)
        for detail in self.details.values():
            run = detail.run
            if request.idempotency_key and run.idempotency_key == request.idempotency_key:
                if run.tags["hash"] != request.request_hash:
                    raise errors.IdempotencyMismatch(request.idempotency_key, run.id)
                return StartedRun(run=run, is_new=False)
            if request.name and run.name == request.name and run.status not in ENDED:
                raise errors.NameTaken(request.name, run.id)
        if request.workflow == "agent" and not (
            isinstance(request.input, dict) and isinstance(request.input.get("message"), str)
        ):
            fault = errors.Fault("/message", "A message is needed")
            raise errors.InvalidInput("The value does not fit.", faults=[fault])
        run = self._make(request)
        self.details[run.id] = RunDetail(
            run=run, waits=(), steps_executed=0, snapshot_id=None, behind=None
        )
        self.journal[run.id] = []
        self.answers[run.id] = {}
        await self._work(run.id)
        return StartedRun(run=run, is_new=True)

    async def get(self, run_id: str) -> RunDetail:
        detail = self.details.get(run_id)
        if detail is None:
            raise errors.RunNotFound(run_id)
        return detail

    async def get_named(self, name: str) -> RunDetail:
        named = [d for d in self.details.values() if d.run.name == name]
        if not named:
            raise errors.RunNotFound(name)
        live = [d for d in named if d.run.status not in ENDED]
        return (live or named)[-1]

    async def list(self, which: RunFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        found = [
            detail.run
            for detail in self.details.values()
            if (not which.statuses or detail.run.status in which.statuses)
            and which.workflow in {None, detail.run.workflow}
            and which.name in {None, detail.run.name}
            and which.session_id in {None, detail.run.session_id}
            and which.parent_id in {None, detail.run.parent_id}
            and which.is_named in {None, detail.run.name is not None}
            and (before is None or detail.run.number < before)
        ]
        return sorted(found, key=lambda run: -run.number)[:limit]

    async def wait(self, run_id: str, *, timeout_s: float) -> RunDetail:
        def is_still() -> bool:
            status = self.details[run_id].run.status
            return status in ENDED or status is RunStatus.SUSPENDED

        await self.get(run_id)
        try:
            async with asyncio.timeout(timeout_s), self.moved:
                await self.moved.wait_for(is_still)
        except TimeoutError:
            pass
        return self.details[run_id]

    async def watch(self, run_id: str, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s), self.moved:
                await self.moved.wait()
        except TimeoutError:
            return

    async def entries(self, run_id: str, *, after: int, limit: int) -> Sequence[Entry]:
        await self.get(run_id)
        return [e for e in self.journal[run_id] if e.number > after][:limit]

    async def cancel(self, run_id: str, *, reason: str = "") -> RunDetail:
        self._live(await self.get(run_id))
        error = RunError(code="cancelled", message=reason or "It was cancelled.")
        await self._become(run_id, RunStatus.CANCELLED, error=error)
        return self.details[run_id]

    async def suspend(self, run_id: str, *, reason: str, wait_s: float) -> Snapshot | None:
        detail = self._live(await self.get(run_id))
        if detail.run.status is RunStatus.RUNNING:
            return None
        wait = _wait("!operator#1", WaitKind.OPERATOR, reason)
        await self._suspend(run_id, [*detail.waits, wait], reason)
        snapshot_id = self.details[run_id].snapshot_id
        assert snapshot_id is not None
        return await self.snapshot(snapshot_id)

    async def resume(
        self,
        snapshot_id: str,
        *,
        wait: str | None = None,
        input: Any = None,
        has_input: bool = False,
    ) -> str:
        snapshot = await self.snapshot(snapshot_id)
        run_id = snapshot.run_id
        detail = await self.get(run_id)
        if snapshot.spent:
            raise errors.SnapshotSpent(snapshot_id, run_id, detail.snapshot_id)
        open_waits = {found.key: found for found in detail.waits}
        if wait is None:
            if len(open_waits) > 1:
                raise errors.WaitAmbiguous(run_id, list(open_waits))
            wait = next(iter(open_waits))
        if wait not in open_waits:
            raise errors.WaitNotFound(run_id, wait, list(open_waits))
        if open_waits[wait].kind in {WaitKind.INPUT, WaitKind.EVENT} and not has_input:
            raise errors.AnswerNeeded(run_id, wait, "the answer")
        self.answers[run_id][wait] = input
        await self._work(run_id)
        return run_id

    async def send(
        self, run_id: str, *, name: str, payload: Any, event_id: str | None = None
    ) -> str:
        self._live(await self.get(run_id))
        self.answers[run_id].setdefault(f"{name}#1", payload)
        await self._work(run_id)
        return event_id or new_id()

    async def snapshot(self, snapshot_id: str) -> Snapshot:
        if snapshot_id not in self.shots:
            raise errors.SnapshotNotFound(snapshot_id)
        return self.shots[snapshot_id]

    async def snapshots(
        self, which: SnapshotFilter, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        found = [
            shot
            for shot in self.shots.values()
            if which.run_name in {None, shot.run_name}
            and which.reason in {None, shot.reason}
            and which.run_id in {None, shot.run_id}
        ]
        found.reverse()
        if before is not None:
            at = [shot.id for shot in found].index(before) if before in self.shots else len(found)
            found = found[at + 1 :]
        return found[:limit]

    async def delete_snapshot(self, snapshot_id: str, *, cancel: bool) -> None:
        snapshot = await self.snapshot(snapshot_id)
        detail = await self.get(snapshot.run_id)
        if detail.run.status not in ENDED and detail.snapshot_id == snapshot_id:
            if not cancel:
                raise errors.SnapshotLive(snapshot_id, snapshot.run_id)
            await self.cancel(snapshot.run_id)
        del self.shots[snapshot_id]

    def definitions(self) -> Sequence[DefinitionInfo]:
        return [
            DefinitionInfo(
                name=name,
                kind="agent" if name == "agent" else "function",
                version="1",
                description="",
                input_schema={},
                output_schema={},
                source="",
            )
            for name in WORKFLOWS
        ]

    # --- what an engine would do -------------------------------------------------------------

    def _make(self, request: StartRequest) -> Run:
        now = _now()
        return Run(
            number=len(self.details) + 1,
            id=new_id(),
            name=request.name,
            workflow=request.workflow,
            version="1",
            kind=RunKind.AGENT if request.workflow == "agent" else RunKind.FUNCTION,
            status=RunStatus.PENDING,
            phase=Phase.FORWARD,
            input=request.input,
            output=None,
            error=None,
            session_id=request.session_id,
            parent_id=None,
            forked_from=None,
            queue="default",
            priority=request.priority,
            attempt=1,
            max_attempts=1,
            epoch=1,
            owner="boot-1",
            available_at=now,
            deadline_at=None,
            seed=7,
            idempotency_key=request.idempotency_key,
            correlation_id=request.correlation_id,
            principal=request.principal,
            tags={
                **request.tags,
                **({"hash": request.request_hash} if request.request_hash else {}),
            },
            created_at=now,
            started_at=now,
            ended_at=None,
            ending=None,
            hold=None,
            crashes=0,
            provider="rehearsal" if request.workflow == "agent" else None,
            progress=None,
        )

    async def _work(self, run_id: str) -> None:
        run = self.details[run_id].run
        answers = self.answers[run_id]
        wanted = {
            "asks": [_wait("name#1", WaitKind.INPUT, "name")],
            "listens": [_wait("paid#1", WaitKind.EVENT, "paid")],
            "both": [
                _wait("name#1", WaitKind.INPUT, "name"),
                _wait("paid#1", WaitKind.EVENT, "paid"),
            ],
        }.get(run.workflow, [])
        missing = [wait for wait in wanted if wait.key not in answers]
        if run.workflow == "hangs":
            await self._become(run_id, RunStatus.RUNNING)
        elif missing:
            await self._suspend(run_id, missing, missing[0].kind)
        elif run.workflow == "agent":
            await self._answer(run)
        else:
            output = answers if wanted else run.input
            await self._become(run_id, RunStatus.COMPLETED, output=output)

    async def _answer(self, run: Run) -> None:
        message = run.input["message"]
        await self.record(run.id, "reply", {"content": message})
        output = {"response": f"You said: {message}", "model": "m", "rehearsal": True}
        if message.startswith("fail "):
            error = RunError(code=message[5:], message="It failed.", hint="Look.", step="reply#1")
            await self._become(run.id, RunStatus.FAILED, error=error)
        elif message == "limit":
            await self._become(
                run.id, RunStatus.LIMIT_REACHED, output={**output, "completed": False}
            )
        elif message == "hang":
            await self._become(run.id, RunStatus.RUNNING)
        else:
            await self._become(run.id, RunStatus.COMPLETED, output={**output, "completed": True})

    async def record(self, run_id: str, name: str, result: Any) -> None:
        """Record a step, as a running workflow would."""
        journal = self.journal[run_id]
        number = sum(len(found) for found in self.journal.values()) + 1
        body = json.encode(result)
        journal.append(Entry(f"{name}#1", EntryKind.STEP, body, _now(), None, 1, number))
        detail = self.details[run_id]
        await self._keep(replace(detail, steps_executed=detail.steps_executed + 1))

    async def _suspend(self, run_id: str, waits: Sequence[Wait], reason: str) -> None:
        detail = self.details[run_id]
        if detail.snapshot_id is not None:
            self.shots[detail.snapshot_id] = replace(self.shots[detail.snapshot_id], spent=True)
        snapshot = Snapshot(
            id=new_id(),
            run_id=run_id,
            run_name=detail.run.name,
            workflow=detail.run.workflow,
            reason=reason,
            entry_number=0,
            created_at=_now(),
            waits=tuple(waits),
            spent=False,
            run_status=RunStatus.SUSPENDED,
        )
        self.shots[snapshot.id] = snapshot
        run = replace(detail.run, status=RunStatus.SUSPENDED)
        await self._keep(replace(detail, run=run, waits=tuple(waits), snapshot_id=snapshot.id))

    async def _become(
        self, run_id: str, status: RunStatus, *, output: Any = None, error: RunError | None = None
    ) -> None:
        detail = self.details[run_id]
        if detail.snapshot_id is not None:
            shot = self.shots[detail.snapshot_id]
            self.shots[shot.id] = replace(shot, spent=True, run_status=status)
        ended_at = _now() if status in ENDED else None
        run = replace(detail.run, status=status, output=output, error=error, ended_at=ended_at)
        await self._keep(replace(detail, run=run, waits=(), snapshot_id=None))

    async def _keep(self, detail: RunDetail) -> None:
        async with self.moved:
            self.details[detail.run.id] = detail
            self.moved.notify_all()

    @staticmethod
    def _live(detail: RunDetail) -> RunDetail:
        if detail.run.status in ENDED:
            raise errors.RunEnded(detail.run.id, detail.run.status)
        return detail
