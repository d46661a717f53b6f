"""Push notifications set by the official client, over every transport and version."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb

from tests.integration.fronts.test_clients import TRANSPORTS, message, speak, told
from tests.integration.push.receiver import receiving

__all__ = ["speak"]
"""A fixture of the clients' own tests."""

LACKS_LIST_AND_DELETE = ("HTTP+JSON", "0.3")
"""The client has no such calls there."""

AUTH = pb.AuthenticationInfo(scheme="Bearer", credentials="cr3dentials")


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_has_itself_told_sees_what_it_has_set_and_takes_it_back(
    speak: Callable[..., Any],
    binding: str,
    version: str,
) -> None:
    async with (
        receiving() as receiver,
        await speak("ask", binding, version, streaming=False) as client,
    ):
        config = pb.TaskPushNotificationConfig(
            id=uuid.uuid4().hex, url=receiver.url, token="t0ken", authentication=AUTH
        )
        asks = message("Hello")
        asks.configuration.task_push_notification_config.CopyFrom(config)
        [asked] = await told(client, asks)
        task_id = asked.task.id
        shown = await client.get_task_push_notification_config(
            pb.GetTaskPushNotificationConfigRequest(task_id=task_id, id=config.id)
        )
        listed = [config.id]
        if (binding, version) != LACKS_LIST_AND_DELETE:
            other = pb.TaskPushNotificationConfig(task_id=task_id, id="other", url=receiver.url)
            await client.create_task_push_notification_config(other)
            await client.delete_task_push_notification_config(
                pb.DeleteTaskPushNotificationConfigRequest(task_id=task_id, id="other")
            )
            found = await client.list_task_push_notification_configs(
                pb.ListTaskPushNotificationConfigsRequest(task_id=task_id)
            )
            listed = [one.id for one in found.configs]
        await told(client, message("green", task_id=task_id))
        got = await receiver.end()

    assert (task_id, receiver.url) == (shown.task_id, shown.url)
    assert ("", "") == (shown.token, shown.authentication.credentials)
    assert [config.id] == listed
    end = got[-1]
    assert ("t0ken", "Bearer cr3dentials") == (
        end.headers["X-A2A-Notification-Token"], end.headers["Authorization"],
    )  # fmt: skip
    assert ("task completed" if version == "0.3" else "COMPLETED") == end.said
