"""`/api/v1/schedules` over a real socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.api.conftest import Answer, Daemon, Serve
from tests.integration.api.test_documents import check

PATH = "/api/v1/schedules"
NIGHTLY: dict[str, Any] = {"workflow": "echo", "cron": "30 2 * * *", "zone": "Europe/Berlin"}


async def put(daemon: Daemon, name: str = "nightly", **changes: Any) -> Answer:
    return await daemon.ask("PUT", f"{PATH}/{name}", json={**NIGHTLY, **changes})


async def test_schedule_is_made_once_and_put_again_without_effect(daemon: Daemon) -> None:
    made = await put(daemon, input={"a": 1}, tags={"team": "blue"})
    again = await put(daemon, input={"a": 1}, tags={"team": "blue"})
    changed = await put(daemon, input={"a": 2})

    assert (201, f"{PATH}/nightly") == (made.status, made.headers["Location"])
    assert (200, made.json) == (again.status, again.json)
    assert (200, 2, {"a": 2}) == (changed.status, changed.json["generation"], changed.json["input"])
    assert made.json["next_at"] is not None
    assert ("once", "skip", False) == (
        made.json["catch_up"],
        made.json["overlap"],
        made.json["paused"],
    )


async def test_answers_have_the_documented_shapes(daemon: Daemon) -> None:
    document = (await daemon.ask("GET", "/openapi.json")).json
    await put(daemon)
    await daemon.ask("POST", f"{PATH}/nightly/run")

    for template, path in (
        (PATH, PATH),
        (PATH + "/{name}", f"{PATH}/nightly"),
        (PATH + "/{name}/next", f"{PATH}/nightly/next"),
        (PATH + "/{name}/firings", f"{PATH}/nightly/firings"),
    ):
        answer = await daemon.ask("GET", path)
        media = document["paths"][template]["get"]["responses"]["200"]["content"]
        check(answer.json, media["application/json"]["schema"], document)
    listed = (await daemon.ask("GET", f"{PATH}/nightly/firings")).json["firings"][0]
    check(listed, {"$ref": "#/components/schemas/FiringAnswer"}, document)


async def test_schedules_are_listed_in_pages(daemon: Daemon) -> None:
    for name in ("c", "a", "b"):
        await put(daemon, name)
    await put(daemon, "d", workflow="asks")

    first = (await daemon.ask("GET", f"{PATH}?limit=2")).json
    second = (await daemon.ask("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}")).json
    own = (await daemon.ask("GET", f"{PATH}?workflow=asks")).json

    names = [one["name"] for page in (first, second) for one in page["schedules"]]
    assert ["a", "b", "c", "d"] == names
    assert second["next_cursor"] is None
    assert ["d"] == [one["name"] for one in own["schedules"]]
    assert "input" not in first["schedules"][0]


async def test_interval_fires_by_itself_and_shows_it(daemon: Daemon) -> None:
    await put(daemon, "fast", cron=None, zone="UTC", interval_s=1, input=5)

    async with asyncio.timeout(10):
        while not (firings := (await daemon.ask("GET", f"{PATH}/fast/firings")).json["firings"]):
            await asyncio.sleep(0.1)  # the daemon tells nobody of a firing

    run = await daemon.ask("GET", firings[-1]["links"]["run"], headers={"Prefer": "wait=5"})
    assert ("fired", 5) == (firings[-1]["outcome"], run.json["output"])


async def test_paused_schedule_says_why_and_is_resumed(daemon: Daemon) -> None:
    await put(daemon)

    paused = await daemon.ask("POST", f"{PATH}/nightly/pause", json={"reason": "holidays"})
    resumed = await daemon.ask("POST", f"{PATH}/nightly/resume")
    bare = await daemon.ask("POST", f"{PATH}/nightly/pause")

    assert (200, True, "holidays") == (
        paused.status,
        paused.json["paused"],
        paused.json["pause_reason"],
    )
    assert (200, False, None) == (
        resumed.status,
        resumed.json["paused"],
        resumed.json["pause_reason"],
    )
    assert (200, True) == (bare.status, bare.json["paused"])


async def test_run_by_hand_is_accepted_once_for_a_key(daemon: Daemon) -> None:
    await put(daemon, input="hello")
    headers = {"Idempotency-Key": "k-1"}

    first = await daemon.ask("POST", f"{PATH}/nightly/run", headers=headers)
    again = await daemon.ask("POST", f"{PATH}/nightly/run", headers=headers)
    run = await daemon.ask("GET", first.headers["Location"], headers={"Prefer": "wait=5"})

    assert (202, 202) == (first.status, again.status)
    assert first.json["id"] == again.json["id"]
    assert "true" == again.headers["Idempotency-Replayed"]
    assert "hello" == run.json["output"]
    firings = (await daemon.ask("GET", f"{PATH}/nightly/firings")).json["firings"]
    assert [("manual", first.json["id"])] == [(one["outcome"], one["run_id"]) for one in firings]


async def test_next_moments_go_by_the_clocks_of_the_zone(daemon: Daemon) -> None:
    await put(daemon, starts_at="2027-03-27T00:00:00+01:00")

    answer = await daemon.ask("GET", f"{PATH}/nightly/next?count=3")

    assert [
        "2027-03-27T01:30:00.000000Z",
        "2027-03-28T01:00:00.000000Z",
        "2027-03-29T00:30:00.000000Z",
    ] == answer.json["next"]


async def test_deleted_schedule_is_gone(daemon: Daemon) -> None:
    await put(daemon)

    gone = await daemon.ask("DELETE", f"{PATH}/nightly")
    again = await daemon.ask("DELETE", f"{PATH}/nightly")

    assert (200, {"name": "nightly", "deleted": True}) == (gone.status, gone.json)
    assert (404, "schedule_not_found") == (again.status, again.json["code"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/x"),
        ("POST", "/x/pause"),
        ("POST", "/x/resume"),
        ("POST", "/x/run"),
        ("GET", "/x/next"),
        ("GET", "/x/firings"),
        ("GET", "/%20"),
        ("GET", "/" + "x" * 500),
    ],
)
async def test_unknown_schedule_is_404(daemon: Daemon, method: str, path: str) -> None:
    answer = await daemon.ask(method, PATH + path)

    assert (404, "schedule_not_found") == (answer.status, answer.json["code"])


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"cron": "61 * * * *"}, "/cron"),
        ({"cron": ""}, "/cron"),
        ({"cron": 5}, "/cron"),
        ({"cron": None}, "/cron"),
        ({"interval_s": 5}, "/interval_s"),
        ({"interval_s": 0}, "/interval_s"),
        ({"interval_s": True}, "/interval_s"),
        ({"zone": "Europe/Berln"}, "/zone"),
        ({"catch_up": "sometimes"}, "/catch_up"),
        ({"overlap": 1}, "/overlap"),
        ({"starts_at": "tomorrow"}, "/starts_at"),
        ({"starts_at": "1900-01-01T00:00:00Z"}, "/starts_at"),
        ({"ends_at": "9999-12-31T23:59:59+00:00"}, "/ends_at"),
        ({"jitter_s": -1}, "/jitter_s"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"queue": "a b"}, "/queue"),
        ({"tags": {"": "x"}}, "/tags/"),
        ({"every": "day"}, "/every"),
        ({"workflow": "number", "input": "x"}, "/input"),
    ],
)
async def test_bad_schedule_is_422_and_says_where(
    daemon: Daemon, changes: dict[str, Any], pointer: str
) -> None:
    answer = await put(daemon, **changes)

    assert 422 == answer.status
    assert any(fault["pointer"].startswith(pointer) for fault in answer.json["errors"])
    assert 404 == (await daemon.ask("GET", f"{PATH}/nightly")).status


async def test_misspelt_zone_is_answered_with_a_hint(daemon: Daemon) -> None:
    answer = await put(daemon, zone="Europe/Berln")

    assert "Did you mean 'Europe/Berlin'?" == answer.json["errors"][0]["hint"]


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 129, "%C3%A4"])
async def test_bad_name_is_422(daemon: Daemon, name: str) -> None:
    answer = await put(daemon, name)

    assert (422, "name") == (answer.status, answer.json["errors"][0]["pointer"])


async def test_unknown_workflow_is_404(daemon: Daemon) -> None:
    answer = await put(daemon, workflow="nothing")

    assert (404, "workflow_not_found") == (answer.status, answer.json["code"])


async def test_stopping_daemon_takes_no_schedule(daemon: Daemon) -> None:
    await put(daemon)
    daemon.is_stopping = True

    answers = [await put(daemon, priority=1), await daemon.ask("POST", f"{PATH}/nightly/run")]

    assert [503, 503] == [answer.status for answer in answers]


async def test_full_disk_takes_no_schedule(serve: Serve) -> None:
    daemon = await serve(free_bytes_min=1 << 60)

    answer = await put(daemon)

    assert (507, "store_full") == (answer.status, answer.json["code"])
