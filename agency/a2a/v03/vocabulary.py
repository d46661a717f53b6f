"""Methods of version 0.3: their words turned into operations of 1.0, and back.

The SDK converts the messages. What it does not do right is done here: fields that are missing are
faults of the parameters (-32602), an interrupted task ends its stream with ``final``, deleting a
push configuration answers null, and one that is asked for without its id is the task's first.

Source: A2A 0.3.0, section 7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from a2a.compat.v0_3 import conversions as convert
from a2a.compat.v0_3 import types as v03
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import TaskNotFoundError
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from agency.a2a import calls
from agency.a2a.calls import Call, Operation
from agency.a2a.refusals import invalid
from agency.a2a.wire import check_base64
from agency.core.records import dataclass

FAULTS_MAX = 32
"""Faults that one answer tells of."""

DEFAULT_CONFIG = "default"
"""Id of a push configuration that is set without one: there is one such for each task, which the
next one replaces."""

_KINDS = frozenset({"text", "file", "data"})
_INTERRUPTED = frozenset({v03.TaskState.input_required, v03.TaskState.auth_required})


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method.

    Attributes:
        read: Turns parameters into what the operation takes.
        write: Turns what the operation gives into a result.
        answer: Does the call.
    """

    operation: Operation
    read: Callable[[object], Message]
    write: Callable[[Any], Any]
    answer: Callable[[Call], Awaitable[Message]] = Call.answer


def _reading(
    model: type[BaseModel], to_core: Callable[[Any], Message]
) -> Callable[[object], Message]:
    """Make the reader of parameters: the SDK's model of the whole request checks them."""

    def read(params: object) -> Message:
        method = model.model_fields["method"].default
        whole = {"jsonrpc": "2.0", "id": "", "method": method, "params": params}
        if model in _SENDING:
            _check_kinds(params)
        try:
            checked = model.model_validate(whole)
        except ValidationError as error:
            faults = [
                (".".join(str(part) for part in one["loc"][1:]), one["msg"])
                for one in error.errors(include_input=False, include_url=False)[:FAULTS_MAX]
            ]
            where = ", ".join(dict.fromkeys(where for where, _ in faults))
            raise invalid(f"The parameters do not fit: {where[:256]}.", faults) from error
        if isinstance(checked, v03.SendMessageRequest | v03.SendStreamingMessageRequest):
            _check_files(checked.params.message)
        try:
            return with_id(to_core(checked))
        except (ValueError, ParseError, RecursionError) as error:
            # What the models of 0.3 allow, and 1.0 does not: larger numbers, deeper data.
            raise invalid(f"The parameters do not fit: {error}") from error

    return read


def with_id(message: Message) -> Message:
    """Give the push configuration in what an operation takes the default id if it has none.

    An authentication that says nothing is none: protobuf's JSON makes one of a missing member.
    """
    config: pb.TaskPushNotificationConfig | None = None
    if isinstance(message, pb.TaskPushNotificationConfig):
        config = message
    elif isinstance(message, pb.SendMessageRequest):
        has_push = message.configuration.HasField("task_push_notification_config")
        config = message.configuration.task_push_notification_config if has_push else None
    if config is None:
        return message
    config.id = config.id or DEFAULT_CONFIG
    if not config.authentication.scheme and not config.authentication.credentials:
        config.ClearField("authentication")
    return message


_SENDING = frozenset({v03.SendMessageRequest, v03.SendStreamingMessageRequest})


def _check_kinds(params: object) -> None:
    """Refuse parts that do not say what they are: the SDK's models would take them for text."""
    message = params.get("message") if isinstance(params, dict) else None
    parts = message.get("parts") if isinstance(message, dict) else None
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict) and part.get("kind") not in _KINDS:
            fault = (f"message.parts.{index}.kind", f"It is one of {', '.join(sorted(_KINDS))}.")
            raise invalid("The kind of a part is missing, or unknown.", [fault])


def _check_files(message: v03.Message) -> None:
    for index, part in enumerate(message.parts):
        if isinstance(part.root, v03.FilePart) and isinstance(part.root.file, v03.FileWithBytes):
            check_base64(part.root.file.bytes, f"message.parts[{index}].file.bytes")


def _dump(model: BaseModel) -> Any:  # noqa: ANN401  JSON leaves here
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def write_event(event: pb.StreamResponse) -> Any:  # noqa: ANN401  JSON leaves here
    """Write an event of a stream."""
    return _dump(compat_event(event))


