"""Topics over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.engine.topics import check_topic
from agency.errors import InvalidInput
from tests.integration.api.conftest import Answer, Daemon
from tests.integration.api.test_approvals import output_of, start
from tests.integration.api.test_documents import check

PATH = "/api/v1/topics"


async def publish(daemon: Daemon, topic: str, **body: Any) -> Answer:
    return await daemon.ask("POST", f"{PATH}/{topic}/events", json=body)


async def test_an_event_reaches_a_run_that_waits_for_its_topic(daemon: Daemon) -> None:
    run_id = await start(daemon, "follows", "eu")

    other = await publish(daemon, "prices", name="price", payload={"region": "us", "price": 1})
    fitting = await publish(daemon, "prices", name="price", payload={"region": "eu", "price": 2})

    assert (other.status, fitting.status) == (202, 202)
    assert fitting.headers["Location"] == f"{PATH}/prices"
    assert await output_of(daemon, run_id) == {"region": "eu", "price": 2}


async def test_an_event_that_came_before_is_kept(daemon: Daemon) -> None:
    await publish(daemon, "prices", name="price", payload={"region": "eu", "price": 2})

    answer = await daemon.ask(
        "POST",
        "/api/v1/runs",
        json={"workflow": "follows", "input": "eu"},
        headers={"Prefer": "wait=5"},
    )

    assert answer.json["output"] == {"region": "eu", "price": 2}


async def test_a_broadcast_reaches_all(daemon: Daemon) -> None:
    runs = [await start(daemon, "follows", "eu") for _ in range(5)]

    payload = {"region": "eu", "price": 3}
    await publish(daemon, "prices", name="price", payload=payload, mode="broadcast")

    outputs = await asyncio.gather(*(output_of(daemon, run_id) for run_id in runs))
    assert outputs == [payload] * 5


async def test_the_same_event_counts_once(daemon: Daemon) -> None:
    by_id = [await publish(daemon, "t", payload=1, event_id="e") for _ in range(2)]
    headers = {"Idempotency-Key": "k"}
    by_key = [
        await daemon.ask("POST", f"{PATH}/t/events", json={"payload": 2}, headers=headers)
        for _ in range(2)
    ]

    assert [answer.json["is_new"] for answer in (*by_id, *by_key)] == [True, False, True, False]
    assert by_key[0].json["event_id"] == by_key[1].json["event_id"]
    assert (await daemon.ask("GET", f"{PATH}/t")).json["events"] == 2


async def test_topics_are_listed_by_name(daemon: Daemon) -> None:
    for topic in ("b", "a", "ä/ö"):
        path = topic.replace("/", "%2F")
        assert (await publish(daemon, path, payload=1)).status == 202
    await start(daemon, "follows", "eu")

    first = (await daemon.ask("GET", f"{PATH}?limit=2")).json
    second = (await daemon.ask("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}")).json

    assert [topic["topic"] for topic in first["topics"]] == ["a", "b"]
    assert [topic["topic"] for topic in second["topics"]] == ["prices", "ä/ö"]
    assert second["next_cursor"] is None
    assert [(t["events"], t["waits"]) for t in second["topics"]] == [(0, 1), (1, 0)]
    assert (await daemon.ask("GET", second["topics"][1]["links"]["self"])).status == 200


async def test_events_are_listed_newest_first(daemon: Daemon) -> None:
    for i in range(3):
        await publish(daemon, "t", name=f"n{i}", payload=i)

    first = (await daemon.ask("GET", f"{PATH}/t/events?limit=2")).json
    rest = (await daemon.ask("GET", f"{PATH}/t/events?cursor={first['next_cursor']}")).json

    assert [event["payload"] for event in (*first["events"], *rest["events"])] == [2, 1, 0]


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "multicast"},
        {"name": ""},
        {"keep_s": 0},
        {"keep_s": 1e12},
        {"event_id": "\n"},
        {"other": 1},
    ],
)
async def test_an_event_that_cannot_be_used_is_refused(
    daemon: Daemon, body: dict[str, Any]
) -> None:
    answer = await publish(daemon, "t", **body)

    assert answer.status == 422
    assert (await daemon.ask("GET", f"{PATH}/t")).status == 404


async def test_what_cannot_be_a_topic_is_refused_and_not_found(daemon: Daemon) -> None:
    for topic in ("x" * 257, "a%0Ab"):
        refused = await publish(daemon, topic, payload=1)

        assert (refused.status, refused.json["code"]) == (422, "invalid_input")
        assert refused.json["errors"][0]["pointer"] == "/topic"
        assert (await daemon.ask("GET", f"{PATH}/{topic}")).status == 404


@pytest.mark.parametrize("topic", [".", ".."])
def test_a_topic_is_not_what_is_taken_out_of_addresses(topic: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be used"):
        check_topic(topic)


async def test_answers_have_the_documented_shapes(daemon: Daemon) -> None:
    document = (await daemon.ask("GET", "/openapi.json")).json
    published = (await publish(daemon, "t", payload=1)).json
    topic = (await daemon.ask("GET", f"{PATH}/t")).json
    event = (await daemon.ask("GET", f"{PATH}/t/events")).json["events"][0]

    for value, shape in (
        (published, "PublishedAnswer"),
        (topic, "TopicAnswer"),
        (event, "TopicEventAnswer"),
    ):
        check(value, {"$ref": f"#/components/schemas/{shape}"}, document)
