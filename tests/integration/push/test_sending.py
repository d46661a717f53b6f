"""Notifications: what is told, in which order, how often, and what goes along."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from aiohttp import web

from agency import Context, workflow
from agency.a2a.push.opening import make_silent
from agency.a2a.push.sealing import KEY_NAME
from agency.a2a.push.sender import Pace
from agency.domain.push import Push, PushState
from agency.errors import StoreFull
from agency.ports.push import PushStore
from tests.integration.push.office import FAST, in_version, open_office
from tests.integration.push.receiver import receiving
from tests.integration.tasks.desk import by, request

ALL_OF_GREET = ["SUBMITTED", "WORKING", "artifact output", "COMPLETED"]
AUTH = {"scheme": "Bearer", "credentials": "s3cret-credentials"}


async def test_every_change_is_told_in_order_with_what_goes_along(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        task_id = await office.send(
            "greet", "Ann", url=receiver.url, token="t0ken", authentication=AUTH
        )
        got = await receiver.end()
        push = await office.settled(task_id)

    assert ALL_OF_GREET == receiver.taken
    assert {"Bearer s3cret-credentials"} == {one.headers["Authorization"] for one in got}
    assert {"t0ken"} == {one.headers["X-A2A-Notification-Token"] for one in got}
    assert {"application/a2a+json"} == {one.headers["Content-Type"] for one in got}
    assert {"/hook?a=1"} == {one.path for one in got}
    assert len({one.id for one in got}) == len(got)
    assert (push.state, push.sent, push.skipped, push.error) == (PushState.DONE, 4, 0, "")
    status = got[-1].body["statusUpdate"]
    assert (task_id, "TASK_STATE_COMPLETED") == (status["taskId"], status["status"]["state"])


async def test_waits_contents_and_ends_are_told_as_they_come(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        task_id = await office.send("ask", "x", url=receiver.url, at_once=False)
        await receiver.until(lambda got: got[-1].said == "INPUT_REQUIRED" if got else False)
        asked = receiver.got[-1].body["statusUpdate"]["status"]["message"]["parts"]
        await office.desk.send("ask", "red", task_id=task_id)
        await receiver.end()
        await office.send("pieces", "x", url=receiver.url)
        await receiver.until(lambda got: len([one for one in got if one.said == "COMPLETED"]) == 2)

    assert asked[0]["text"] == "Which colour?"
    assert receiver.taken[:3] == ["SUBMITTED", "WORKING", "INPUT_REQUIRED"]
    assert receiver.taken[-5:] == [
        "WORKING", "artifact poem", "artifact poem", "artifact output", "COMPLETED",
    ]  # fmt: skip
    assert receiver.got[-3].body["artifactUpdate"]["append"]


async def test_version_0_3_is_told_the_whole_task(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        config = {"task_push_notification_config": {"url": receiver.url, "token": "t"}}
        wanted = request("Ann", configuration=config)
        await office.desk.to("greet").on_message_send(wanted, in_version("0.3"))
        got = await receiver.end()

    assert "task completed" == receiver.taken[-1]
    assert got[-1].body["artifacts"][0]["parts"] == [{"kind": "text", "text": "Hello Ann!"}]
    assert (got[-1].body["kind"], got[-1].headers["Content-Type"]) == ("task", "application/json")


async def test_a_failed_attempt_is_made_again_until_it_is_taken(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(500, 0, 429)
        task_id = await office.send("greet", "Ann", url=receiver.url)
        got = await receiver.end()
        push = await office.settled(task_id)

    assert ALL_OF_GREET == receiver.taken
    assert len({one.id for one in got[:4]}) == 1
    assert (push.sent, push.skipped, push.tries, push.error) == (4, 0, 0, "")


async def test_what_was_taken_of_a_change_is_not_sent_again_with_the_rest(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(200, 200, 200, 503)
        task_id = await office.send("greet", "Ann", url=receiver.url)
        got = await receiver.end()
        await office.settled(task_id)

    assert ALL_OF_GREET == receiver.taken
    assert got[-1].id == got[-2].id


@pytest.mark.parametrize("status", [302, 400, 410])
async def test_final_refusals_and_redirects_leave_one_notification_out(
    tmp_path: Path, status: int
) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(200, status, Location=f"{receiver.url}&moved")
        task_id = await office.send("greet", "Ann", url=receiver.url)
        await receiver.end()
        push = await office.settled(task_id)

    assert receiver.taken == ["SUBMITTED", "artifact output", "COMPLETED"]
    assert all("moved" not in one.path for one in receiver.got)
    assert (push.state, push.sent, push.skipped) == (PushState.DONE, 3, 1)


async def test_a_receiver_that_never_takes_anything_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(*[500] * 100)
        task_id = await office.send("greet", "Ann", url=receiver.url, token="t0ken-t0ken")
        push = await office.settled(task_id)

    assert len(receiver.got) == 4 * FAST.tries
    assert (push.state, push.sent, push.skipped) == (PushState.GIVEN_UP, 0, 4)
    assert "500" in push.error
    given_up = [one for one in caplog.records if one.message == "push notification given up"]
    assert [one.levelno for one in given_up] == [logging.ERROR] * 4
    assert "t0ken-t0ken" not in caplog.text


async def test_old_notifications_are_given_up_with_their_first_failure(tmp_path: Path) -> None:
    pace = Pace(tries=1000, age_s=0.0, base_s=60, cap_s=60)
    async with receiving() as receiver, open_office(tmp_path, pace=pace) as office:
        receiver.answer(*[500] * 100)
        task_id = await office.send("greet", "Ann", url=receiver.url)
        push = await office.settled(task_id)

    assert (len(receiver.got), push.state) == (4, PushState.GIVEN_UP)


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(503, Retry_After="3000")
        task_id = await office.send("ask", "x", url=receiver.url)
        await receiver.count(1)
        push = await office.until(task_id, lambda push: push.tries)

    assert push.due_at is not None
    assert push.error_at is not None
    assert (push.due_at - push.error_at).total_seconds() == pytest.approx(3000, abs=1)
    assert (push.tries, push.sent, len(receiver.got)) == (1, 0, 1)


async def test_a_slow_receiver_holds_up_no_other_and_its_order_is_kept(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(receiving())
        quick = await stack.enter_async_context(receiving())
        office = await stack.enter_async_context(open_office(tmp_path))
        slow.holds = asyncio.Event()
        task_id = await office.send("greet", "Ann", id="slow", url=slow.url)
        config = pb.TaskPushNotificationConfig(task_id=task_id, id="quick", url=quick.url)
        await office.desk.to("greet").on_create_task_push_notification_config(config, by())

        await quick.end()
        held = len(slow.got)
        slow.holds.set()
        await slow.end()

    assert held == 1
    assert slow.taken == ALL_OF_GREET
    assert quick.taken[-1] == "COMPLETED"


async def test_an_answer_that_does_not_come_in_time_is_a_failed_attempt(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path, timeout_s=0.1) as office:
        receiver.holds = asyncio.Event()
        task_id = await office.send("greet", "Ann", url=receiver.url)
        push = await office.settled(task_id)

    assert push.state is PushState.GIVEN_UP
    assert push.error == "No answer came within 0.1 s."


async def test_deleted_push_tells_nothing_more(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.holds = asyncio.Event()
        task_id = await office.send("greet", "Ann", id="p", url=receiver.url)
        await receiver.count(1)
        gone = pb.DeleteTaskPushNotificationConfigRequest(task_id=task_id, id="p")
        await office.desk.to("greet").on_delete_task_push_notification_config(gone, by())
        receiver.holds.set()
        await office.send("greet", "Bob", id="p", url=receiver.url)
        await receiver.end()

    assert len([one for one in receiver.got if one.id.startswith(task_id)]) == 1


async def test_what_a_daemon_has_left_is_told_by_the_next_one(tmp_path: Path) -> None:
    async with open_office(tmp_path, is_sending=False) as office:
        async with receiving() as receiver:
            url = receiver.url
        task_id = await office.send("greet", "Ann", url=url, token="t0ken")
        await office.desk.house.ended(task_id)
    port = int(url.split(":")[2].split("/")[0])

    async with receiving(port) as receiver, open_office(tmp_path) as office:
        await receiver.end()
        push = await office.settled(task_id)

    assert receiver.taken == ALL_OF_GREET
    assert receiver.got[0].headers["X-A2A-Notification-Token"] == "t0ken"
    assert push.state is PushState.DONE


async def test_a_locked_vault_is_waited_for(tmp_path: Path) -> None:
    pace = Pace(tries=1000, base_s=0.01, cap_s=0.02)
    async with receiving() as receiver:
        async with open_office(tmp_path, is_sending=False) as office:
            task_id = await office.send("greet", "Ann", url=receiver.url, token="t0ken")
        (tmp_path / "vault.key").rename(tmp_path / "away")
        async with open_office(tmp_path, pace=pace) as office:
            push = await office.until(task_id, lambda push: push.tries)
            (tmp_path / "away").rename(tmp_path / "vault.key")
            await receiver.end()

    assert "key" in push.error
    assert {"t0ken"} == {one.headers["X-A2A-Notification-Token"] for one in receiver.got}


async def test_what_was_sealed_is_still_read_after_a_change_of_the_key(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        task_id = await office.send("ask", "x", url=receiver.url, token="t0ken", at_once=False)
        await receiver.count(3)
        await office.vault.rekey()
        await office.desk.send("ask", "red", task_id=task_id)
        await receiver.end()
        sealed = (await office.only(task_id)).sealed

    assert {"t0ken"} == {one.headers["X-A2A-Notification-Token"] for one in receiver.got}
    assert sealed is not None
    assert b"t0ken" not in sealed
    assert b"t0ken" not in (tmp_path / "agency.db").read_bytes()


async def test_without_its_key_a_push_with_secrets_is_not_sent_without_them(
    tmp_path: Path,
) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        task_id = await office.send("ask", "x", url=receiver.url, token="t0ken", at_once=False)
        await receiver.count(3)
        await office.vault.delete(KEY_NAME)
        await office.desk.send("ask", "red", task_id=task_id)
        push = await office.settled(task_id)

    assert len(receiver.got) == 3
    assert push.state is PushState.GIVEN_UP
    assert "set it anew" in push.error


async def test_nobody_is_listened_to_while_nobody_is_to_be_told(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        await office.desk.send("greet", "Ann")
        before = office.sender.is_listening
        task_id = await office.send("ask", "x", url=receiver.url, at_once=False)
        await receiver.count(3)
        meanwhile = office.sender.is_listening
        await office.desk.send("ask", "red", task_id=task_id)
        await office.settled(task_id)
        async with asyncio.timeout(5):
            while office.sender.is_listening:
                await asyncio.sleep(0.01)

    assert (before, meanwhile) == (False, True)


async def test_many_tasks_that_tell_one_host_are_all_told(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path) as office:
        receiver.answer(*[500, 200, 200] * 10)
        started = [office.send("greet", str(number), url=receiver.url) for number in range(24)]
        task_ids = await asyncio.gather(*started)
        pushes = [await office.settled(task_id) for task_id in task_ids]

    by_task = {
        task_id: [
            one.said for one in receiver.got if one.id.startswith(task_id) and one.status == 200
        ]
        for task_id in task_ids
    }
    assert {PushState.DONE} == {push.state for push in pushes}
    assert {tuple(ALL_OF_GREET)} == {tuple(told) for told in by_task.values()}


async def test_what_is_switched_off_is_given_up(tmp_path: Path) -> None:
    async with open_office(tmp_path, is_sending=False) as office:
        task_id = await office.send("ask", "x", url="http://127.0.0.1:9/")
        application = web.Application()
        make_silent(office.store.pushes).open(application)
        runner = web.AppRunner(application)
        await runner.setup()
        push = await office.only(task_id)
        await runner.cleanup()

    assert push.state is PushState.GIVEN_UP


async def test_without_room_to_note_it_a_notification_is_not_sent_again(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path, is_sending=False) as office:
        task_id = await office.send("greet", "Ann", url=receiver.url)
        await office.desk.house.ended(task_id)
        full = FullStore(office.store.pushes, refusals=3)
        async with office.sending(full):
            push = await office.settled(task_id)

    assert ALL_OF_GREET == receiver.taken
    assert (push.state, push.sent, full.refusals) == (PushState.DONE, 4, 0)


class FullStore:
    """Pushes on a disk that has no room for so many writes."""

    def __init__(self, store: PushStore, *, refusals: int) -> None:
        self._store = store
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def note(self, push: Push) -> bool:
        if self.refusals:
            self.refusals -= 1
            raise StoreFull("There is no room.")
        return await self._store.note(push)


@workflow("count")
async def count(ctx: Context, number: int) -> str:
    if number:
        ctx.continue_as(number - 1)
    return "counted"


async def test_task_that_goes_on_as_another_run_is_told_of_to_its_real_end(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path, functions=[count]) as office:
        task_id = await office.send("count", "3", url=receiver.url)
        await receiver.end()
        push = await office.settled(task_id)

    assert ["artifact output", "COMPLETED"] == receiver.taken[-2:]
    assert 1 == receiver.taken.count("COMPLETED")
    assert {task_id} == {one.body[next(iter(one.body))]["taskId"] for one in receiver.got}
    assert (push.state, push.run_id != task_id) == (PushState.DONE, True)


async def test_slow_task_is_told_of_from_its_new_run_too(tmp_path: Path) -> None:
    async with receiving() as receiver, open_office(tmp_path, functions=[count]) as office:
        receiver.holds = asyncio.Event()
        task_id = await office.send("count", "2", url=receiver.url)
        await receiver.count(1)
        await office.desk.ended("count", task_id)
        receiver.holds.set()
        await receiver.end()

    assert 1 == receiver.taken.count("COMPLETED")
    assert receiver.taken[-1] == "COMPLETED"