def compat_event(
    event: pb.StreamResponse,
) -> v03.Task | v03.Message | v03.TaskStatusUpdateEvent | v03.TaskArtifactUpdateEvent:
    """Turn an event of a stream into one of 0.3."""
    result = convert.to_compat_stream_response(event, "").result
    if isinstance(result, v03.TaskStatusUpdateEvent) and result.status.state in _INTERRUPTED:
        # The stream ends here as it does at the task's end, and 0.3 says so.
        result.final = True
    return result


def compat_sent(sent: pb.SendMessageResponse) -> v03.Task | v03.Message:
    """Turn the answer to a message into one of 0.3."""
    if sent.HasField("task"):
        return convert.to_compat_task(sent.task)
    return convert.to_compat_message(sent.message)


async def first_config(call: Call) -> Message:
    """Find a push configuration; without an id the task's first one.

    Raises:
        TaskNotFoundError: there is none.
    """
    wanted = call.params
    if not isinstance(wanted, pb.GetTaskPushNotificationConfigRequest) or wanted.id:
        return await call.answer()
    listing = Call(
        operation=calls.PUSH_LIST,
        params=pb.ListTaskPushNotificationConfigsRequest(task_id=wanted.task_id, page_size=1),
        context=call.context,
        target=call.target,
        required=call.required,
    )
    found = await listing.answer()
    if not isinstance(found, pb.ListTaskPushNotificationConfigsResponse) or not found.configs:
        raise TaskNotFoundError("The task has no push notification configuration.")
    return found.configs[0]


def _write_configs(found: pb.ListTaskPushNotificationConfigsResponse) -> list[Any]:
    return [_dump(convert.to_compat_task_push_notification_config(one)) for one in found.configs]


def _write_task(task: pb.Task) -> Any:  # noqa: ANN401  JSON leaves here
    return _dump(convert.to_compat_task(task))


def _write_config(config: pb.TaskPushNotificationConfig) -> Any:  # noqa: ANN401
    return _dump(convert.to_compat_task_push_notification_config(config))


METHODS: Mapping[str, Method] = {
    "message/send": Method(
        operation=calls.SEND,
        read=_reading(v03.SendMessageRequest, convert.to_core_send_message_request),
        write=lambda sent: _dump(compat_sent(sent)),
    ),
    "message/stream": Method(
        operation=calls.STREAM,
        read=_reading(v03.SendStreamingMessageRequest, convert.to_core_send_message_request),
        write=write_event,
    ),
    "tasks/get": Method(
        operation=calls.GET,
        read=_reading(v03.GetTaskRequest, convert.to_core_get_task_request),
        write=_write_task,
    ),
    "tasks/cancel": Method(
        operation=calls.CANCEL,
        read=_reading(v03.CancelTaskRequest, convert.to_core_cancel_task_request),
        write=_write_task,
    ),
    "tasks/resubscribe": Method(
        operation=calls.SUBSCRIBE,
        read=_reading(v03.TaskResubscriptionRequest, convert.to_core_subscribe_to_task_request),
        write=write_event,
    ),
    "tasks/pushNotificationConfig/set": Method(
        operation=calls.PUSH_CREATE,
        read=_reading(
            v03.SetTaskPushNotificationConfigRequest,
            convert.to_core_create_task_push_notification_config_request,
        ),
        write=_write_config,
    ),
    "tasks/pushNotificationConfig/get": Method(
        operation=calls.PUSH_GET,
        read=_reading(
            v03.GetTaskPushNotificationConfigRequest,
            convert.to_core_get_task_push_notification_config_request,
        ),
        write=_write_config,
        answer=first_config,
    ),
    "tasks/pushNotificationConfig/list": Method(
        operation=calls.PUSH_LIST,
        read=_reading(
            v03.ListTaskPushNotificationConfigRequest,
            convert.to_core_list_task_push_notification_config_request,
        ),
        write=_write_configs,
    ),
    "tasks/pushNotificationConfig/delete": Method(
        operation=calls.PUSH_DELETE,
        read=_reading(
            v03.DeleteTaskPushNotificationConfigRequest,
            convert.to_core_delete_task_push_notification_config_request,
        ),
        write=lambda _: None,
    ),
    "agent/getAuthenticatedExtendedCard": Method(
        operation=calls.CARD,
        read=lambda _: pb.GetExtendedAgentCardRequest(),
        write=lambda card: _dump(convert.to_compat_agent_card(card)),
    ),
}
"""All of them, by name."""
