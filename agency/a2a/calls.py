"""The eleven operations as data, and how each is called, whatever transport it came over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidAgentResponseError, TaskNotFoundError
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from agency.a2a.negotiation import check_extensions
from agency.a2a.required import check_required
from agency.core.records import dataclass
from agency.domain.principal import Principal
from agency.web.published import Published

HEADERS_KEY = "headers"
"""Key in ``ServerCallContext.state``: headers of the request, or gRPC's metadata."""

Event = pb.Task | pb.Message | pb.TaskStatusUpdateEvent | pb.TaskArtifactUpdateEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation.

    Attributes:
        name: As JSON-RPC and gRPC call it.
        request: What it takes.
        method: Of the request handler, which does it.
        is_stream: It answers with events.
    """

    name: str
    request: type[Message]
    response: type[Message]
    method: str
    is_stream: bool = False


def _named(*operations: Operation) -> Mapping[str, Operation]:
    return {operation.name: operation for operation in operations}


SEND = Operation(
    name="SendMessage",
    request=pb.SendMessageRequest,
    response=pb.SendMessageResponse,
    method="on_message_send",
)
STREAM = Operation(
    name="SendStreamingMessage",
    request=pb.SendMessageRequest,
    response=pb.StreamResponse,
    method="on_message_send_stream",
    is_stream=True,
)
GET = Operation(name="GetTask", request=pb.GetTaskRequest, response=pb.Task, method="on_get_task")
LIST = Operation(
    name="ListTasks",
    request=pb.ListTasksRequest,
    response=pb.ListTasksResponse,
    method="on_list_tasks",
)
CANCEL = Operation(
    name="CancelTask", request=pb.CancelTaskRequest, response=pb.Task, method="on_cancel_task"
)
SUBSCRIBE = Operation(
    name="SubscribeToTask",
    request=pb.SubscribeToTaskRequest,
    response=pb.StreamResponse,
    method="on_subscribe_to_task",
    is_stream=True,
)
PUSH_CREATE = Operation(
    name="CreateTaskPushNotificationConfig",
    request=pb.TaskPushNotificationConfig,
    response=pb.TaskPushNotificationConfig,
    method="on_create_task_push_notification_config",
)
PUSH_GET = Operation(
    name="GetTaskPushNotificationConfig",
    request=pb.GetTaskPushNotificationConfigRequest,
    response=pb.TaskPushNotificationConfig,
    method="on_get_task_push_notification_config",
)
PUSH_LIST = Operation(
    name="ListTaskPushNotificationConfigs",
    request=pb.ListTaskPushNotificationConfigsRequest,
    response=pb.ListTaskPushNotificationConfigsResponse,
    method="on_list_task_push_notification_configs",
)
PUSH_DELETE = Operation(
    name="DeleteTaskPushNotificationConfig",
    request=pb.DeleteTaskPushNotificationConfigRequest,
    response=Empty,
    method="on_delete_task_push_notification_config",
)
CARD = Operation(
    name="GetExtendedAgentCard",
    request=pb.GetExtendedAgentCardRequest,
    response=pb.AgentCard,
    method="on_get_extended_agent_card",
)

OPERATIONS: Mapping[str, Operation] = _named(
    SEND, STREAM, GET, LIST, CANCEL, SUBSCRIBE, PUSH_CREATE, PUSH_GET, PUSH_LIST, PUSH_DELETE, CARD
)
"""All of them, by name."""


class Caller(User):
    """Who calls, as the seam wants to see it."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    @property
    def is_authenticated(self) -> bool:
        """Whether a token said who it is."""
        return self._principal.has_token

    @property
    def user_name(self) -> str:
        """The principal's name."""
        return self._principal.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is spoken to.

    Attributes:
        extended_card: Makes the extended card; its errors are those of the operation.
    """

    published: Published
    operations: RequestHandler
    extended_card: Callable[[ServerCallContext], Awaitable[pb.AgentCard]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an operation.

    Attributes:
        params: Of the type that the operation takes.
        required: URIs of extensions that the caller must know.
    """

    operation: Operation
    params: Message
    context: ServerCallContext
    target: Target
    required: tuple[str, ...] = ()

    async def answer(self) -> Message:
        """Do an operation that is no stream, and give its response.

        Raises:
            A2AError, AgencyError: as the operation says; parameters are missing.
        """
        self._check()
        if self.operation is CARD:
            return await self.target.extended_card(self.context)
        made = await self._made(self.params, self.context)
        if self.operation is SEND:
            return _sent(made)
        if made is None:
            if self.operation is PUSH_DELETE:
                return Empty()
            raise TaskNotFoundError
        if not isinstance(made, self.operation.response):
            raise InvalidAgentResponseError
        return made

    async def events(self) -> AsyncGenerator[pb.StreamResponse, None]:
        """Do an operation that is a stream.

        Raises:
            A2AError, AgencyError: as `answer`, mostly before the first event.
        """
        self._check()
        async with aclosing(self._made(self.params, self.context)) as events:
            async for event in events:
                yield _told(event)

    def _check(self) -> None:
        check_extensions(frozenset(self.context.requested_extensions), self.required)
        check_required(self.params)

    @property
    def _made(self) -> Callable[[Message, ServerCallContext], Any]:
        made: Callable[[Message, ServerCallContext], Any] = getattr(
            self.target.operations, self.operation.method
        )
        return made


def _sent(made: object) -> pb.SendMessageResponse:
    if isinstance(made, pb.Task):
        return pb.SendMessageResponse(task=made)
    if isinstance(made, pb.Message):
        return pb.SendMessageResponse(message=made)
    raise InvalidAgentResponseError


def _told(event: Event) -> pb.StreamResponse:
    match event:
        case pb.Task():
            return pb.StreamResponse(task=event)
        case pb.Message():
            return pb.StreamResponse(message=event)
        case pb.TaskStatusUpdateEvent():
            return pb.StreamResponse(status_update=event)
        case _:
            return pb.StreamResponse(artifact_update=event)
