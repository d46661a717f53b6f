"""A2A's eleven operations over our engine: a task is a view of a run.

Transports are above it: they parse a request, make a `ServerCallContext`, call one of the
coroutines of `Operations` and write what comes back. Nothing here is kept in memory: an answer, a
stream and a cancel work after a restart as before it.

Importing this module loads the SDK: do it in a thread, when it is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    ExtendedAgentCardNotConfiguredError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)

from agency.a2a.artifacts import Artifacts, Made, message_output
from agency.a2a.following import follow
from agency.a2a.inputs import may_be_content
from agency.a2a.messages import Messages, Said
from agency.a2a.telling import TaskEvent, Teller
from agency.a2a.view import agent_message, state_from, written
from agency.core.limits import CANCEL_WAIT_S
from agency.core.records import dataclass
from agency.domain.run import RunStatus
from agency.domain.task import INTERRUPTED, TERMINAL, Task, TaskState
from agency.engine.runs import is_settled
from agency.errors import Fault, InvalidInput, RunEnded
from agency.ports.task import TaskFilter, TaskPlace
from agency.web.paging import make_cursor, parse_cursor
from agency.web.patience import Patience
from agency.web.published import Published
from agency.web.services import Services

ADDRESS = "agency.address"
"""Key in ``ServerCallContext.state``: where the daemon is reached, ``http://host:port`` without a
slash at the end; links in artifacts begin with it."""

VERSION = "agency.version"
"""Key in ``ServerCallContext.state``: version of the protocol that the caller speaks."""

MESSAGE_HOLD_S = 0.5
"""A stream of what may be answered by a message begins this much later at most: once it has shown
a task, it cannot be a message any more."""

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 100
"""Tasks of a page. Source: A2A 1.0, section 3.1.4."""

_LIST = "a2a_tasks"
_NUMBER_MAX = (1 << 63) - 1

Event = pb.Task | pb.Message | pb.TaskStatusUpdateEvent | pb.TaskArtifactUpdateEvent
"""What streams consist of; a transport wraps it into a ``StreamResponse``."""


class Pushing(Protocol):
    """What the push operations need: `Operations` has checked the caller and found the task."""

    async def check(self, config: pb.TaskPushNotificationConfig) -> None:
        """Refuse what `create` would refuse; before a task is started with it.

        Raises:
            InvalidParamsError: the address may not be told, or something is too long.
        """
        ...

    async def create(
        self,
        config: pb.TaskPushNotificationConfig,
        *,
        task_id: str,
        version: str,
        address: str = "",
        whole_task: bool = False,
    ) -> pb.TaskPushNotificationConfig:
        """Keep a configuration; one with the same id replaces it. ``version`` is the wire's.

        Args:
            address: Where the caller reaches this daemon, as `ADDRESS`.
            whole_task: Tell everything from its start, because it was just started with this;
                otherwise it begins with the status that it has now.

        Raises:
            InvalidParamsError: as `check`, or the task has as many as it may.
        """
        ...

    async def get(self, config_id: str, *, task_id: str) -> pb.TaskPushNotificationConfig | None:
        """Find one."""
        ...

    async def list(
        self, *, task_id: str, page_size: int, page_token: str
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        """List those of a task."""
        ...

    async def delete(self, config_id: str, *, task_id: str) -> None:
        """Delete one; also when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
    """What the operations of all targets share.

    Attributes:
        patience: Requests that wait; they are answered at once when the daemon stops.
        pushing: Push notifications; None when they are switched off.
    """

    services: Services
    patience: Patience
    pushing: Pushing | None = None


