"""Turning what happens in a run into the events of its task: for streams and for notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from a2a.types import a2a_pb2 as pb

from agency.a2a.artifacts import Artifacts, artifact_to, content_at
from agency.a2a.following import Seen
from agency.a2a.parts import put_struct
from agency.a2a.view import STATES, agent_message, asked_status, metadata_of, status_of
from agency.domain.content import Content, content_of, text_part
from agency.domain.run import RunStatus
from agency.domain.task import TERMINAL, Task, TaskState
from agency.domain.update import UpdateType
from agency.ports.task import TaskStore

TaskEvent = pb.TaskStatusUpdateEvent | pb.TaskArtifactUpdateEvent
"""What is told of a task after it was shown as it is."""


class Teller:
    """Tells of one task. What it gives for an update is the same whenever it is asked.

    But for one thing: of a state that was told last nothing is said again.
    """

    def __init__(
        self,
        tasks: TaskStore,
        artifacts: Artifacts,
        task: Task,
        *,
        address: str,
        accepted: Sequence[str] = (),
        last: TaskState | None = None,
    ) -> None:
        """Begin.

        Args:
            task: As it was at any moment.
            address: What links in artifacts begin with.
            accepted: Media types that the listener takes; empty: any.
            last: State that the listener knows of; None: none.
        """
        self._tasks = tasks
        self._artifacts = artifacts
        self._task = task
        self._address = address
        self._accepted = accepted
        self._last = None if last is None else STATES[last]

    async def tell(self, seen: Seen) -> list[TaskEvent]:
        """Say what an update means; mostly one event, none for what says nothing new.

        Of an end it is the output as artifacts, and then the status. Where a run goes on as another
        it is nothing: what follows is told by that one's updates.
        """
        match seen.type:
            case UpdateType.STATUS:
                return await self._status(seen)
            case UpdateType.PROGRESS:
                return self._progress(seen)
            case _:
                return await self._content(seen)

    async def _status(self, seen: Seen) -> list[TaskEvent]:
        if seen.is_end:
            return await self._end(seen)
        if seen.status is RunStatus.SUSPENDED:
            task = await self._tasks.find(self._task.id)
            if task is None:
                return []
            reason = str((seen.data or {}).get("reason", ""))
            return self._changed(asked_status(task, seen.at, number=seen.number, reason=reason))
        is_begun = seen.status is RunStatus.RUNNING or self._last not in {
            None,
            pb.TASK_STATE_SUBMITTED,
        }
        status = pb.TaskStatus(state=pb.TASK_STATE_WORKING if is_begun else pb.TASK_STATE_SUBMITTED)
        status.timestamp.FromDatetime(seen.at)
        return self._changed(status)

    async def _end(self, seen: Seen) -> list[TaskEvent]:
        task = await self._tasks.find(self._task.id)
        if task is None or task.run.number != self._task.run.number:
            return []
        if task.state not in TERMINAL:
            # Somebody has let it go on since; that is told by what follows.
            return []
        made = await self._artifacts.of_output(task.run, address=self._address)
        events: list[TaskEvent] = [
            self._artifact(name, parts, append=False, is_last=True) for name, parts in made.items()
        ]
        told = self._changed(status_of(task))
        for event in told:
            put_struct(event.metadata, metadata_of(task))
        return events + told

    def _changed(self, status: pb.TaskStatus) -> list[TaskEvent]:
        is_known = status.state == self._last and not status.HasField("message")
        self._last = status.state
        if is_known:
            return []
        return [
            pb.TaskStatusUpdateEvent(
                task_id=self._task.id, context_id=self._task.context_id, status=status
            )
        ]

    def _progress(self, seen: Seen) -> list[TaskEvent]:
        data: dict[str, Any] = seen.data if isinstance(seen.data, dict) else {}
        status = pb.TaskStatus(state=pb.TASK_STATE_WORKING)
        status.timestamp.FromDatetime(seen.at)
        content = Content(parts=[text_part(progress_text(data))])
        message_id = f"{self._task.id}-{seen.number}"
        status.message.CopyFrom(agent_message(self._task, content, message_id=message_id))
        put_struct(status.message.metadata, {"progress": data})
        return self._changed(status)

    async def _content(self, seen: Seen) -> list[TaskEvent]:
        if seen.is_whole:
            content = content_of(seen.data)
        else:
            run, number = self._task.run.number, seen.number
            found = await self._tasks.contents(run, after=number - 1, through=number)
            if not found:
                return []
            content = content_at(found[0], self._task.run, address=self._address)
        return [
            self._artifact(
                content.name, content.parts, append=content.append, is_last=content.is_last
            )
        ]

    def _artifact(
        self, name: str, parts: Sequence[Any], *, append: bool, is_last: bool
    ) -> pb.TaskArtifactUpdateEvent:
        return pb.TaskArtifactUpdateEvent(
            task_id=self._task.id,
            context_id=self._task.context_id,
            artifact=artifact_to(name, parts, self._accepted),
            append=append,
            last_chunk=is_last,
        )


def progress_text(data: dict[str, Any]) -> str:
    """Say how far a run is."""
    done, total, note = data.get("done"), data.get("total"), str(data.get("note") or "")
    counted = f"{done} of {total}" if total is not None else f"{done} done"
    return f"{counted}: {note}" if note else counted
