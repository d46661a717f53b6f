"""A task as the protocol shows it: its status, its history, its artifacts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import ParseDict

from agency.a2a.artifacts import Made, artifact_to
from agency.a2a.parts import parts_to, put_struct
from agency.a2a.sizes import has_many
from agency.core.clock import to_text
from agency.domain.content import Content, data_part, text_part
from agency.domain.run import RunStatus
from agency.domain.task import (
    AUTHORIZATION,
    TERMINAL,
    Question,
    Task,
    TaskMessage,
    TaskState,
    asked_state,
    is_authorization,
)
from agency.domain.wait import Wait, WaitKind

WRITTEN_AT_ONCE_PARTS_MAX = 100
WRITTEN_AT_ONCE_VALUES_MAX = 1_000
"""Tasks with more parts, or with a part of more values, are written in a thread."""

STATES: Mapping[TaskState, pb.TaskState] = {
    TaskState.SUBMITTED: pb.TASK_STATE_SUBMITTED,
    TaskState.WORKING: pb.TASK_STATE_WORKING,
    TaskState.INPUT_REQUIRED: pb.TASK_STATE_INPUT_REQUIRED,
    TaskState.AUTH_REQUIRED: pb.TASK_STATE_AUTH_REQUIRED,
    TaskState.COMPLETED: pb.TASK_STATE_COMPLETED,
    TaskState.FAILED: pb.TASK_STATE_FAILED,
    TaskState.CANCELLED: pb.TASK_STATE_CANCELED,
    TaskState.REJECTED: pb.TASK_STATE_REJECTED,
}
"""How the protocol spells them."""

_NAMES = {state: name for name, state in STATES.items()}

_GOES_ON = {
    WaitKind.TIMER: "It waits for a moment to come",
    WaitKind.CHILD: "It waits for work that it has handed on",
    WaitKind.EVENT: "It waits for an event",
    WaitKind.OPERATOR: "Whoever runs this system holds it",
    WaitKind.DECISION: "Whoever runs this system has to say whether something was done",
    WaitKind.VERSION: "Whoever runs this system has to say how it goes on",
}


def state_from(state: pb.TaskState) -> TaskState | None:
    """Read a state of the protocol; None for any."""
    return _NAMES.get(state)


async def written(
    task: Task, made: Made, *, accepted: Sequence[str] = (), history_length: int | None = None
) -> pb.Task:
    """Write a task, as `task_to`; in a thread, if there is much to be written.

    Args:
        made: What it has made.
        accepted: Media types that the caller takes; empty: any.
    """

    def write() -> pb.Task:
        artifacts = [artifact_to(name, parts, accepted) for name, parts in made.items()]
        return task_to(task, artifacts, history_length=history_length)

    parts = [part for message in task.messages for part in message.content.parts]
    parts += itertools.chain.from_iterable(made.values())
    # Each part and each value takes its time, and the loop would stand still meanwhile.
    is_large = len(parts) > WRITTEN_AT_ONCE_PARTS_MAX or any(
        has_many(part.data, WRITTEN_AT_ONCE_VALUES_MAX) for part in parts
    )
    return await asyncio.to_thread(write) if is_large else write()


def task_to(
    task: Task, artifacts: Sequence[pb.Artifact], *, history_length: int | None = None
) -> pb.Task:
    """Write a task.

    Args:
        artifacts: What it has made.
        history_length: How many of the newest messages are shown; None: all of them.
    """
    made = pb.Task(
        id=task.id, context_id=task.context_id, status=status_of(task), artifacts=artifacts
    )
    if history_length != 0:
        history = history_of(task)
        made.history.extend(history if history_length is None else history[-history_length:])
    put_struct(made.metadata, metadata_of(task))
    return made


def metadata_of(task: Task) -> dict[str, Any]:
    """Tell what of ours a caller may want to know of the run behind a task.

    In camel case, as all names of the protocol. Source: section 5.5.
    """
    run = task.run
    told: dict[str, Any] = {"runId": run.id, "runStatus": run.status.value}
    if run.session_id is not None:
        told["sessionId"] = run.session_id
    if run.error is not None:
        told["errorCode"] = run.error.code
    return told


def status_of(task: Task) -> pb.TaskStatus:
    """Write the status of a task as it is."""
    state = task.state
    made = pb.TaskStatus(state=STATES[state])
    made.timestamp.FromDatetime(task.changed_at)
    parts = _said(task, state)
    if parts:
        made.message.CopyFrom(
            agent_message(task, Content(parts=parts), message_id=f"{task.id}-{task.told}")
        )
        if task.run.error is not None and state in TERMINAL:
            put_struct(made.message.metadata, {"errorCode": task.run.error.code})
    return made


def _said(task: Task, state: TaskState) -> list[Any]:
    run = task.run
    if state in {TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED}:
        return [part for asked in task.open_questions() for part in question_parts(asked.wait)]
    if run.status is RunStatus.LIMIT_REACHED:
        return [text_part(_limit_text(run.output))]
    if run.error is not None and state in TERMINAL:
        return [text_part(run.error.message)]
    if run.status is RunStatus.SUSPENDED:
        return [text_part(_waiting_text(task.waits))] if task.waits else []
    return []


def _limit_text(output: Any) -> str:  # noqa: ANN401  JSON value
    limit = output.get("limit") if isinstance(output, Mapping) else None
    named = f" of {limit}" if limit else ""
    return f"The budget{named} was used up before the work was whole; the artifacts have its part."


def _waiting_text(waits: Iterable[Wait]) -> str:
    return " ".join(dict.fromkeys(_waiting_for(wait) for wait in waits))


def _waiting_for(wait: Wait) -> str:
    if wait.kind is WaitKind.RESOURCE:
        return f"It waits for {wait.target}, which cannot be used now, and goes on by itself."
    text = _GOES_ON.get(wait.kind, "It waits")
    if wait.kind is WaitKind.TIMER and wait.due_at is not None:
        return f"It waits until {to_text(wait.due_at)}."
    return f"{text}: {wait.name}." if wait.kind is WaitKind.EVENT else f"{text}."


def question_parts(wait: Wait) -> list[Any]:
    """Say what is asked: in words, and as data for programs."""
    shown: Mapping[str, Any] = wait.show if isinstance(wait.show, dict) else {}
    prompt = str(shown.get("prompt") or f"A message is waited for: {wait.name}.")
    data: dict[str, Any] = {"wait": wait.key, "kind": wait.kind.value, "prompt": prompt}
    if is_authorization(wait):
        data["kind"] = AUTHORIZATION
        data |= shown[AUTHORIZATION] or {}
    elif wait.kind is WaitKind.APPROVAL:
        data["options"] = ["approve", "deny"]
        for member in ("show", "risk", "schema", "approval_id"):
            if shown.get(member) is not None:
                data[member] = shown[member]
    elif shown.get("schema"):
        data["schema"] = shown["schema"]
    if wait.due_at is not None:
        data["due_at"] = to_text(wait.due_at)
    return [text_part(prompt), data_part(data)]


def agent_message(task: Task, content: Content, *, message_id: str) -> pb.Message:
    """Write what a task says."""
    return pb.Message(
        message_id=message_id,
        task_id=task.id,
        context_id=task.context_id,
        role=pb.ROLE_AGENT,
        parts=parts_to(content.parts),
    )


def history_of(task: Task) -> list[pb.Message]:
    """Write what was said, in its order; what is asked now is the status."""
    said: list[tuple[int, int, pb.Message]] = [
        # Asked before it is answered, also where both have come to the same place.
        *((one.place, 0, _asked(task, one)) for one in task.questions if one.wait.outcome),
        *((one.place, 1, _user_message(task, one)) for one in task.messages),
    ]
    return [message for *_, message in sorted(said, key=lambda one: one[:2])]


def _asked(task: Task, question: Question) -> pb.Message:
    content = Content(parts=question_parts(question.wait))
    return agent_message(task, content, message_id=f"{task.id}-q{question.place}")


def _user_message(task: Task, message: TaskMessage) -> pb.Message:
    made = pb.Message(
        message_id=message.id,
        task_id=task.id,
        context_id=task.context_id,
        role=pb.ROLE_USER,
        parts=parts_to(message.content.parts),
    )
    return ParseDict(message.more, made) if message.more else made


def asked_status(task: Task, at: datetime, *, number: int, reason: str) -> pb.TaskStatus:
    """Write the status that a task had when it was suspended at a moment.

    Args:
        number: Of the update that has told it.
        reason: Kinds of what it waited for.
    """
    asked = [one.wait for one in task.questions if one.was_open(at)]
    made = pb.TaskStatus(state=STATES[asked_state(asked)])
    made.timestamp.FromDatetime(at)
    parts = [part for wait in asked for part in question_parts(wait)]
    if not parts:
        kinds = [WaitKind(kind) for kind in reason.split(", ") if kind in set(WaitKind)]
        words = [_GOES_ON.get(kind, "It waits for something that it needs") for kind in kinds]
        parts = [text_part(f"{word}.") for word in words]
    if parts:
        content = Content(parts=parts)
        made.message.CopyFrom(agent_message(task, content, message_id=f"{task.id}-{number}"))
    return made