class Operations(RequestHandler):
    """The operations of one published agent or workflow; made anew or kept, as is convenient.

    Who calls is ``context.user.user_name``: the principal's name, ``local`` without a token. A task
    of another principal, or of another target, looks absent.

    All raise subclasses of ``a2a.utils.errors.A2AError``, or errors of `agency.errors`: what is
    wrong with a request (`InvalidInput`), why it cannot be done to the task as it is (`Conflict`),
    and why nothing can be done now (the disk is full, the daemon stops).
    """

    def __init__(self, ground: Ground, target: Published) -> None:
        """Take what is below, and what is spoken to."""
        services = ground.services
        self._ground = ground
        self._services = services
        self._tasks = services.tasks
        self._runs = services.runs
        self._target = target
        self._artifacts = Artifacts(services.tasks, services.workspaces)
        self._messages = Messages(services, target)

    async def on_message_send(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> pb.Task | pb.Message:
        """Start a task, or hand a message to one; wait as ``configuration`` says.

        Raises:
            InvalidParamsError, TaskNotFoundError, UnsupportedOperationError,
            ContentTypeNotSupportedError.
        """
        said = await self._send(params, context)
        configuration = params.configuration
        if configuration.return_immediately:
            task = await self._now(said.task_id)
        else:
            task = await self._until(
                said, _is_answered, timeout_s=self._services.settings.server.sync_wait_s
            )
            answer = message_output(task.run) if task.state is TaskState.COMPLETED else None
            if answer is not None:
                return agent_message(task, answer, message_id=f"{task.id}-{task.told}")
        return await self._shown(
            task,
            context,
            history_length=_history_length(configuration),
            accepted=configuration.accepted_output_modes,
        )

    async def on_message_send_stream(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """The same, and tell what happens as it happens; ask for the first event before answering.

        It ends when the task has ended, or it is the caller's turn.

        Raises:
            as `on_message_send`, all before the first event.
        """
        said = await self._send(params, context)
        task = await self._first_sight(said)
        answer = message_output(task.run) if task.state is TaskState.COMPLETED else None
        if answer is not None:
            yield agent_message(task, answer, message_id=f"{task.id}-{task.told}")
            return
        configuration = params.configuration
        accepted = configuration.accepted_output_modes
        length = _history_length(configuration)
        yield await self._shown(task, context, history_length=length, accepted=accepted)
        if task.state in INTERRUPTED:
            return
        async with aclosing(self._follow(task, context, accepted)) as events:
            async for event in events:
                yield event
                if _is_turn(event):
                    return

    async def on_get_task(self, params: pb.GetTaskRequest, context: ServerCallContext) -> pb.Task:
        """Read a task. Raises: TaskNotFoundError, InvalidParamsError."""
        task = await self._find(params.id, context)
        return await self._shown(task, context, history_length=_history_length(params))

    async def on_list_tasks(
        self, params: pb.ListTasksRequest, context: ServerCallContext
    ) -> pb.ListTasksResponse:
        """List the caller's tasks, those changed last first. Raises: InvalidParamsError."""
        limit = params.page_size if params.HasField("page_size") else PAGE_SIZE_DEFAULT
        if not 1 <= limit <= PAGE_SIZE_MAX:
            raise _unfit("page_size", f"A page has 1 to {PAGE_SIZE_MAX} tasks.")
        which = TaskFilter(
            owner=_owner(context),
            target=self._target.name,
            context_id=params.context_id or None,
            state=_state(params.status),
            changed_since=_since(params),
        )
        length = _history_length(params)
        page = await self._tasks.list(which, after=_place(params.page_token), limit=limit)
        shown = [
            await self._shown(
                task, context, history_length=length, with_artifacts=params.include_artifacts
            )
            for task in page.tasks
        ]
        next_page = page.next
        token = ""
        if next_page is not None:
            token = make_cursor(_LIST, f"{next_page.changed_at}.{next_page.number}")
        return pb.ListTasksResponse(
            tasks=shown, next_page_token=token, page_size=limit, total_size=page.total
        )

    async def on_cancel_task(
        self, params: pb.CancelTaskRequest, context: ServerCallContext
    ) -> pb.Task:
        """Cancel a task. Raises: TaskNotFoundError, TaskNotCancelableError."""
        task = await self._find(params.id, context)
        while not await self._cancelled(task):
            task = await self._now(task.id)
        said = Said(task.id, task.run.id, is_fresh=False)
        task = await self._until(said, _is_over, timeout_s=CANCEL_WAIT_S)
        return await self._shown(task, context)

    async def on_subscribe_to_task(
        self, params: pb.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Give the task as it is, then all that happens; ask for the first event before answering.

        It ends when the task has ended, and goes on while the task waits for its caller.

        Raises:
            TaskNotFoundError; UnsupportedOperationError: it has ended.
        """
        task = await self._find(params.id, context)
        if task.state in TERMINAL:
            raise UnsupportedOperationError(
                f"The task {task.id!r} has ended; nothing of it follows."
            )
        yield await self._shown(task, context)
        async with aclosing(self._follow(task, context)) as events:
            async for event in events:
                yield event

    async def on_create_task_push_notification_config(
        self, params: pb.TaskPushNotificationConfig, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Keep where a task's news is sent. Raises: TaskNotFoundError, as `Pushing`."""
        pushing = self._pushing()
        task = await self._find(params.task_id, context)
        return await pushing.create(
            params, task_id=task.id, version=_version(context), address=_address(context)
        )

    async def on_get_task_push_notification_config(
        self, params: pb.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Read one of them. Raises: TaskNotFoundError, as `Pushing`."""
        pushing = self._pushing()
        task = await self._find(params.task_id, context)
        found = await pushing.get(params.id, task_id=task.id)
        if found is None:
            raise TaskNotFoundError(
                f"The task {task.id!r} has no push notification configuration {params.id[:128]!r}."
            )
        return found

    async def on_list_task_push_notification_configs(
        self, params: pb.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        """List those of a task. Raises: TaskNotFoundError, as `Pushing`."""
        pushing = self._pushing()
        task = await self._find(params.task_id, context)
        return await pushing.list(
            task_id=task.id, page_size=params.page_size, page_token=params.page_token
        )

    async def on_delete_task_push_notification_config(
        self, params: pb.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Delete one; also when there is none. Raises: TaskNotFoundError, as `Pushing`."""
        pushing = self._pushing()
        task = await self._find(params.task_id, context)
        await pushing.delete(params.id, task_id=task.id)

    async def on_get_extended_agent_card(
        self, params: pb.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> pb.AgentCard:
        """Cards are the transports' matter: they answer this themselves."""
        raise ExtendedAgentCardNotConfiguredError

    # --- what they are made of --------------------------------------------------------------

    def _pushing(self) -> Pushing:
        if self._ground.pushing is None:
            raise PushNotificationNotSupportedError
        return self._ground.pushing

    async def _send(self, params: pb.SendMessageRequest, context: ServerCallContext) -> Said:
        """Do what a message asks for, durably; waiting is the caller's matter."""
        configuration = params.configuration
        push = None
        if configuration.HasField("task_push_notification_config"):
            push = configuration.task_push_notification_config
            await self._pushing().check(push)
        _history_length(configuration)
        said = await self._messages.send(params, context)
        if push is not None:
            await self._pushing().create(
                push,
                task_id=said.task_id,
                version=_version(context),
                address=_address(context),
                whole_task=said.is_fresh,
            )
            said = replace(said, is_fresh=False)
        return said

    async def _cancelled(self, task: Task) -> bool:
        """Cancel the run behind a task; False when the task has gone on as another meanwhile.

        Raises:
            TaskNotCancelableError: it has ended.
        """
        try:
            await self._runs.cancel(task.run.id, reason="its caller has cancelled the task")
        except RunEnded as error:
            if (await self._now(task.id)).run.id == task.run.id:
                raise TaskNotCancelableError(error.message) from error
            return False
        return True

    async def _find(self, task_id: str, context: ServerCallContext) -> Task:
        task = await self._tasks.find(task_id)
        if task is None or task.owner != _owner(context) or task.target != self._target.name:
            raise TaskNotFoundError(f"There is no task {task_id[:128]!r}.")
        return task

    async def _now(self, task_id: str) -> Task:
        task = await self._tasks.find(task_id)
        if task is None:  # retention has taken it meanwhile
            raise TaskNotFoundError(f"There is no task {task_id!r}.")
        return task

    async def _until(
        self,
        said: Said,
        is_enough: Callable[[Task], bool],
        *,
        timeout_s: float,
        sees_steps: bool = False,
    ) -> Task:
        """Read a task until it is enough; for a while, and as long as the daemon does not stop."""
        task_id, run_id, is_fresh = said.task_id, said.run_id, said.is_fresh
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            waiting = self._runs.until(
                run_id,
                lambda: self._now(task_id),
                lambda task: is_enough(task) or task.run.id != run_id,  # noqa: B023  awaited here
                timeout_s=until - loop.time(),
                is_fresh=is_fresh,
                sees_steps=sees_steps,
            )
            task = await self._ground.patience.hold(
                waiting, otherwise=lambda: self._now(task_id), timeout_s=until - loop.time()
            )
            if task.run.id == run_id or is_enough(task) or until <= loop.time():
                return task
            run_id, is_fresh = task.run.id, False  # it goes on as another run

    async def _first_sight(self, said: Said) -> Task:
        """Read a task for the first time; one that may turn out to be a message a little later."""
        if not may_be_content(self._target.output_schema):
            return await self._now(said.task_id)
        return await self._until(said, _is_work, timeout_s=MESSAGE_HOLD_S, sees_steps=True)

    async def _shown(
        self,
        task: Task,
        context: ServerCallContext,
        *,
        history_length: int | None = None,
        accepted: Sequence[str] = (),
        with_artifacts: bool = True,
    ) -> pb.Task:
        made: Made = {}
        if with_artifacts:
            made = await self._artifacts.of(task, address=_address(context))
        return await written(task, made, accepted=accepted, history_length=history_length)

    async def _follow(
        self, task: Task, context: ServerCallContext, accepted: Sequence[str] = ()
    ) -> AsyncGenerator[TaskEvent, None]:
        """Tell what happens after a task was shown, until it has ended or the daemon stops."""
        after, state = task.seen, task.state
        if state in TERMINAL:
            return
        while True:
            teller = Teller(
                self._tasks,
                self._artifacts,
                task,
                address=_address(context),
                accepted=accepted,
                last=state,
            )
            async with aclosing(
                follow(self._services.updates, task.run.id, after=after)
            ) as updates:
                async for seen in updates:
                    after = seen.number
                    for event in await teller.tell(seen):
                        yield event
            found = await self._tasks.find(task.id)
            if found is None or found.run.id == task.run.id:
                return
            task, state = found, TaskState.WORKING  # it goes on as another run


def _owner(context: ServerCallContext) -> str:
    return context.user.user_name


def _address(context: ServerCallContext) -> str:
    return str(context.state.get(ADDRESS, ""))


def _version(context: ServerCallContext) -> str:
    return str(context.state.get(VERSION, "1.0"))


def _is_answered(task: Task) -> bool:
    return task.state in INTERRUPTED or is_settled(task.run, task.waits)


def _is_over(task: Task) -> bool:
    return task.state in TERMINAL


def _is_work(task: Task) -> bool:
    """It has shown more than a message, or has come to its end."""
    is_shown = task.has_contents or task.run.progress is not None
    return is_shown or task.run.status is RunStatus.SUSPENDED or task.state in TERMINAL


def _is_turn(event: TaskEvent) -> bool:
    if not isinstance(event, pb.TaskStatusUpdateEvent):
        return False
    return state_from(event.status.state) in INTERRUPTED


def _history_length(
    asked: pb.SendMessageConfiguration | pb.GetTaskRequest | pb.ListTasksRequest,
) -> int | None:
    if not asked.HasField("history_length"):
        return None
    if asked.history_length < 0:
        raise _unfit("history_length", "It is a number of messages, 0 or more.")
    return asked.history_length


def _state(given: pb.TaskState) -> TaskState | None:
    state = state_from(given)
    if state is None and given != pb.TASK_STATE_UNSPECIFIED:
        raise _unfit("status", f"There is no state {given}.")
    return state


def _since(params: pb.ListTasksRequest) -> datetime | None:
    if not params.HasField("status_timestamp_after"):
        return None
    try:
        since: datetime = params.status_timestamp_after.ToDatetime(tzinfo=UTC)
    except ValueError as error:  # of gRPC, where it is two numbers
        raise _unfit("status_timestamp_after", "It is no moment.") from error
    return since


def _place(token: str) -> TaskPlace | None:
    if not token:
        return None
    changed_at, _, number = parse_cursor(_LIST, token).partition(".")
    if not (changed_at.isdecimal() and number.isdecimal()) or len(changed_at + number) > 38:
        raise _unfit("page_token", "Use next_page_token as it is.")
    return TaskPlace(min(int(changed_at), _NUMBER_MAX), min(int(number), _NUMBER_MAX))


def _unfit(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"{field} cannot be used: {what}", faults=[Fault(f"/{field}", what)])
