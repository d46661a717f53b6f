"""A2A's operations over runs: what is sent, read, listed, cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

from agency import Content, Context, Rejected, bytes_part, link_part, text_part, workflow
from agency.a2a import wire
from agency.a2a.view import task_to
from agency.config.schema import A2a
from agency.core import json
from agency.errors import InvalidInput, MessageUnwanted
from tests.integration.tasks.desk import (
    AT_ONCE,
    by,
    data,
    open_desk,
    request,
    state,
    text,
    texts,
)


@dataclass
class Order:
    sku: str
    count: int = 1


@workflow("echo")
async def echo(_: Context, said: str) -> str:
    return said


@workflow("order")
async def order(ctx: Context, wanted: Order) -> dict[str, Any]:
    size = await ctx.input("Which size?", schema=int)
    ok = await ctx.approve("Ship it?", show={"size": size}, schema=int)
    return {"sku": wanted.sku, "size": ok.value or size, "ok": ok.approved, "by": ok.decided_by}


@workflow("parts")
async def parts(ctx: Context, said: Content) -> Content:
    first = said.parts[0].text
    if first == "refuse":
        raise Rejected("That is not ours to do.")
    if first == "hello":
        return Content(parts=[text_part("Hello.")], is_message=True)
    await ctx.deliver("log", "one ", is_last=False)
    await ctx.deliver("log", "two", append=True)
    await ctx.deliver("old", "old")
    await ctx.deliver("old", "new")
    link = link_part("https://example.com/x", media_type="text/plain", name="x")
    return Content(parts=[*said.parts, bytes_part(b"\x00", media_type="image/png"), link])


@workflow("same")
async def same(_: Context, value: list[Any] | dict[str, Any]) -> Any:
    return value


@workflow("nothing")
async def nothing(_: Context) -> None:
    return None


@workflow("chat")
async def chat(ctx: Context, said: str) -> list[str]:
    heard = [said]
    while heard[-1] != "bye":
        heard.append(await ctx.wait_event("message"))
    return heard


@workflow("slow")
async def slow(ctx: Context, said: str) -> str:
    if said == "event":
        await ctx.wait_event("elsewhere")
    await ctx.sleep(3600)
    return said


@workflow("sign-in")
async def sign_in(ctx: Context) -> str:
    await ctx.authorize("Sign in.", url="https://bank.example/in")
    return "in"


@workflow("both")
async def both(ctx: Context) -> list[Any]:
    return list(
        await ctx.gather(ctx.input("First?", name="first"), ctx.input("Second?", name="second"))
    )


@workflow("breaks")
async def breaks(ctx: Context) -> None:
    raise ZeroDivisionError("That went wrong.")


@workflow("counts")
async def counts(ctx: Context, number: int) -> None:
    if number:
        ctx.continue_as(number - 1)


@workflow("spins")
async def spins(ctx: Context, number: int) -> None:
    ctx.continue_as(number + 1)


ALL = (echo, order, parts, same, nothing, chat, slow, sign_in, both, breaks, counts, spins)


def asked(task: pb.Task) -> dict[str, Any]:
    """What is asked, as a program reads it."""
    (found,) = [part for part in MessageToDict(task.status.message)["parts"] if "data" in part]
    return dict(found["data"])


def artifacts(task: pb.Task) -> dict[str, Any]:
    made = MessageToDict(task).get("artifacts", [])
    return {one["artifactId"]: one["parts"] for one in made}


async def test_task_goes_through_questions_to_its_end_over_restarts(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("order", data({"sku": "x"}), context_id="c")
        assert ("input_required", "c") == (state(task), task.context_id)
        assert {
            "wait": "input#1",
            "kind": "input",
            "prompt": "Which size?",
            "schema": {"type": "integer"},
        } == asked(task)

    async with open_desk(tmp_path, *ALL) as desk:
        with pytest.raises(InvalidInput, match="fits its schema"):
            await desk.send("order", "large", task_id=task.id)
        task = await desk.send("order", "42", task_id=task.id, context_id="c")
        assert ("input_required", "Ship it?") == (
            state(task),
            texts(task.status.message.parts)[0],
        )
        assert ["approve", "deny"] == asked(task)["options"]

    async with open_desk(tmp_path, *ALL) as desk:
        with pytest.raises(InvalidInput, match="yes or no"):
            await desk.send("order", "perhaps", task_id=task.id)
        decision = data({"decision": "approve", "edited": 43, "comment": "larger"})
        task = await desk.send("order", decision, task_id=task.id)
        assert "completed" == state(task)
        assert {"output": [{"data": {"sku": "x", "size": 43, "ok": True, "by": "ann"}}]} == (
            artifacts(task)
        )
        assert [
            ("ROLE_USER", ""),
            ("ROLE_AGENT", "Which size?"),
            ("ROLE_USER", "42"),
            ("ROLE_AGENT", "Ship it?"),
            ("ROLE_USER", ""),
        ] == [
            (pb.Role.Name(one.role), "".join(texts(one.parts)))
            for one in (await desk.get("order", task.id)).history
        ]
        assert {task.id} == {one.task_id for one in task.history}
        assert task.metadata["runId"] == task.id


@pytest.mark.parametrize("words", ["yes", "Approve.", " OK! "], ids=["yes", "approve", "ok"])
async def test_plain_words_decide(tmp_path: Path, words: str) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("order", "x")
        task = await desk.send("order", "1", task_id=task.id)
        task = await desk.send("order", words, task_id=task.id)

        assert artifacts(task)["output"][0]["data"]["ok"] is True


async def test_artifacts_are_what_was_handed_out_and_the_output(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        raw = pb.Part(raw=b"\x01", media_type="image/gif", filename="a.gif")
        task = await desk.send("parts", text("go", metadata={"n": 1}), raw, data([1, 2.5, None]))

        assert {
            "log": [{"text": "one "}, {"text": "two"}],
            "old": [{"text": "new"}],
            "output": [
                {"text": "go", "metadata": {"n": 1}},
                {"raw": "AQ==", "mediaType": "image/gif", "filename": "a.gif"},
                {"data": [1, 2.5, None]},
                {"raw": "AA==", "mediaType": "image/png"},
                {"url": "https://example.com/x", "mediaType": "text/plain", "filename": "x"},
            ],
        } == artifacts(task)


async def test_contents_beyond_the_bound_are_linked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.storage.sqlite.tasks.CONTENTS_BYTES_MAX", 1)
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("parts", "go")
        (_, second) = artifacts(task)["log"]

        path, _, query = second["url"].partition("?")
        assert f"http://desk.example/api/v1/runs/{task.id}/steps" == path
        after = int(query.partition("=")[2].partition("&")[0])
        (entry,) = await desk.house.runs.entries(task.id, after=after, limit=1)
        assert "content/log#2" == entry.key


@pytest.mark.parametrize(
    "value",
    [{"content": [{"kind": "bytes", "base64": "?"}]}, {"content": [{"kind": "odd"}]}],
    ids=["base64", "kind"],
)
async def test_output_that_only_looks_like_content_is_data(tmp_path: Path, value: Any) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("same", data(value))

        assert {"output": [{"data": value}]} == artifacts(task)


async def test_deep_output_is_written_as_text(tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("same", json.encode(value).decode())

        (part,) = artifacts(task)["output"]
        assert ("application/json", value) == (part["mediaType"], json.decode(part["text"]))
        assert task == pb.Task.FromString(task.SerializeToString())


async def test_much_is_written_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(*given: Any, **more: Any) -> pb.Task:
        threads.append(threading.current_thread())
        return task_to(*given, **more)

    monkeypatch.setattr("agency.a2a.view.task_to", noted)
    async with open_desk(tmp_path, *ALL) as desk:
        small = await desk.send("same", data([1]))
        large = await desk.send("same", data([1] * 2_000))
        written = [await wire.apart(one, wire.write) for one in (small, large)]

    here = threading.current_thread()
    assert [True, False] == [one is here for one in threads]
    assert [1, 2_000] == [len(one["artifacts"][0]["parts"][0]["data"]) for one in written]


async def test_answer_that_is_no_work_is_a_message(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        answer = await desk.to("parts").on_message_send(request("hello"), by())

        assert isinstance(answer, pb.Message)
        assert ["Hello."] == texts(answer.parts)
        assert pb.ROLE_AGENT == answer.role
        assert answer.message_id


async def test_ends_are_told_as_what_they_are(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        rejected = await desk.send("parts", "refuse")
        failed = await desk.send("breaks", "go")
        empty = await desk.send("nothing", "go")
        counted = await desk.send("counts", "2")

        assert ("rejected", ["That is not ours to do."], "rejected") == (
            state(rejected),
            texts(rejected.status.message.parts),
            rejected.status.message.metadata["errorCode"],
        )
        assert ("failed", ["That went wrong."]) == (
            state(failed),
            texts(failed.status.message.parts),
        )
        assert ("completed", {}) == (state(empty), artifacts(empty))
        # It has gone on as another run, twice.
        again = await desk.send("counts", "2", message_id="again")
        assert again.id == (await desk.send("counts", "2", message_id="again")).id
        assert "completed" == state(counted)
        assert counted.id != counted.metadata["runId"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        pytest.param("order", [pb.Part(raw=b"x", media_type="image/png")], id="bytes"),
        pytest.param("order", [data({"sku": "x"}), data({"sku": "y"})], id="two data parts"),
        pytest.param("order", [data({"sku": "x"}), "and more"], id="text beside data"),
        pytest.param("order", [data({"count": 1})], id="member missing"),
        pytest.param("order", [data(17)], id="other type"),
        pytest.param("counts", ["many"], id="no number"),
        pytest.param("echo", [pb.Part()], id="empty part"),
        pytest.param("echo", [], id="no part"),
    ],
)
async def test_message_that_cannot_be_the_input_is_refused_and_starts_nothing(
    tmp_path: Path, target: str, said: list[Any]
) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        with pytest.raises(InvalidInput) as refused:
            await desk.send(target, *said)

        assert all(fault.where.startswith("/") for fault in refused.value.faults)
        assert {} == await desk.house.store.runs.count_by_status()


@pytest.mark.parametrize(
    ("target", "said", "sku"),
    [
        pytest.param("order", ["x"], "x", id="sole member"),
        pytest.param("order", ['{"sku": "y", "count": 2}'], "y", id="JSON"),
        pytest.param("order", [data({"count": 2}), "z"], "z", id="text beside data"),
    ],
)
async def test_text_is_understood_by_the_schema(
    tmp_path: Path, target: str, said: list[Any], sku: str
) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send(target, *said)

        assert sku == (await desk.house.runs.get(task.id)).run.input["sku"]


async def test_same_message_is_the_same_task(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        again = request("once", message_id="m", configuration=AT_ONCE)
        answers = await asyncio.gather(
            *(desk.to("echo").on_message_send(again, by()) for _ in range(20))
        )
        (task_id,) = {one.id for one in answers if isinstance(one, pb.Task)}
        assert {"completed": 1} == await desk.house.store.runs.count_by_status() or (
            await desk.house.ended(task_id)
        )
        with pytest.raises(InvalidInput, match="used for another message"):
            await desk.send("echo", "twice", message_id="m")
        other = await desk.send("echo", "once", message_id="m", caller="ben")
        assert task_id != other.id

    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("echo", "once", message_id="m")
        assert (task_id, "completed") == (task.id, state(task))

    async with open_desk(tmp_path, *ALL, a2a=A2a(message_ids_count_once=False)) as desk:
        task = await desk.send("echo", "once", message_id="m2")
        assert task.id != (await desk.send("echo", "twice", message_id="m2")).id


async def test_message_is_told_with_all_that_it_had(tmp_path: Path) -> None:
    more = {"extensions": ["urn:x"], "reference_task_ids": ["t1"]}
    async with open_desk(tmp_path, *ALL) as desk:
        sent = request("hi", metadata={"n": [1, {"deep": None}]}, **more)
        task = await desk.to("echo").on_message_send(sent, by())
        assert isinstance(task, pb.Task)
        with pytest.raises(InvalidInput, match="at most 100"):
            await desk.send("echo", "hi", extensions=["urn:x"] * 101)
    async with open_desk(tmp_path, *ALL) as desk:
        (said,) = (await desk.get("echo", task.id)).history

    sent.message.task_id, sent.message.context_id = task.id, task.context_id
    assert sent.message == said


async def test_answer_that_comes_twice_counts_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("order", "x")
        again = request("5", message_id="answer", task_id=task.id)
        answers = await asyncio.gather(
            *(desk.to("order").on_message_send(again, by()) for _ in range(5))
        )

        assert {"Ship it?"} == {
            texts(one.status.message.parts)[0] for one in answers if isinstance(one, pb.Task)
        }
        with pytest.raises(InvalidInput, match="used for another message"):
            await desk.send("order", "6", message_id="answer", task_id=task.id)


async def test_one_of_several_questions_is_answered_by_its_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("both", "go")
        assert ["First?", "Second?"] == texts(task.status.message.parts)
        with pytest.raises(InvalidInput, match="Nothing waits for"):
            await desk.send("both", "x", task_id=task.id, metadata={"wait": "third"})
        named = data({"wait": "second", "value": 2})
        task = await desk.send("both", named, task_id=task.id)
        assert ["First?"] == texts(task.status.message.parts)
        task = await desk.send("both", "1", task_id=task.id)

        assert {"output": [{"data": ["1", 2]}]} == artifacts(task)


async def test_authorization_is_asked_for_as_such(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("sign-in", "go")
        assert ("auth_required", "https://bank.example/in") == (state(task), asked(task)["url"])
        task = await desk.send("sign-in", "done", task_id=task.id)

        assert {"output": [{"text": "in"}]} == artifacts(task)


async def test_messages_reach_a_workflow_that_takes_them(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("chat", "hi")
        assert "input_required" == state(task)
        task = await desk.send("chat", "how", task_id=task.id)
        task = await desk.send("chat", "bye", task_id=task.id)

        assert {"output": [{"data": ["hi", "how", "bye"]}]} == artifacts(task)
        assert ["hi", "how", "bye"] == [
            texts(one.parts)[0] for one in task.history if one.role == pb.ROLE_USER
        ]


async def test_message_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        working = await desk.send("slow", "timer", configuration=AT_ONCE)
        done = await desk.send("echo", "x")

        with pytest.raises(MessageUnwanted):
            await desk.send("slow", "more", task_id=working.id)
        with pytest.raises(UnsupportedOperationError):
            await desk.send("echo", "more", task_id=done.id)
        with pytest.raises(InvalidInput, match="context"):
            await desk.send("slow", "more", task_id=working.id, context_id="other")
        with pytest.raises(TaskNotFoundError):
            await desk.send("echo", "more", task_id="nobody")


async def test_task_that_waits_for_no_caller_works(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL, sync_wait_s=0.2) as desk:
        timer = await desk.send("slow", "timer")
        event = await desk.send("slow", "event")

        assert ("working", True) == (
            state(timer),
            "waits until" in timer.status.message.parts[0].text,
        )
        assert ("working", ["It waits for an event: elsewhere."]) == (
            state(event),
            texts(event.status.message.parts),
        )


async def test_anothers_task_looks_absent(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("order", "x")
        to, ben = desk.to("order"), by("ben")
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: to.on_get_task(pb.GetTaskRequest(id=task.id), ben),
            lambda: to.on_cancel_task(pb.CancelTaskRequest(id=task.id), ben),
            lambda: anext(to.on_subscribe_to_task(pb.SubscribeToTaskRequest(id=task.id), ben)),
            lambda: to.on_message_send(request("1", task_id=task.id), ben),
            lambda: anext(to.on_message_send_stream(request("1", task_id=task.id), ben)),
            # Nor is it found where another is spoken to.
            lambda: desk.to("echo").on_get_task(pb.GetTaskRequest(id=task.id), by()),
            lambda: to.on_get_task(pb.GetTaskRequest(id="nobody"), by()),
        ]
        for call in calls:
            with pytest.raises(TaskNotFoundError):
                await call()
        for caller, name in (("ben", "order"), ("ann", "echo")):
            listed = await desk.to(name).on_list_tasks(pb.ListTasksRequest(), by(caller))
            assert (0, []) == (listed.total_size, list(listed.tasks))
        assert "input_required" == state(await desk.get("order", task.id))


async def test_cancelled_task_says_so_and_is_cancelled_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("order", "x")
        to = desk.to("order")
        cancelled = await to.on_cancel_task(pb.CancelTaskRequest(id=task.id), by())

        assert "canceled" == state(cancelled)
        with pytest.raises(TaskNotCancelableError):
            await to.on_cancel_task(pb.CancelTaskRequest(id=task.id), by())
        with pytest.raises(UnsupportedOperationError):
            await desk.send("order", "1", task_id=task.id)


async def test_task_that_goes_on_as_other_runs_is_cancelled(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        to = desk.to("spins")
        for _ in range(10):
            # It is mostly another run by then than it was when it was read.
            task = await desk.send("spins", data(0), configuration=AT_ONCE)
            cancelled = await to.on_cancel_task(pb.CancelTaskRequest(id=task.id), by())
            assert "canceled" == state(cancelled)


async def test_list_has_pages_and_filters(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        ids = [(await desk.send("parts", f"t{i}", context_id=f"c{i % 2}")).id for i in range(5)]
        refused = (await desk.send("parts", "refuse")).id
        to = desk.to("parts")

        seen: list[str] = []
        token = ""
        while True:
            asks = pb.ListTasksRequest(page_size=2, page_token=token)
            page = await to.on_list_tasks(asks, by())
            assert (6, 2) == (page.total_size, page.page_size)
            seen += [one.id for one in page.tasks]
            token = page.next_page_token
            if not token:
                break
        assert [refused, *reversed(ids)] == seen

        asks = pb.ListTasksRequest(context_id="c1", include_artifacts=True, history_length=0)
        page = await to.on_list_tasks(asks, by())
        assert [ids[3], ids[1]] == [one.id for one in page.tasks]
        assert {(3, 0)} == {(len(one.artifacts), len(one.history)) for one in page.tasks}
        page = await to.on_list_tasks(pb.ListTasksRequest(status=pb.TASK_STATE_REJECTED), by())
        assert [(refused, 0)] == [(one.id, len(one.artifacts)) for one in page.tasks]
        for wrong in (
            {"page_size": 0},
            {"page_size": 101},
            {"page_token": "x"},
            {"history_length": -1},
            {"status": 99},
            {"status_timestamp_after": {"seconds": 10**17}},
        ):
            with pytest.raises(InvalidInput):
                await to.on_list_tasks(pb.ListTasksRequest(**wrong), by())


@pytest.mark.parametrize(("length", "expected"), [(None, 3), (0, 0), (1, 1), (9, 3)])
async def test_history_is_as_long_as_asked_for(
    tmp_path: Path, length: int | None, expected: int
) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("sign-in", "go")
        asks: dict[str, Any] = {} if length is None else {"history_length": length}
        task = await desk.send("sign-in", "done", task_id=task.id, configuration=asks)
        read = await desk.get("sign-in", task.id, **asks)

        assert (expected, expected) == (len(task.history), len(read.history))
        assert "done" == texts(read.history[-1].parts)[0] if expected else True


async def test_data_is_written_as_text_for_whoever_takes_only_that(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        for modes, said, expected in (
            (["text/plain"], data({"a": 1}), {"text": '{"a":1}', "mediaType": "application/json"}),
            (["application/json"], text("x"), {"data": "x"}),
            (["image/png"], text("x"), {"text": "x"}),
        ):
            asks = {"accepted_output_modes": modes}
            task = await desk.send("parts", said, configuration=asks)
            assert expected == artifacts(task)["output"][0]


async def test_parts_of_other_types_are_refused_where_that_is_switched_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL, a2a=A2a(check_input_modes=True)) as desk:
        with pytest.raises(ContentTypeNotSupportedError):
            await desk.send("echo", text("x", media_type="text/x-odd"))
        assert "completed" == state(await desk.send("echo", text("x", media_type="text/plain")))


async def test_push_is_refused_where_there_is_none(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        asks = {"task_push_notification_config": {"url": "https://example.com"}}
        with pytest.raises(PushNotificationNotSupportedError):
            await desk.send("echo", "x", configuration=asks)

        assert {} == await desk.house.store.runs.count_by_status()
