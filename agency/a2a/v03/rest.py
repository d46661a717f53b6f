"""HTTP+JSON of version 0.3, whose bodies are protobuf's JSON of that version.

Source: A2A 0.3.0, section 3.2.3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from a2a.compat.v0_3 import a2a_v0_3_pb2 as pb03
from a2a.compat.v0_3 import conversions as convert
from a2a.compat.v0_3 import types as v03
from a2a.compat.v0_3.proto_utils import FromProto, ToProto
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import MethodNotFoundError
from aiohttp import web
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from pydantic import ValidationError

from agency.a2a import calls, wire
from agency.a2a.calls import Call, Operation
from agency.a2a.refusals import invalid
from agency.a2a.v03.vocabulary import compat_event, compat_sent, with_id
from agency.web.bodies import check_json, read_raw

_Message = TypeVar("_Message", bound=Message)


async def read(request: web.Request, operation: Operation, named: Mapping[str, str]) -> Message:
    """Make what an operation takes of a request.

    Raises:
        InvalidParamsError: it does not fit.
        JSONParseError, InvalidRequestError, ContentTypeRefused: as `read_object`.
        MethodNotFoundError: version 0.3 does not have the operation.
    """
    if operation in {calls.SEND, calls.STREAM}:
        found = await _body(request)
        _check_version(found)
        body = _understood(found, pb03.SendMessageRequest)
        sent = _converted(lambda: FromProto.message_send_params(body))
        core = convert.to_core_send_message_request(v03.SendMessageRequest(id="", params=sent))
        return with_id(core)
    if operation is calls.PUSH_CREATE:
        whole = _understood(await _body(request), pb03.CreateTaskPushNotificationConfigRequest)
        config = _converted(lambda: FromProto.task_push_notification_config_request(whole))
        config.task_id = request.match_info["id"]
        request_of = v03.SetTaskPushNotificationConfigRequest(id="", params=config)
        return with_id(convert.to_core_create_task_push_notification_config_request(request_of))
    if operation is calls.LIST:
        raise MethodNotFoundError("Version 0.3 cannot list tasks.")
    params = operation.request()
    for field, part in named.items():
        setattr(params, field, request.match_info[part])
    if isinstance(params, pb.GetTaskRequest):
        query = request.query
        _set_history(params, query.get("historyLength", query.get("history_length", "")))
    return params


def writer(call: Call) -> Callable[[Message], Any]:
    """Choose how the answers of an operation are written."""
    return _WRITERS[call.operation.name]


async def _body(request: web.Request) -> Any:  # noqa: ANN401  JSON enters here
    raw = await read_raw(request)
    check_json(request)
    return wire.parse(raw)


def _check_version(value: object) -> None:
    """Tell a caller who has forgotten to name the version, before its message looks empty.

    Raises:
        InvalidParamsError: the message is one of version 1.0.
    """
    message = value.get("message") if isinstance(value, dict) else None
    if isinstance(message, dict) and "parts" in message and "content" not in message:
        said = (
            "The message has parts, as in version 1.0; the request is in 0.3, which is also what "
            "no A2A-Version means."
        )
        raise invalid(said, [("message.parts", "It is called content in version 0.3.")])


def _understood(value: object, kind: type[_Message]) -> _Message:
    if not isinstance(value, dict):
        raise invalid("The body must be an object.", [("", "It is no object.")])
    try:
        message: _Message = ParseDict(value, kind(), ignore_unknown_fields=True)
    except (ParseError, RecursionError) as error:
        raise invalid(f"The body cannot be understood: {error}") from error
    return message


_Made = TypeVar("_Made")


def _converted(conversion: Callable[[], _Made]) -> _Made:
    try:
        return conversion()
    except (ValueError, ValidationError) as error:
        raise invalid(f"The body does not fit: {error}") from error


def _set_history(params: pb.GetTaskRequest, text: str) -> None:
    if not text:
        return
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise invalid("historyLength is a number.", [("historyLength", f"It is {text[:32]!r}.")])
    # 0.3 means all by 0, and 1.0 none.
    if int(text):
        params.history_length = int(text)


def _task(task: Message) -> Any:  # noqa: ANN401  JSON leaves here
    return MessageToDict(ToProto.task(convert.to_compat_task(task)))


def _config(config: Message) -> Any:  # noqa: ANN401  JSON leaves here
    compat = convert.to_compat_task_push_notification_config(config)
    return MessageToDict(ToProto.task_push_notification_config(compat))


def _configs(found: Message) -> Any:  # noqa: ANN401  JSON leaves here
    return {"configs": [_config(one) for one in found.configs]}


def _card(card: Message) -> Any:  # noqa: ANN401  JSON leaves here
    compat = convert.to_compat_agent_card(card)
    return compat.model_dump(mode="json", by_alias=True, exclude_none=True)


_WRITERS: Mapping[str, Callable[[Any], Any]] = {
    calls.SEND.name: lambda sent: MessageToDict(ToProto.task_or_message(compat_sent(sent))),
    calls.STREAM.name: lambda one: MessageToDict(ToProto.stream_response(compat_event(one))),
    calls.SUBSCRIBE.name: lambda one: MessageToDict(ToProto.stream_response(compat_event(one))),
    calls.GET.name: _task,
    calls.CANCEL.name: _task,
    calls.PUSH_CREATE.name: _config,
    calls.PUSH_GET.name: _config,
    calls.PUSH_LIST.name: _configs,
    calls.PUSH_DELETE.name: MessageToDict,
    calls.CARD.name: _card,
}
