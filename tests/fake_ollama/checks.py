"""What the real server refuses, in its own words."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any
from urllib.parse import urlsplit

Refused = tuple[int, str]

_DURATION = re.compile(r"-?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|0")
_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_INTEGERS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
)
_THINK = ("low", "medium", "high", "max")


def host_is_known(host: str) -> bool:
    """Tell whether a server bound to loopback answers to this Host header."""
    name = urlsplit(f"//{host}").hostname or ""
    if not name or name in ("localhost", socket.gethostname().lower()):
        return True
    if name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def origin_is_known(origin: str) -> bool:
    return (urlsplit(origin).hostname or "") in ("localhost", "127.0.0.1", "0.0.0.0", "::1")


def chat_shape(body: Any) -> Refused | None:
    """Refuse what Go's decoder refuses."""
    if not isinstance(body, dict):
        return 400, f"json: cannot unmarshal {_go(body)} into Go value of type api.ChatRequest"
    for name, kinds, go_type in (
        ("model", str, "string"),
        ("messages", list, "[]api.Message"),
        ("stream", bool, "bool"),
        ("tools", list, "api.Tools"),
        ("options", dict, "map[string]interface {}"),
        ("truncate", bool, "bool"),
        ("shift", bool, "bool"),
        ("logprobs", bool, "bool"),
    ):
        value = body.get(name)
        if value is not None and not isinstance(value, kinds):
            return _unmarshal(value, f"ChatRequest.{name}", go_type)
    for message in body.get("messages") or ():
        refused = _message_shape(message)
        if refused is not None:
            return refused
    for tool in body.get("tools") or ():
        if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
            return _unmarshal(tool, "ChatRequest.tools", "api.Tool")
    return _keep_alive(body.get("keep_alive")) or _think(body.get("think"))


def embed_shape(body: Any) -> Refused | None:
    if not isinstance(body, dict):
        return 400, f"json: cannot unmarshal {_go(body)} into Go value of type api.EmbedRequest"
    texts = body.get("input")
    if isinstance(texts, list) and not all(isinstance(text, str) for text in texts):
        return 400, "invalid input type"
    if texts is not None and not isinstance(texts, list | str):
        return 400, "invalid input type"
    return _keep_alive(body.get("keep_alive"))


def options_fault(options: dict[str, Any]) -> Refused | None:
    """Refuse options of a wrong type; unknown ones pass."""
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _FLOATS and not is_number:
            return 500, f'option "{name}" must be of type float32'
        if name in _INTEGERS and not is_number:
            return 500, f'option "{name}" must be of type integer'
        if name == "stop" and not isinstance(value, list):
            return 500, f'option "{name}" must be of type array'
        if name == "use_mmap" and not isinstance(value, bool):
            return 500, f'option "{name}" must be of type boolean'
    return None


def format_fault(wanted: Any) -> Refused | None:
    if wanted is None or wanted in ("", "json") or isinstance(wanted, dict):
        return None
    return 500, f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object'


def _message_shape(message: Any) -> Refused | None:
    if not isinstance(message, dict):
        return _unmarshal(message, "ChatRequest.messages", "api.Message")
    for name in ("role", "content", "thinking", "tool_name", "tool_call_id"):
        value = message.get(name)
        if value is not None and not isinstance(value, str):
            return _unmarshal(value, f"ChatRequest.messages.{name}", "string")
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return _unmarshal(call, "ChatRequest.messages.tool_calls", "api.ToolCall")
        if not isinstance(function.get("arguments"), dict):
            return 400, "Value looks like object, but can't find closing '}' symbol"
    return None


def _keep_alive(value: Any) -> Refused | None:
    if isinstance(value, str) and not _DURATION.fullmatch(value):
        if re.fullmatch(r"-?\d+(\.\d*)?", value):
            return 400, f'time: missing unit in duration "{value}"'
        return 400, f'time: invalid duration "{value}"'
    if isinstance(value, bool | list | dict):
        return 400, f"Unsupported type: {_go(value)}"
    return None


def _think(value: Any) -> Refused | None:
    if isinstance(value, str) and value not in _THINK:
        return (
            400,
            f'invalid think value: "{value}" '
            '(must be "high", "medium", "low", "max", true, or false)',
        )
    if value is not None and not isinstance(value, str | bool):
        return 400, "think must be a boolean or string"
    return None


def _unmarshal(value: Any, where: str, go_type: str) -> Refused:
    return (
        400,
        f"json: cannot unmarshal {_go(value)} into Go struct field {where} of type {go_type}",
    )


def _go(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case None:
            return "null"
        case _:
            return "object"
