"""Paths of the HTTP+JSON interface, as data. Source: A2A 1.0.1, section 11.3.

This module loads nothing of the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from agency.core.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is done at one path with one method.

    Attributes:
        path: Below the interface's address.
        operation: Name of the operation, as in `agency.a2a.calls`.
        named: Fields of the request that parts of the path fill, and which part each.
    """

    method: str
    path: str
    operation: str
    named: Mapping[str, str] = field(default_factory=dict)


_TASK = "/tasks/{id:[^/:{}]+}"
_CONFIGS = _TASK + "/pushNotificationConfigs"
_CONFIG = _CONFIGS + "/{config:[^/{}]+}"
_OF_TASK = {"task_id": "id"}
_OF_CONFIG = {"task_id": "id", "id": "config"}
_ID = {"id": "id"}


def _get(path: str, operation: str, named: Mapping[str, str] | None = None) -> Resource:
    return Resource(method="GET", path=path, operation=operation, named=named or {})


def _post(path: str, operation: str, named: Mapping[str, str] | None = None) -> Resource:
    return Resource(method="POST", path=path, operation=operation, named=named or {})


RESOURCES = (
    _post("/message:send", "SendMessage"),
    _post("/message:stream", "SendStreamingMessage"),
    _get("/tasks", "ListTasks"),
    _get(_TASK, "GetTask", _ID),
    _post(_TASK + ":cancel", "CancelTask", _ID),
    # The text of the protocol says POST, its description of the service says GET.
    _post(_TASK + ":subscribe", "SubscribeToTask", _ID),
    _get(_TASK + ":subscribe", "SubscribeToTask", _ID),
    _post(_CONFIGS, "CreateTaskPushNotificationConfig", _OF_TASK),
    _get(_CONFIGS, "ListTaskPushNotificationConfigs", _OF_TASK),
    _get(_CONFIG, "GetTaskPushNotificationConfig", _OF_CONFIG),
    Resource(
        method="DELETE",
        path=_CONFIG,
        operation="DeleteTaskPushNotificationConfig",
        named=_OF_CONFIG,
    ),
    _get("/extendedAgentCard", "GetExtendedAgentCard"),
    # As version 0.3 called it.
    _get("/card", "GetExtendedAgentCard"),
)
"""All of them."""
