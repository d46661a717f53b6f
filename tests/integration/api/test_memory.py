"""What agents remember, over HTTP: core memory, facts, recall, another model."""

from __future__ import annotations

from typing import Any

import pytest

from agency.errors import ModelNotFound, ModelUnavailable
from tests.integration.api.conftest import Daemon, Serve

PATH = "/api/v1/memory/support"


async def put(daemon: Daemon, block: str, text: str, **more: Any) -> Any:
    answer = await daemon.ask("PUT", f"{PATH}/core/{block}", json={"text": text, **more})
    return answer.json


async def add(daemon: Daemon, text: str, agent: str = "support", **query: str) -> Any:
    answer = await daemon.ask(
        "POST", f"/api/v1/memory/{agent}/facts", json={"text": text}, params=query
    )
    assert answer.status in {200, 201}, answer.text
    return answer.json


async def recall(daemon: Daemon, query: str, agent: str = "support", **more: str) -> Any:
    answer = await daemon.ask(
        "GET", f"/api/v1/memory/{agent}/recall", params={"query": query, **more}
    )
    assert answer.status == 200, answer.text
    return answer.json


async def ended(daemon: Daemon, run_id: str) -> Any:
    answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=8"})
    return answer.json


# --- core memory


async def test_core_memory_is_shown_as_it_stands_in_a_prompt(daemon: Daemon) -> None:
    empty = (await daemon.ask("GET", PATH)).json
    await put(daemon, "user", "Ann.\nLikes short answers.", reason="she said so")

    shown = (await daemon.ask("GET", PATH)).json

    assert ([], "") == (empty["blocks"], empty["prompt"])
    assert ("support", "agent", None) == (shown["agent"], shown["isolation"], shown["of"])
    [block] = shown["blocks"]
    assert ("user", 1, "local", None, "she said so") == tuple(
        block[name] for name in ("name", "version", "changed_by", "run_id", "reason")
    )
    assert "[user: 25 of 2000 characters]\nAnn.\nLikes short answers." in shown["prompt"]


async def test_changes_are_listed_and_reverted(daemon: Daemon) -> None:
    for text in ("one", "two", "three"):
        await put(daemon, "user", text)

    back = await daemon.ask("POST", f"{PATH}/core/user/revert", json={"version": 1})
    first = (await daemon.ask("GET", f"{PATH}/core/user/versions", params={"limit": "3"})).json
    rest = await daemon.ask(
        "GET", f"{PATH}/core/user/versions", params={"cursor": first["next_cursor"]}
    )

    assert ("one", 4, "Reverted to version 1") == tuple(
        back.json[name] for name in ("text", "version", "reason")
    )
    versions = [*first["versions"], *rest.json["versions"]]
    assert [4, 3, 2, 1] == [one["version"] for one in versions]


async def test_removed_block_can_be_reverted(daemon: Daemon) -> None:
    await put(daemon, "user", "one")

    removed = await put(daemon, "user", "  ")
    gone = (await daemon.ask("GET", PATH)).json["blocks"]
    await daemon.ask("POST", f"{PATH}/core/user/revert", json={"version": 1})

    assert (None, 2, []) == (removed["text"], removed["version"], gone)
    assert "one" == (await daemon.ask("GET", PATH)).json["blocks"][0]["text"]


@pytest.mark.parametrize(
    ("block", "body", "status"),
    [
        ("user", {"text": "x" * 2001}, 422),
        ("User", {"text": "x"}, 422),
        ("a b", {"text": "x"}, 422),
        ("user", {"text": "x", "expected": 7}, 409),
        ("nothing", {"text": ""}, 404),
        ("user", {}, 422),
        ("user", {"text": "x", "more": 1}, 422),
    ],
    ids=range(7),
)
async def test_block_that_cannot_be_is_refused(
    daemon: Daemon, block: str, body: dict[str, Any], status: int
) -> None:
    answer = await daemon.ask("PUT", f"{PATH}/core/{block}", json=body)

    assert status == answer.status, answer.text
    assert [] == (await daemon.ask("GET", PATH)).json["blocks"]


@pytest.mark.parametrize("block", ["nothing", "Nothing", "%00", "%FF"])
async def test_history_of_nothing_is_not_found(daemon: Daemon, block: str) -> None:
    assert 404 == (await daemon.ask("GET", f"{PATH}/core/{block}/versions")).status
    revert = await daemon.ask("POST", f"{PATH}/core/{block}/revert", json={"version": 1})
    assert 404 == revert.status


# --- facts and recall


async def test_fact_is_found_by_its_words_and_by_its_meaning(daemon: Daemon) -> None:
    fact = await add(daemon, "The invoices are in the blue folder.")
    await add(daemon, "Ann has a cat.")

    found = await recall(daemon, "blue folder invoices")

    assert "" == fact["note"]
    first = found["results"][0]
    assert ("fact", fact["id"], ["words", "meaning"], "said by local") == tuple(
        first[name] for name in ("kind", "id", "found_by", "source")
    )
    assert [] == found["notes"]


async def test_same_fact_twice_is_one(daemon: Daemon) -> None:
    first = await daemon.ask("POST", f"{PATH}/facts", json={"text": "One thing."})
    again = await daemon.ask("POST", f"{PATH}/facts", json={"text": " One thing. "})

    assert (201, 200) == (first.status, again.status)
    assert first.json["id"] == again.json["id"]
    assert 1 == len((await daemon.ask("GET", f"{PATH}/facts")).json["facts"])


