"""`/api/v1/db` over a real socket."""

from __future__ import annotations

import pytest

from tests.integration.api.conftest import Daemon
from tests.integration.api.test_documents import check


async def test_answers_have_the_documented_shapes(daemon: Daemon) -> None:
    document = (await daemon.ask("GET", "/openapi.json")).json
    await daemon.ask("POST", "/api/v1/runs", json={"workflow": "echo", "input": 1})

    for method, path in (
        ("GET", "stats"),
        ("POST", "check"),
        ("POST", "vacuum"),
        ("POST", "prune"),
    ):
        answer = await daemon.ask(method, f"/api/v1/db/{path}")
        operation = document["paths"][f"/api/v1/db/{path}"][method.lower()]
        assert 200 == answer.status
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        check(answer.json, schema, document)


async def test_stats_count_runs(daemon: Daemon) -> None:
    await daemon.ask(
        "POST", "/api/v1/runs", json={"workflow": "echo"}, headers={"Prefer": "wait=5"}
    )

    answer = await daemon.ask("GET", "/api/v1/db/stats")

    assert {"completed": 1} == answer.json["runs"]
    assert {"name": "runs", "rows": 1, "exact": True} in answer.json["tables"]


async def test_sound_database_is_said_to_be(daemon: Daemon) -> None:
    whole = await daemon.ask("POST", "/api/v1/db/check", json={"timeout_s": 30})
    hasty = await daemon.ask("POST", "/api/v1/db/check", json={"timeout_s": 1e-9})

    assert (True, [], []) == (whole.json["sound"], whole.json["faults"], whole.json["unchecked"])
    assert (False, []) == (hasty.json["sound"], hasty.json["faults"])
    assert "journal" in hasty.json["unchecked"]


async def test_nothing_recent_is_pruned(daemon: Daemon) -> None:
    run = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "echo"})

    answer = await daemon.ask("POST", "/api/v1/db/prune")

    assert 0 == answer.json["runs"]
    assert 200 == (await daemon.ask("GET", f"/api/v1/runs/{run.json['id']}")).status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("check", {"timeout_s": 0}),
        ("check", {"timeout_s": 1e9}),
        ("vacuum", {"bytes_max": 0}),
        ("vacuum", {"pages": 3}),
    ],
)
async def test_bad_bounds_are_422(daemon: Daemon, path: str, body: dict[str, object]) -> None:
    assert 422 == (await daemon.ask("POST", f"/api/v1/db/{path}", json=body)).status
