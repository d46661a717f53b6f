"""The model server is killed and comes back: what needs it waits, says so, and then goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.daemons import Daemon, ModelServer, Place, place_in
from tests.crash.driver import RUNS, until
from tests.crash.witness import check_effects, read_effects, read_left

AWAY_S = 3.0
AWAY_SOAK_S = 10.0
RETURN_S = 5.0
"""A run goes on within this time of the server's return."""
RUNS_AT_ONCE = 12
PIECE_S = 0.3
"""Pause before each line of an answer: a call lasts more than a second."""


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[ModelServer]:
    server = ModelServer(tmp_path)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def place(tmp_path: Path, model: ModelServer) -> AsyncIterator[Place]:
    """A place whose daemons ask the played model server, which is running."""
    model.start(piece_delay_s=PIECE_S)
    async with place_in(
        tmp_path / "place",
        AGENCY_LLM__PROVIDER="ollama",
        AGENCY_LLM__BASE_URL=model.url,
    ) as found:
        yield found


async def test_run_waits_for_a_killed_model_server_and_completes_by_itself(
    place: Place, model: ModelServer
) -> None:
    await _go_through_outage(place, model, AWAY_S)


@pytest.mark.soak
async def test_run_waits_out_ten_seconds_without_a_model_server(
    place: Place, model: ModelServer
) -> None:
    await _go_through_outage(place, model, AWAY_SOAK_S)


async def _go_through_outage(place: Place, model: ModelServer, away_s: float) -> None:
    daemon = await place.start()
    run_id = await _say(daemon, "during")
    await model.asked(1)
    model.kill()
    waiting = await until(daemon, run_id, lambda run: run["status"] == "suspended")
    health = await daemon.get("/health")
    # The outage itself, as long as the promise names it.
    await asyncio.sleep(away_s)
    still = await daemon.get(f"{RUNS}/{run_id}")

    model.start()
    back_s = time.monotonic()
    run = await until(daemon, run_id)

    assert time.monotonic() - back_s <= RETURN_S
    assert [wait["kind"] for wait in waiting["waits"]] == ["resource"]
    assert waiting["waits"][0]["show"]["reason"] != ""
    assert still["status"] == "suspended"
    assert health["status"] == "degraded"
    assert health["llm"]["reachable"] is False
    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert run["output"]["response"] == "answer to: during"


async def test_call_that_the_server_dies_in_is_repeated(place: Place, model: ModelServer) -> None:
    """The server is back before anybody has looked: the call died, the server did not stay away."""
    daemon = await place.start()
    run_id = await _say(daemon, "again")
    await model.asked(1)

    model.kill()
    model.start()
    run = await until(daemon, run_id)

    assert (run["status"], run["attempt"]) == ("completed", 1)
    assert run["output"]["response"] == "answer to: again"
    assert len(model.chats()) == 2


async def test_daemon_started_without_its_model_server_waits_for_it(
    place: Place, model: ModelServer
) -> None:
    model.kill()
    daemon = await place.start()
    answer = await daemon.ask(
        "POST",
        "/api/v1/agent/process",
        {"message": "early"},
        headers={"Prefer": "wait=1"},
    )
    run_id = answer.body["run_id"]
    waiting = await until(daemon, run_id, lambda run: run["status"] == "suspended")

    model.start()
    back_s = time.monotonic()
    run = await until(daemon, run_id)

    assert time.monotonic() - back_s <= RETURN_S
    assert answer.status == 202
    assert [wait["kind"] for wait in waiting["waits"]] == ["resource"]
    assert run["status"] == "completed"


async def test_waiting_run_survives_a_kill_of_the_daemon_and_the_outage(
    place: Place, model: ModelServer
) -> None:
    daemon = await place.start()
    run_id = await _say(daemon, "both")
    await model.asked(1)
    model.kill()
    await until(daemon, run_id, lambda run: run["status"] == "suspended")
    daemon.kill()
    await daemon.wait_ended()

    again = await place.start()
    waiting = await again.get(f"{RUNS}/{run_id}")
    model.start()
    back_s = time.monotonic()
    run = await until(again, run_id)

    assert time.monotonic() - back_s <= RETURN_S
    assert [wait["kind"] for wait in waiting["waits"]] == ["resource"]
    assert (run["status"], run["attempt"]) == ("completed", 1)


async def test_stop_under_load_puts_runs_back_names_them_and_they_go_on(place: Place) -> None:
    place.environ["AGENCY_SERVER__GRACE_S"] = "0.3"
    daemon = await place.start()
    told = [await _say(daemon, f"talk {number}") for number in range(2)]
    worked = [
        (await daemon.post(RUNS, {"workflow": "crash-long", "input": 40}))["id"]
        for _ in range(RUNS_AT_ONCE)
    ]
    # The first runs have recorded something, and none can have ended.
    await until(daemon, worked[-1], lambda run: run["steps_executed"] > 0)

    daemon.stop()
    code = await daemon.wait_ended()
    left = read_left(place.database, boot=1)
    drained = next(line for line in daemon.messages() if line["message"] == "drained")

    again = await place.start()
    runs = [await until(again, run_id) for run_id in [*told, *worked]]

    assert code == 0, daemon.log.read_text()
    assert set(drained["run_ids"]) >= set(worked)
    assert {left.runs[run_id] for run_id in worked} == {"pending"}
    assert "running" not in left.runs.values()
    assert [(run["status"], run["attempt"]) for run in runs] == [("completed", 1)] * len(runs)
    check_effects(read_effects(place.effects), [left])


async def _say(daemon: Daemon, message: str) -> str:
    run = await daemon.post(RUNS, {"workflow": "agent", "input": {"message": message}})
    run_id: str = run["id"]
    return run_id