async def test_forgotten_fact_is_gone(daemon: Daemon) -> None:
    fact = await add(daemon, "The invoices are in the blue folder.")
    other = await daemon.ask("DELETE", f"/api/v1/memory/sales/facts/{fact['id']}")

    gone = await daemon.ask("DELETE", f"{PATH}/facts/{fact['id']}")

    assert (404, {"id": fact["id"], "deleted": True}) == (other.status, gone.json)
    assert [] == (await recall(daemon, "invoices"))["results"]
    assert 404 == (await daemon.ask("DELETE", f"{PATH}/facts/{fact['id']}")).status


async def test_facts_are_paged(daemon: Daemon) -> None:
    for n in range(5):
        await add(daemon, f"Fact number {n}.")

    first = (await daemon.ask("GET", f"{PATH}/facts", params={"limit": "3"})).json
    rest = await daemon.ask("GET", f"{PATH}/facts", params={"cursor": first["next_cursor"]})

    texts = [one["text"] for one in first["facts"] + rest.json["facts"]]
    assert [f"Fact number {n}." for n in (4, 3, 2, 1, 0)] == texts


async def test_agents_never_see_each_others_memory(daemon: Daemon) -> None:
    await add(daemon, "The invoices are in the blue folder.")
    await put(daemon, "user", "Ann")

    found = await recall(daemon, "invoices blue folder", agent="sales")
    core = (await daemon.ask("GET", "/api/v1/memory/sales")).json

    assert [] == found["results"] == core["blocks"]


@pytest.mark.parametrize("error", [ModelUnavailable("m", "away"), ModelNotFound("m")], ids=range(2))
async def test_without_the_model_words_are_searched_and_it_is_said(
    daemon: Daemon, error: Any
) -> None:
    await add(daemon, "Ann has a cat.")
    daemon.provider.embedding_error = error

    late = await add(daemon, "The invoices are in the blue folder.")
    found = await recall(daemon, "the blue invoices?")
    daemon.provider.embedding_error = None
    await add(daemon, "Bob has a dog.")
    again = await recall(daemon, "the blue invoices?")

    assert error.message in late["note"]
    assert [["words"]] == [one["found_by"] for one in found["results"]]
    assert ["Searched by words only"] == [note.partition(":")[0] for note in found["notes"]]
    # What had to do without a vector gets one with the next fact.
    assert ["words", "meaning"] == again["results"][0]["found_by"]


@pytest.mark.parametrize("query", ["", " ", "x" * 2001], ids=["empty", "blank", "long"])
async def test_question_that_is_none_is_refused(daemon: Daemon, query: str) -> None:
    answer = await daemon.ask("GET", f"{PATH}/recall", params={"query": query})

    assert 422 == answer.status


@pytest.mark.parametrize("query", ['"', "NEAR(a b)", "*", "🎉", "'; --", "a\tb", "😀" * 500])
async def test_strange_questions_are_answered(daemon: Daemon, query: str) -> None:
    await add(daemon, "Ann has a cat.")

    await recall(daemon, query)


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001], ids=["empty", "blank", "long"])
async def test_fact_that_is_none_is_refused(daemon: Daemon, text: str) -> None:
    assert 422 == (await daemon.ask("POST", f"{PATH}/facts", json={"text": text})).status


# --- isolation


@pytest.mark.parametrize("isolation", ["principal", "session"])
async def test_callers_and_sessions_are_kept_apart(serve: Serve, isolation: str) -> None:
    daemon = await serve(memory={"isolation": isolation})
    await add(daemon, "The invoices are in the blue folder.", **{isolation: "one"})

    mine = await recall(daemon, "invoices", **{isolation: "one"})
    theirs = await recall(daemon, "invoices", **{isolation: "two"})
    unsaid = await daemon.ask("GET", f"{PATH}/recall", params={"query": "invoices"})

    assert (1, 0, 422) == (len(mine["results"]), len(theirs["results"]), unsaid.status)


# --- another model


async def test_reembed_gives_all_memories_vectors_of_another_model(daemon: Daemon) -> None:
    for n in range(70):
        await add(daemon, f"Fact number {n} about thing {n * n}.")
    daemon.provider.embedded.clear()

    started = await daemon.ask("POST", "/api/v1/memory/reembed", json={"model": "other"})
    run = await ended(daemon, started.json["run_id"])
    again = await daemon.ask("POST", "/api/v1/memory/reembed", json={"model": "other"})
    nothing = await ended(daemon, again.json["run_id"])
    found = await recall(daemon, "Fact number 7 about thing 49")

    assert 202 == started.status
    assert "completed" == run["status"], run
    assert {"model": "rehearsal/other", "collections": 1, "vectors": 70} == run["output"]
    assert 0 == nothing["output"]["vectors"]
    assert 71 == len(daemon.provider.embedded)
    assert "words" in found["results"][0]["found_by"]
    assert "meaning" in found["results"][0]["found_by"]


async def test_reembed_waits_for_the_model_and_goes_on(daemon: Daemon) -> None:
    for n in range(70):
        await add(daemon, f"Fact number {n}.")
    daemon.provider.embedding_error = ModelUnavailable("model:rehearsal", "away")

    started = await daemon.ask("POST", "/api/v1/memory/reembed", json={"model": "other"})
    waiting = await daemon.ask(
        "GET", f"/api/v1/runs/{started.json['run_id']}", headers={"Prefer": "wait=1"}
    )
    during = await recall(daemon, "Fact number 7")
    daemon.provider.embedding_error = None
    run = await ended(daemon, started.json["run_id"])

    assert waiting.json["status"] in {"suspended", "running", "pending"}
    assert during["results"]
    assert ("completed", 70) == (run["status"], run["output"]["vectors"])
