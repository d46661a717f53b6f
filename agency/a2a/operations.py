"""A2A's eleven operations over our engine: a task is a view of a run.

Transports are above it: they parse a request, make a `ServerCallContext`, call one of the
coroutines of `Operations` and write what comes back. Nothing here is kept in memory: an answer, a
stream and a cancel work after a restart as before it.

Importing this module loads the SDK: do it in a thread, when it is first needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    ExtendedAgentCardNotConfiguredError,
    PushNotificationNotSupportedError,
    UnsupportedOperationError,
)

from agency.web.patience import Patience
from agency.web.published import Published
from agency.web.services import Services

ADDRESS = "agency.address"
"""Key in ``ServerCallContext.state``: where the daemon is reached, ``http://host:port`` without a
slash at the end; links in artifacts begin with it."""

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

    All raise subclasses of ``a2a.utils.errors.A2AError``; what is none of these is an error of
    `agency.errors` that says why nothing can be done now (the disk is full, the daemon stops).
    """

    def __init__(self, ground: Ground, target: Published) -> None:
        """Take what is below, and what is spoken to."""
        self._ground = ground
        self._target = target

    async def on_message_send(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> pb.Task | pb.Message:
        """Start a task, or hand a message to one; wait as ``configuration`` says.

        Raises:
            InvalidParamsError, TaskNotFoundError, UnsupportedOperationError,
            ContentTypeNotSupportedError.
        """
        raise UnsupportedOperationError

    async def on_message_send_stream(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """The same, and tell what happens as it happens; ask for the first event before answering.

        Raises:
            as `on_message_send`, all before the first event.
        """
        raise UnsupportedOperationError
        yield

    async def on_get_task(self, params: pb.GetTaskRequest, context: ServerCallContext) -> pb.Task:
        """Read a task. Raises: TaskNotFoundError, InvalidParamsError."""
        raise UnsupportedOperationError

    async def on_list_tasks(
        self, params: pb.ListTasksRequest, context: ServerCallContext
    ) -> pb.ListTasksResponse:
        """List the caller's tasks, those changed last first. Raises: InvalidParamsError."""
        raise UnsupportedOperationError

    async def on_cancel_task(
        self, params: pb.CancelTaskRequest, context: ServerCallContext
    ) -> pb.Task:
        """Cancel a task. Raises: TaskNotFoundError, TaskNotCancelableError."""
        raise UnsupportedOperationError

    async def on_subscribe_to_task(
        self, params: pb.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Give the task as it is, then all that happens; ask for the first event before answering.

        Raises:
            TaskNotFoundError; UnsupportedOperationError: it has ended.
        """
        raise UnsupportedOperationError
        yield

    async def on_create_task_push_notification_config(
        self, params: pb.TaskPushNotificationConfig, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Keep where a task's news is sent. Raises: TaskNotFoundError, as `Pushing`."""
        raise PushNotificationNotSupportedError

    async def on_get_task_push_notification_config(
        self, params: pb.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Read one of them. Raises: TaskNotFoundError, as `Pushing`."""
        raise PushNotificationNotSupportedError

    async def on_list_task_push_notification_configs(
        self, params: pb.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        """List those of a task. Raises: TaskNotFoundError, as `Pushing`."""
        raise PushNotificationNotSupportedError

    async def on_delete_task_push_notification_config(
        self, params: pb.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Delete one; also when there is none. Raises: TaskNotFoundError, as `Pushing`."""
        raise PushNotificationNotSupportedError

    async def on_get_extended_agent_card(
        self, params: pb.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> pb.AgentCard:
        """Cards are the transports' matter: they answer this themselves."""
        raise ExtendedAgentCardNotConfiguredError
