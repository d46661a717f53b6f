"""Models over a real socket: lists, one, and the runs that fetch and check them."""

from __future__ import annotations

from typing import Any

import pytest

from agency.errors import ModelUnavailable
from agency.ports.model import ModelInfo
from tests.integration.api.conftest import Daemon

MODELS = "/api/v1/models"


def have(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    async def models() -> list[ModelInfo]:
        return [ModelInfo(name=name, size_bytes=5, digest=f"d-{name}") for name in names]

    monkeypatch.setattr(daemon.provider, "models", models)


async def test_models_come_in_pages_by_name(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(daemon, monkeypatch, "b", "hf.co/x/y:1", "a")

    first = await daemon.ask("GET", f"{MODELS}?limit=2")
    second = await daemon.ask("GET", f"{MODELS}?limit=2&cursor={first.json['next_cursor']}")

    found = [one["name"] for page in (first, second) for one in page.json["models"]]
    assert ["a", "b", "hf.co/x/y:1"] == found
    assert second.json["next_cursor"] is None
    assert [("rehearsal", True, True)] == [
        (one["name"], one["default"], one["reachable"]) for one in first.json["providers"]
    ]


async def test_provider_that_is_away_is_named_and_hides_no_other(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def models() -> list[ModelInfo]:
        raise ModelUnavailable("model:x", "connection refused")

    monkeypatch.setattr(daemon.provider, "models", models)

    listed = await daemon.ask("GET", MODELS)
    shown = await daemon.ask("GET", f"{MODELS}/show?model=a")

    assert (200, []) == (listed.status, listed.json["models"])
    assert "connection refused" == listed.json["providers"][0]["reason"]
    assert (503, "model_unavailable") == (shown.status, shown.json["code"])


async def test_default_model_has_the_roles_without_a_list(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(daemon, monkeypatch, "llama3.2:latest")

    listed = await daemon.ask("GET", MODELS)

    assert {"chat", "tools", "compaction"} <= set(listed.json["models"][0]["roles"])


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?cursor=x", "?other=1", "/show", "/show?model=", "/show?model=%00"],
)
async def test_query_that_is_not_valid_is_refused(daemon: Daemon, query: str) -> None:
    answer = await daemon.ask("GET", f"{MODELS}{query}")

    assert 422 == answer.status


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": "x" * 257}, {"modle": "x"}])
async def test_body_that_is_not_valid_is_refused(daemon: Daemon, body: Any) -> None:
    answer = await daemon.ask("POST", f"{MODELS}/pull", json=body)

    assert 422 == answer.status


async def test_pull_is_a_run_that_one_key_starts_once(daemon: Daemon) -> None:
    asked = {"json": {"model": "new:1b"}, "headers": {"Idempotency-Key": "k"}}

    first = await daemon.ask("POST", f"{MODELS}/pull", **asked)
    second = await daemon.ask("POST", f"{MODELS}/pull", **asked)
    ended = await daemon.runs.wait(first.json["run_id"], timeout_s=5)

    assert (202, 202) == (first.status, second.status)
    assert first.json["run_id"] == second.json["run_id"]
    assert first.headers["Location"].endswith(first.json["run_id"])
    # The played provider fetches nothing.
    assert ended.run.error is not None
    assert "model_refused" == ended.run.error.code


async def test_check_is_a_run_whose_scores_are_listed(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(daemon, monkeypatch, "llama3.2:latest")

    started = await daemon.ask("POST", f"{MODELS}/check")
    ended = await daemon.runs.wait(started.json["run_id"], timeout_s=20)
    listed = await daemon.ask("GET", MODELS)
    shown = await daemon.ask("GET", f"{MODELS}/show?model=llama3.2")

    assert "completed" == ended.run.status
    fitness = listed.json["models"][0]["fitness"]
    assert started.json["run_id"] == fitness["run_id"]
    assert (0.0, 4, False) == (fitness["answers"], fitness["tools_per_turn"], fitness["stale"])
    assert fitness == {**shown.json["fitness"], "stale": False}
    assert 8192 == shown.json["context"]["tokens"]
