"""Messages of callers: what they start, what they answer, and that each of them counts once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from a2a.server.context import ServerCallContext
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)

from agency.a2a.answers import answer_of, message_of
from agency.a2a.inputs import input_of
from agency.a2a.modes import input_modes
from agency.a2a.parts import JSON_MEDIA_TYPE, TEXT_MEDIA_TYPE, content_from, plain_struct
from agency.a2a.sizes import VALUES_MAX, struct_has_many
from agency.core.context import CORRELATION_ID
from agency.core.ids import derive_id, new_id
from agency.core.records import dataclass
from agency.domain.content import Content, Part, PartKind
from agency.domain.remote import HOPS_HEADER, HOPS_KEY, HOPS_TAG, hops_in
from agency.domain.task import (
    TASK_NAME_CHARACTERS_MAX,
    TERMINAL,
    NewTask,
    NewTaskMessage,
    Task,
)
from agency.domain.wait import WaitOutcome
from agency.engine.answers import checked
from agency.engine.runs import StartRequest
from agency.errors import Fault, InvalidInput, SessionBusy, TaskNotFound
from agency.ports.task import Said as Stored
from agency.web.published import Published, PublishedKind
from agency.web.services import Services

NAMED_MAX = 100
"""Extensions, and other tasks, that one message names."""

_Meaning = TypeVar("_Meaning")


@dataclass(frozen=True, slots=True)
class Said:
    """What a message was for.

    Attributes:
        run_id: The run behind the task now.
        is_fresh: It was started by this message, and nothing was awaited since.
    """

    task_id: str
    run_id: str
    is_fresh: bool


class Messages:
    """Takes messages to one target."""

    def __init__(self, services: Services, target: Published) -> None:
        self._services = services
        self._tasks = services.tasks
        self._target = target

    async def send(self, params: pb.SendMessageRequest, context: ServerCallContext) -> Said:
        """Do what a message asks for; when this returns it is durable.

        The same message again finds what it has done; also after a restart.

        Raises:
            A2AError, AgencyError: as `agency.a2a.operations.Operations.on_message_send`.
        """
        message = params.message
        _check(message)
        content = content_from(message)
        if self._services.settings.a2a.check_input_modes:
            self._check_modes(content)
        new = NewTaskMessage(
            id=message.message_id,
            content=content,
            digest=hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest(),
            is_repeatable=not self._services.settings.a2a.message_ids_count_once,
            more=_more_of(message),
        )
        owner = context.user.user_name
        metadata = plain_struct(message.metadata) if message.HasField("metadata") else {}
        if not message.task_id:
            return await self._start(message, new, owner=owner, hops=_hops(metadata, context))
        task = await self._find(message.task_id, owner)
        if message.context_id and message.context_id != task.context_id:
            what = f"The task belongs to the context {task.context_id!r}."
            raise InvalidInput(what, faults=[Fault("/message/context_id", what)])
        return await self._say(task, new, metadata, hops=_hops(metadata, context))

    async def _known(self, new: NewTaskMessage, owner: str) -> Said | None:
        """Find what came of a message when it was said before; that may be another task."""
        task_id = await self._tasks.find_said(new, owner=owner, target=self._target.name)
        if task_id is None:
            return None
        task = await self._find(task_id, owner)
        return Said(task.id, task.run.id, is_fresh=False)

    def _check_modes(self, content: Content) -> None:
        modes = input_modes(self._target)
        for at, part in enumerate(content.parts):
            media_type = _media_type(part)
            if media_type not in modes:
                raise ContentTypeNotSupportedError(
                    f"The part {at} is {media_type!r}; {', '.join(modes)} can be read."
                )

    async def _find(self, task_id: str, owner: str) -> Task:
        task = await self._tasks.find(task_id)
        if task is None or task.owner != owner or task.target != self._target.name:
            raise TaskNotFoundError(f"There is no task {task_id[:128]!r}.")
        return task

    async def _start(
        self,
        message: pb.Message,
        new: NewTaskMessage,
        *,
        owner: str,
        hops: int,
        context_id: str | None = None,
    ) -> Said:
        context_id = context_id or message.context_id or new_id()
        request = StartRequest(
            workflow=self._target.workflow,
            input=await _understood(new.content, partial(input_of, self._target, new.content)),
            session_id=self._session_id(owner, context_id),
            principal=owner,
            correlation_id=CORRELATION_ID.get(),
            tags={HOPS_TAG: str(hops)} if hops else {},
            task=NewTask(target=self._target.name, context_id=context_id, message=new),
        )
        try:
            started = await self._services.runs.start(request)
        except SessionBusy as busy:
            # As at every door: what is said in a conversation that waits is the answer.
            task = await self._tasks.find(busy.run_id)
            is_own = task is not None and task.owner == owner and task.target == self._target.name
            if task is None or not is_own or not task.open_questions():
                raise  # somebody else has to let it go on first
            return await self._say(task, new, plain_struct(message.metadata), hops=hops)
        run_id = started.run.id
        if started.is_new:
            return Said(run_id, run_id, is_fresh=True)
        # It has come before, and may go on as another run.
        task = await self._find(run_id, owner)
        return Said(task.id, task.run.id, is_fresh=False)

    def _session_id(self, owner: str, context_id: str) -> str | None:
        """Give the conversation of an agent for a context.

        Each caller has its own, which nobody reaches by naming a context.
        """
        if self._target.kind is not PublishedKind.AGENT:
            return None
        return derive_id("a2a", owner, self._target.name, context_id)

    async def _say(
        self, task: Task, new: NewTaskMessage, metadata: Mapping[str, Any], *, hops: int
    ) -> Said:
        """Hand a message to a task that there is."""
        known = await self._known(new, task.owner)
        if known is not None:
            return known
        if task.state in TERMINAL:
            raise UnsupportedOperationError(
                f"The task {task.id!r} has ended as {task.state}; begin another one in its context."
            )
        questions = task.open_questions()
        if questions:
            answer = await _understood(
                new.content, partial(answer_of, questions, new.content, metadata)
            )
            if answer.wait:
                return await self._answer(task, new, wait=answer.wait, payload=answer.payload)
            return await self._deliver(task, new, answer.payload)
        if self._target.kind is PublishedKind.AGENT:
            # It is queued behind the work of its conversation, as a task of its own.
            message = pb.Message()
            return await self._start(
                message, new, owner=task.owner, hops=hops, context_id=task.context_id
            )
        return await self._deliver(task, new, message_of(new.content))

    async def _answer(self, task: Task, new: NewTaskMessage, *, wait: str, payload: Any) -> Said:  # noqa: ANN401
        try:
            said = await self._tasks.answer(
                task.id,
                new,
                wait=wait,
                outcome=WaitOutcome.ANSWERED,
                payload=payload,
                now=self._services.clock.now(),
            )
        except TaskNotFound as error:
            raise TaskNotFoundError(error.message) from error
        return await self._taken(task, new, said)

    async def _deliver(self, task: Task, new: NewTaskMessage, payload: Any) -> Said:  # noqa: ANN401
        try:
            said = await self._tasks.deliver(
                task.id, new, payload=payload, now=self._services.clock.now()
            )
        except TaskNotFound as error:
            raise TaskNotFoundError(error.message) from error
        return await self._taken(task, new, said)

    async def _taken(self, task: Task, new: NewTaskMessage, said: Stored) -> Said:
        if not said.is_new:  # somebody has said the same at the same time
            return await self._known(new, task.owner) or Said(task.id, task.run.id, is_fresh=False)
        self._services.runs.woken(task.run.id, said.wakes)
        return Said(task.id, task.run.id, is_fresh=False)


async def _understood(content: Content, understand: Callable[[], _Meaning]) -> _Meaning:
    """Ask what a message means; in a thread, if there is much to be held against a schema."""
    return await checked([part.text or part.data for part in content.parts], understand)


def _check(message: pb.Message) -> None:
    """Refuse a message that is none of a caller.

    Raises:
        InvalidInput: all faults are named.
    """
    faults = [
        Fault(f"/message/{name}", f"It has 1 to {TASK_NAME_CHARACTERS_MAX} characters.")
        for name in ("message_id", "context_id", "task_id")
        if len(getattr(message, name)) > TASK_NAME_CHARACTERS_MAX
    ]
    if not message.message_id:
        faults.append(Fault("/message/message_id", "A message has an id."))
    if not message.parts:
        faults.append(Fault("/message/parts", "A message has a part at least."))
    if message.role != pb.ROLE_USER:
        faults.append(Fault("/message/role", "Callers have the role ROLE_USER."))
    if message.HasField("metadata") and struct_has_many(message.metadata):
        faults.append(Fault("/message/metadata", f"It has at most {VALUES_MAX} values."))
    faults += [
        Fault(f"/message/{name}", f"There are at most {NAMED_MAX} of them.")
        for name in ("extensions", "reference_task_ids")
        if len(getattr(message, name)) > NAMED_MAX
    ]
    if faults:
        raise InvalidInput(f"The message cannot be taken: {faults[0].what}", faults=faults)


def _more_of(message: pb.Message) -> Mapping[str, Any]:
    """Give what a message has beside its parts and its ids; mostly nothing."""
    more: dict[str, Any] = {}
    if message.HasField("metadata"):
        more["metadata"] = plain_struct(message.metadata)
    if message.extensions:
        more["extensions"] = list(message.extensions)
    if message.reference_task_ids:
        more["referenceTaskIds"] = list(message.reference_task_ids)
    return more


def _media_type(part: Part) -> str:
    if part.media_type:
        return part.media_type.partition(";")[0].strip().lower()
    return JSON_MEDIA_TYPE if part.kind is PartKind.DATA else TEXT_MEDIA_TYPE


def _hops(metadata: Mapping[str, Any], context: ServerCallContext) -> int:
    """Tell how many calls from one system to the next have led to a message."""
    headers = context.state.get("headers", {})
    found = {str(name).lower(): value for name, value in headers.items()}
    return max(hops_in(metadata.get(HOPS_KEY)), hops_in(found.get(HOPS_HEADER.lower())))
