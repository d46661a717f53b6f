"""A conversation is killed at its commits and while the model answers, and loses no turn."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.daemons import Daemon, Died, ModelServer, Place, place_in
from tests.crash.driver import RUNS, until
from tests.crash.shim import Shim, read_count
from tests.crash.story import all_of
from tests.crash.witness import Left, read_left

SAMPLE = 3
TURNS = ("one", "two", "three")
PIECE_S = 0.1
"""Pause before each of the four lines of an answer: a call lasts long enough to be hit."""
REPLY = "reply#1"


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[ModelServer]:
    server = ModelServer(tmp_path)
    server.start(piece_delay_s=PIECE_S)
    try:
        yield server
    finally:
        server.kill()


async def test_conversation_killed_at_sampled_commits_goes_on(
    tmp_path: Path, library: Path, model: ModelServer, seed: int
) -> None:
    syncs = await _count_syncs(tmp_path / "whole", library, model)

    points = random.Random(seed).sample(range(1, syncs + 1), SAMPLE)

    assert await _kill_at(tmp_path, library, model, points) >= 1


@pytest.mark.soak
async def test_conversation_killed_at_every_commit_goes_on(
    tmp_path: Path, library: Path, model: ModelServer
) -> None:
    syncs = await _count_syncs(tmp_path / "whole", library, model)

    reached = await _kill_at(tmp_path, library, model, list(range(1, syncs + 1)))

    assert reached >= syncs * 0.8


async def test_call_in_flight_is_repeated_after_a_kill(tmp_path: Path, model: ModelServer) -> None:
    async with place_in(tmp_path / "place", **_settings(model)) as place:
        talk = Talk(model, "flight")
        daemon = await place.start()
        run = await talk.say(daemon, "one")
        await model.asked(1)
        daemon.kill()
        await daemon.wait_ended()
        left = read_left(place.database, boot=1)

        ended = await until(await place.start(), run["id"])

    assert (run["id"], REPLY) not in left.recorded
    assert ended["output"]["response"] == "answer to: flight one"
    assert ended["attempt"] == 1
    assert len(model.chats()) == 2


@dataclass
class Talk:
    """A conversation of a few turns, told from others by its name."""

    model: ModelServer
    name: str

    async def say(self, daemon: Daemon, turn: str) -> dict[str, Any]:
        """Say something; said again it is the same run."""
        run: dict[str, Any] = await daemon.post(
            RUNS,
            {
                "workflow": "agent",
                "input": {"message": f"{self.name} {turn}"},
                "session_id": self.name,
            },
            headers={"Idempotency-Key": turn},
        )
        return run

    async def go(self, daemon: Daemon) -> list[str]:
        """Say all turns, each after the answer to the one before, and return their runs."""
        run_ids = []
        for turn in TURNS:
            run = await until(daemon, (await self.say(daemon, turn))["id"])
            assert run["status"] == "completed", run
            assert run["output"]["response"] == f"answer to: {self.name} {turn}"
            run_ids.append(run["id"])
        return run_ids

    def asked(self, turn: str) -> list[list[dict[str, Any]]]:
        """All conversations that were sent to the model to get the answer to a turn."""
        last = f"{self.name} {turn}"
        sent = [chat["messages"] for chat in self.model.chats()]
        return [messages for messages in sent if messages[-1]["content"] == last]

    def check(self, run_ids: list[str], left: Left) -> None:
        """Check that no recorded reply was asked for again, and that no turn was lost or doubled.

        Args:
            run_ids: Of the turns.
            left: What the killed daemon has left.
        """
        for turn, run_id in zip(TURNS, run_ids, strict=True):
            times = len(self.asked(turn))
            assert 1 <= times <= (1 if (run_id, REPLY) in left.recorded else 2), (turn, times)
        said = [
            text
            for turn in TURNS[:-1]
            for text in (f"{self.name} {turn}", f"answer to: {self.name} {turn}")
        ]
        for messages in self.asked(TURNS[-1]):
            spoken = [each["content"] for each in messages if each["role"] != "system"]
            assert spoken == [*said, f"{self.name} {TURNS[-1]}"]


def _settings(model: ModelServer) -> dict[str, str]:
    return {"AGENCY_LLM__PROVIDER": "ollama", "AGENCY_LLM__BASE_URL": model.url}


async def _count_syncs(folder: Path, library: Path, model: ModelServer) -> int:
    async with place_in(folder, **_settings(model)) as place:
        count = folder / "syncs"
        daemon = await place.start(Shim(library=library, database=place.database, count=count))
        await Talk(model, "whole").go(daemon)
        daemon.stop()
        assert await daemon.wait_ended() == 0
    return read_count(count)


async def _kill_at(tmp_path: Path, library: Path, model: ModelServer, points: list[int]) -> int:
    async def tell(number: int) -> bool:
        async with place_in(tmp_path / str(number), **_settings(model)) as place:
            shim = Shim(library=library, database=place.database, kill_sync=number)
            return await _kill_once(place, shim, Talk(model, f"talk-{number}"))

    return await all_of(tell, points)


async def _kill_once(place: Place, shim: Shim, talk: Talk) -> bool:
    """Live once with the kill and once without; False if the kill never came."""
    daemon = await place.spawn(shim)
    if daemon.url:
        with suppress(Died):
            await talk.go(daemon)
            daemon.stop()
    code = await daemon.wait_ended()
    assert code in {0, -9}, daemon.log.read_text()
    left = read_left(place.database, boot=1)

    run_ids = await talk.go(await place.start())

    assert left.integrity == "ok"
    talk.check(run_ids, left)
    return code == -9
