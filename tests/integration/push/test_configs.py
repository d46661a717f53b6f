"""Configurations of push notifications: what may be set, by whom, and what is shown of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError

from agency.core.addresses import Endpoint
from agency.domain.push import (
    PUSH_ID_CHARACTERS_MAX,
    PUSH_SECRET_CHARACTERS_MAX,
    PUSH_URL_CHARACTERS_MAX,
    PUSHES_PER_TASK_MAX,
    PushState,
)
from agency.errors import VaultLocked
from tests.integration.push.office import Office, in_version, open_office
from tests.integration.push.receiver import receiving
from tests.integration.tasks.desk import by

URL = "https://192.0.2.1.example/hook"
PUBLIC = Endpoint(socket.AF_INET, "93.184.216.34", 443)
INSIDE = Endpoint(socket.AF_INET, "10.0.0.7", 443)


async def public(host: str, port: int) -> Sequence[Endpoint]:
    return [PUBLIC]


async def create(office: Office, task_id: str, caller: str = "ann", **push: Any) -> Any:
    config = pb.TaskPushNotificationConfig(task_id=task_id, **{"url": URL, **push})
    return await office.desk.to("ask").on_create_task_push_notification_config(config, by(caller))


async def get(office: Office, task_id: str, push_id: str, caller: str = "ann") -> Any:
    wanted = pb.GetTaskPushNotificationConfigRequest(task_id=task_id, id=push_id)
    return await office.desk.to("ask").on_get_task_push_notification_config(wanted, by(caller))


async def listed(office: Office, task_id: str, caller: str = "ann", **page: Any) -> Any:
    wanted = pb.ListTaskPushNotificationConfigsRequest(task_id=task_id, **page)
    return await office.desk.to("ask").on_list_task_push_notification_configs(wanted, by(caller))


async def delete(office: Office, task_id: str, push_id: str, caller: str = "ann") -> None:
    wanted = pb.DeleteTaskPushNotificationConfigRequest(task_id=task_id, id=push_id)
    await office.desk.to("ask").on_delete_task_push_notification_config(wanted, by(caller))


async def test_configs_are_kept_shown_without_secrets_and_deleted(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        auth = pb.AuthenticationInfo(scheme="Bearer", credentials="cred")

        made = await create(office, task_id, id="p", token="tok", authentication=auth)
        shown = await get(office, task_id, "p")
        all_of_them = await listed(office, task_id)
        await delete(office, task_id, "p")
        await delete(office, task_id, "p")
        with pytest.raises(TaskNotFoundError):
            await get(office, task_id, "p")

    assert (made.id, made.task_id, made.url, made.token) == ("p", task_id, URL, "tok")
    assert (shown.id, shown.task_id, shown.url) == ("p", task_id, URL)
    assert (shown.token, shown.authentication.credentials) == ("", "")
    assert shown.authentication.scheme == "Bearer"
    assert list(all_of_them.configs) == [shown]


async def test_config_without_an_id_gets_the_same_one_when_it_comes_again(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id

        first, again = await create(office, task_id), await create(office, task_id)
        other = await create(office, task_id, url=URL + "/other")
        old = pb.TaskPushNotificationConfig(task_id=task_id, url=URL)
        calls = office.desk.to("ask")
        in_0_3 = await calls.on_create_task_push_notification_config(old, in_version("0.3"))

        found = await listed(office, task_id)

    assert first.id == again.id != other.id
    assert in_0_3.id == task_id
    assert [one.id for one in found.configs] == [first.id, other.id, task_id]


async def test_configs_are_paged(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        for name in "abc":
            await create(office, task_id, id=name)

        first = await listed(office, task_id, page_size=2)
        last = await listed(office, task_id, page_size=2, page_token=first.next_page_token)

        for wrong in ({"page_size": -1}, {"page_size": 101}, {"page_token": "nonsense"}):
            with pytest.raises(InvalidParamsError):
                await listed(office, task_id, **wrong)

    assert [one.id for one in [*first.configs, *last.configs]] == ["a", "b", "c"]
    assert last.next_page_token == ""


async def test_tasks_of_others_look_absent(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        await create(office, task_id, id="p")

        for call in (
            create(office, task_id, caller="eve"),
            get(office, task_id, "p", caller="eve"),
            listed(office, task_id, caller="eve"),
            delete(office, task_id, "p", caller="eve"),
            create(office, "nobody"),
        ):
            with pytest.raises(TaskNotFoundError):
                await call

        assert len((await listed(office, task_id)).configs) == 1


async def test_a_task_has_so_many_configs_at_most(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        for number in range(PUSHES_PER_TASK_MAX):
            await create(office, task_id, id=str(number))

        with pytest.raises(InvalidParamsError):
            await create(office, task_id, id="one more")
        await create(office, task_id, id="0", url=URL + "/again")


LONG = "x" * (PUSH_SECRET_CHARACTERS_MAX + 1)
WRONG: dict[str, dict[str, Any]] = {
    "no url": {"url": ""},
    "other scheme": {"url": "ftp://example.org/x"},
    "no host": {"url": "https:///x"},
    "user name": {"url": "https://me:pw@example.org/x"},
    "blank": {"url": "https://example.org/a b"},
    "line": {"url": "https://example.org/a\r\nX: y"},
    "port": {"url": "https://example.org:99999/"},
    "long url": {"url": "https://example.org/" + "x" * PUSH_URL_CHARACTERS_MAX},
    "long id": {"id": "x" * (PUSH_ID_CHARACTERS_MAX + 1)},
    "odd id": {"id": "a\nb"},
    "long token": {"token": LONG},
    "line in token": {"token": "a\r\nX-Evil: 1"},
    "token of other letters": {"token": "é"},
    "no scheme": {"authentication": {"credentials": "x"}},
    "line in scheme": {"authentication": {"scheme": "Bea\r\nrer", "credentials": "x"}},
    "line in credentials": {"authentication": {"scheme": "Bearer", "credentials": "x\ny"}},
    "long credentials": {"authentication": {"scheme": "Bearer", "credentials": LONG}},
    "loopback": {"url": "http://127.0.0.1:1/"},
    "loopback by name": {"url": "http://localhost:1/"},
    "loopback in v6": {"url": "http://[::1]:1/"},
    "mapped": {"url": "http://[::ffff:127.0.0.1]/"},
    "as one number": {"url": "http://2130706433/"},
    "private": {"url": "http://192.168.1.1/"},
    "metadata": {"url": "http://169.254.169.254/latest/meta-data"},
    "unspecified": {"url": "http://0.0.0.0:8080/"},
}


async def test_what_cannot_be_told_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    async with open_office(tmp_path, private=(), is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        before = await office.store.runs.count_by_status()

        for why, push in WRONG.items():
            wanted = {"url": "https://example.invalid/", **push}
            with pytest.raises(InvalidParamsError):
                await create(office, task_id, **wanted)
            with pytest.raises(InvalidParamsError):
                await office.send("ask", why, **wanted)

        assert [] == await office.store.pushes.list(task_id, after=0, limit=5)
        assert before == await office.store.runs.count_by_status()


async def test_allowed_private_place_is_told_and_its_neighbours_are_not(tmp_path: Path) -> None:
    private = ("10.1.0.0/16", "hooks.internal:8443")

    async def inside(host: str, port: int) -> Sequence[Endpoint]:
        return [Endpoint(socket.AF_INET, "10.1.2.3" if "net" in host else "10.9.9.9", port)]

    async with open_office(tmp_path, private=private, lookup=inside, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        for url in ("http://net.example/", "https://hooks.internal:8443/x"):
            await create(office, task_id, url=url)
        for url in ("http://other.example/", "https://hooks.internal/x"):
            with pytest.raises(InvalidParamsError, match="push_allow_private"):
                await create(office, task_id, url=url)


async def test_name_that_resolves_to_a_private_place_later_is_not_connected_to(
    tmp_path: Path,
) -> None:
    looked: list[str] = []

    async def rebound(host: str, port: int) -> Sequence[Endpoint]:
        looked.append(host)
        address = PUBLIC if len(looked) < 3 else Endpoint(socket.AF_INET, "127.0.0.1", port)
        return [address]

    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        async with open_office(tmp_path, private=(), lookup=rebound) as office:
            task_id = await office.send("greet", "Ann", url=f"http://rebound.example:{port}/")
            push = await office.settled(task_id)

    assert receiver.got == []
    assert (push.state, push.sent) == (PushState.GIVEN_UP, 0)
    assert "is no public host now" in push.error
    assert "127.0.0.1" not in push.error


async def test_name_is_resolved_once_and_the_judged_address_is_connected_to(
    tmp_path: Path,
) -> None:
    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        looked: list[str] = []

        async def look_up(host: str, port: int) -> Sequence[Endpoint]:
            looked.append(host)
            return [Endpoint(socket.AF_INET, "127.0.0.1", port)]

        url = f"http://nowhere.example:{port}/"
        private = ("nowhere.example",)
        async with open_office(tmp_path, private=private, lookup=look_up) as office:
            task_id = await office.send("greet", "Ann", url=url)
            await office.settled(task_id)

    assert {one.headers["Host"] for one in receiver.got} == {f"nowhere.example:{port}"}
    # Twice when it was set, and once for each of four notifications.
    assert looked == ["nowhere.example"] * 6


async def test_name_that_does_not_resolve_yet_may_be_set(tmp_path: Path) -> None:
    async def nothing(host: str, port: int) -> Sequence[Endpoint]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with open_office(tmp_path, lookup=nothing) as office:
        task_id = await office.send("greet", "Ann", url="https://later.example/")
        push = await office.settled(task_id)

    assert "does not resolve" in push.error


async def test_secrets_are_refused_while_the_vault_is_locked(tmp_path: Path) -> None:
    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        await office.send("ask", "x", url=URL, token="tok")
    (tmp_path / "vault.key").unlink()

    async with open_office(tmp_path, lookup=public, is_sending=False) as office:
        task_id = (await office.desk.send("ask", "x")).id
        with pytest.raises(VaultLocked):
            await create(office, task_id, token="tok")
        await create(office, task_id)


async def test_two_first_configs_at_once_share_one_key(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        task_id = (await office.desk.send("ask", "x")).id
        one = create(office, task_id, id="a", url=receiver.url, token="t-a")
        other = create(office, task_id, id="b", url=receiver.url, token="t-b")
        await asyncio.gather(one, other)
        got = await receiver.count(2)

    assert {"t-a", "t-b"} == {one.headers["X-A2A-Notification-Token"] for one in got}


async def test_message_that_comes_again_with_its_config_tells_what_holds_now(
    tmp_path: Path,
) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        from tests.integration.tasks.desk import request

        config = {"task_push_notification_config": {"id": "p", "url": receiver.url}}
        calls = office.desk.to("greet")
        for _ in range(2):
            wanted = request("Ann", message_id="m-again", configuration=config)
            task = await calls.on_message_send(wanted, by())
            push = await office.settled(task.id)

    assert push.sent == 6
    assert receiver.taken[-2:] == ["artifact output", "COMPLETED"]
    assert len({one.id for one in receiver.got}) == 4
