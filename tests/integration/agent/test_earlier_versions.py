"""Runs that began under version 1 of the agent, before it had tools, and go on under this one."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from agency.testing.harness import Harness
from tests.integration.agent.world import World

REPLY: dict[str, Any] = {
    "content": "The first half, ",
    "thinking": "",
    "ended_by": "length",
    "model": "llama3.2:latest",
    "provider": "rehearsal",
    "rehearsal": True,
    "prompt_tokens": 10,
    "reply_tokens": 4,
    "load_s": 0.0,
    "elapsed_s": 0.5,
}
"""What version 1 recorded of a reply that a limit had cut off; word for word."""


def with_recorded(folder: Path, run_id: str, *replies: dict[str, Any]) -> None:
    """Put replies into a run's journal as version 1 wrote them."""
    database = sqlite3.connect(folder / "data" / "agency.db")
    (number,) = database.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone()
    for position, reply in enumerate(replies, 1):
        database.execute(
            "INSERT INTO journal (run, epoch, kind, at, superseded, key, meta, body)"
            " VALUES (?, 1, 1, 0, 0, ?, NULL, ?)",
            (number, f"reply#{position}", json.dumps(reply).encode()),
        )
    database.execute("UPDATE runs SET epoch = 1, version = '1' WHERE number = ?", (number,))
    database.commit()
    database.close()


def test_reply_that_was_cut_off_goes_on(tmp_path: Path, world: World) -> None:
    world.model.plays("Tell", "never", "the second half.")
    with Harness(tmp_path, make_agent=world.make_agent) as harness:
        harness.model = world.model
        world.model.is_away = True
        run = harness.start("agent", {"message": "Tell me.", "max_steps": 3})
        assert "suspended" == harness.settle(run.id).status
        harness._run(harness._close_life())
        with_recorded(tmp_path, run.id, REPLY)
        world.model.is_away = False
        world.model.requests.clear()

        run = harness.settle(run.id)

    assert run.error is None, run.error
    assert "The first half, the second half." == run.output["response"]
    assert 1 == len(world.model.requests)


def test_reply_that_was_whole_ends_the_run(tmp_path: Path, world: World) -> None:
    world.model.plays("Tell", "never")
    with Harness(tmp_path, make_agent=world.make_agent) as harness:
        harness.model = world.model
        world.model.is_away = True
        run = harness.start("agent", {"message": "Tell me."})
        assert "suspended" == harness.settle(run.id).status
        harness._run(harness._close_life())
        with_recorded(tmp_path, run.id, {**REPLY, "content": "All.", "ended_by": "stop"})
        world.model.is_away = False
        world.model.requests.clear()

        run = harness.settle(run.id)

    assert ("completed", "All.", []) == (run.status, run.output["response"], world.model.requests)
