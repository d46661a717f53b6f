"""Notebooks over HTTP: documents taken in by a run, searched, shared, deleted."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Server
from agency.errors import ModelNotFound, ModelUnavailable
from tests.integration.api.conftest import Daemon, Serve, serving

PATH = "/api/v1/notebooks"
PUMPS = "# Pumps\n\nA pump moves water.\n\n## Oil\n\nThe oil is changed every 300 hours.\n"


async def make(daemon: Daemon, name: str = "manual", **body: Any) -> Any:
    answer = await daemon.ask("POST", PATH, json={"name": name, **body})
    assert answer.status == 201, answer.text
    return answer.json


async def send(
    daemon: Daemon,
    text: str | bytes = PUMPS,
    name: str = "manual",
    title: str = "Pumps",
    kind: str = "text/markdown",
) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return await daemon.ask(
        "POST",
        f"{PATH}/{name}/documents",
        data=io.BytesIO(data),
        params={"title": title, "source": "pumps.md"},
        headers={"Content-Type": kind},
    )


async def ended(daemon: Daemon, run_id: str) -> Any:
    answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=8"})
    return answer.json


async def search(daemon: Daemon, query: str, name: str = "manual") -> Any:
    answer = await daemon.ask("GET", f"{PATH}/{name}/search", params={"query": query})
    assert answer.status == 200, answer.text
    return answer.json


async def test_document_is_found_with_its_place(daemon: Daemon) -> None:
    await make(daemon)

    taken = await send(daemon)
    run = await ended(daemon, taken.json["run_id"])
    found = await search(daemon, "the oil is changed every how many hours?")
    text = await daemon.ask("GET", taken.json["links"]["text"])

    assert 202 == taken.status
    assert ("completed", 1) == (run["status"], run["output"]["passages"]), run
    first = found["results"][0]
    assert ("document", "manual", "Pumps", "pumps.md", "Pumps", 1) == tuple(
        first[name] for name in ("kind", "notebook", "title", "source", "heading", "position")
    )
    assert first["text"] == text.text[first["start"] : first["stop"]]
    assert ["words", "meaning"] == first["found_by"]
    shown = (await daemon.ask("GET", taken.json["links"]["self"])).json
    assert (1, 1, "text/markdown") == (shown["passages"], shown["embedded"], shown["media_type"])


async def test_page_is_read_as_text(daemon: Daemon) -> None:
    await make(daemon)
    page = "<html><script>var oil</script><h1>Pumps</h1><p>The oil &amp; water.</p></html>"

    taken = await send(daemon, page, kind="text/html; charset=utf-8")
    await ended(daemon, taken.json["run_id"])

    assert (
        "# Pumps\n\nThe oil & water." == (await daemon.ask("GET", taken.json["links"]["text"])).text
    )
    assert "# Pumps\n\nThe oil & water." == (await search(daemon, "oil"))["results"][0]["text"]


async def test_same_document_twice_is_one(daemon: Daemon) -> None:
    await make(daemon)
    first = await send(daemon)
    await ended(daemon, first.json["run_id"])

    again = await send(daemon)
    other = await send(daemon, title="Other")

    assert (200, None) == (again.status, again.json["run_id"])
    assert first.json["id"] == again.json["id"] != other.json["id"]
    listed = (await daemon.ask("GET", f"{PATH}/manual/documents")).json["documents"]
    assert [other.json["id"], first.json["id"]] == [one["id"] for one in listed]


BAD = {
    "pdf": (b"%PDF-1.7\n...", "text/plain", 415, "pdftotext"),
    "type": (b"x", "application/pdf", 415, "text/html"),
    "picture": (b"\x89PNG\r\n", "", 415, "picture"),
    "no utf-8": (b"\xff\xfe\x00", "text/plain", 415, "UTF-8"),
    "nul": (b"a\x00b", "text/plain", 415, "NUL"),
    "empty": (b"", "text/plain", 415, "no text"),
    "blank": (b" \n\n ", "text/plain", 415, "no text"),
    "only scripts": (b"<html><script>x</script></html>", "text/html", 415, "no text"),
    "large": (b"x" * 5000, "text/plain", 413, "4096"),
}


@pytest.mark.parametrize(("data", "kind", "status", "told"), BAD.values(), ids=BAD)
async def test_what_cannot_be_read_is_refused(
    serve: Serve, data: bytes, kind: str, status: int, told: str
) -> None:
    daemon = await serve(memory={"document_bytes_max": 4096})
    await make(daemon)

    answer = await send(daemon, data, kind=kind)

    assert (status, True) == (answer.status, told in answer.text), answer.text
    assert [] == (await daemon.ask("GET", f"{PATH}/manual/documents")).json["documents"]


async def test_document_may_be_larger_than_other_bodies(daemon: Daemon) -> None:
    await make(daemon)

    taken = await send(daemon, "word " * 500_000)

    assert 202 == taken.status
    run = await ended(daemon, taken.json["run_id"])
    assert run["status"] in {"completed", "running"}


async def test_run_waits_for_the_model_and_repeats_no_batch(daemon: Daemon) -> None:
    await make(daemon)
    daemon.provider.embedding_error = ModelUnavailable("model:rehearsal", "away")
    text = "".join(f"# Part {n}\n\n{'Some words about it. ' * 60}\n\n" for n in range(80))

    taken = await send(daemon, text)
    # Found by its words as soon as it is split.
    waiting = await daemon.ask(
        "GET", f"/api/v1/runs/{taken.json['run_id']}", headers={"Prefer": "wait=1"}
    )
    found = await search(daemon, "Part 77")
    daemon.provider.embedding_error = None
    daemon.provider.embedded.clear()
    run = await ended(daemon, taken.json["run_id"])

    assert waiting.json["status"] in {"suspended", "running", "pending"}
    assert ["words"] == found["results"][0]["found_by"]
    assert "completed" == run["status"], run
    passages = run["output"]["passages"]
    assert passages >= 80
    assert passages == len(daemon.provider.embedded)
    assert passages == run["progress"]["done"]


async def test_missing_model_fails_the_run_and_leaves_the_words(daemon: Daemon) -> None:
    await make(daemon)
    daemon.provider.embedding_error = ModelNotFound("nomic-embed-text")

    taken = await send(daemon)
    run = await ended(daemon, taken.json["run_id"])
    found = await search(daemon, "oil")
    daemon.provider.embedding_error = None
    again = await send(daemon)
    second = await ended(daemon, again.json["run_id"])

    assert "failed" == run["status"]
    assert "nomic-embed-text" in run["error"]["message"]
    assert ["words"] == found["results"][0]["found_by"]
    assert found["notes"]
    assert "completed" == second["status"]


async def test_notebook_is_seen_by_those_that_it_is_shared_with(daemon: Daemon) -> None:
    await make(daemon, agents=["support"])
    taken = await send(daemon)
    await ended(daemon, taken.json["run_id"])

    async def seen(agent: str) -> int:
        answer = await daemon.ask(
            "GET", f"/api/v1/memory/{agent}/recall", params={"query": "oil changed"}
        )
        return len(answer.json["results"])

    before = [await seen("support"), await seen("sales")]
    changed = await daemon.ask("PATCH", f"{PATH}/manual", json={"agents": ["sales"]})
    after = [await seen("support"), await seen("sales")]
    await daemon.ask("PATCH", f"{PATH}/manual", json={"agents": ["*"]})

    assert ([1, 0], [0, 1]) == (before, after)
    assert ["sales"] == changed.json["agents"]
    assert [1, 1] == [await seen("support"), await seen("sales")]


@pytest.mark.parametrize("what", ["document", "notebook"])
async def test_what_is_deleted_is_found_no_more(daemon: Daemon, what: str) -> None:
    await make(daemon, agents=["*"])
    taken = await send(daemon)
    await ended(daemon, taken.json["run_id"])
    path = taken.json["links"]["self"]

    gone = await daemon.ask("DELETE", path if what == "document" else f"{PATH}/manual")

    assert (200, True) == (gone.status, gone.json["deleted"])
    assert 404 == (await daemon.ask("GET", path)).status
    found = await daemon.ask(
        "GET", "/api/v1/memory/support/recall", params={"query": "oil changed"}
    )
    assert [] == found.json["results"]
    again = await daemon.ask("DELETE", path)
    assert (404, f"{what}_not_found") == (again.status, again.json["code"])


async def test_notebooks_are_paged_and_named_once(daemon: Daemon) -> None:
    for name in ("c", "a", "b"):
        await make(daemon, name)

    twice = await daemon.ask("POST", PATH, json={"name": "a"})
    bad = await daemon.ask("POST", PATH, json={"name": "a b"})
    first = (await daemon.ask("GET", PATH, params={"limit": "2"})).json
    rest = await daemon.ask("GET", PATH, params={"cursor": first["next_cursor"]})

    assert (409, 422) == (twice.status, bad.status)
    assert ["a", "b", "c"] == [one["name"] for one in first["notebooks"] + rest.json["notebooks"]]


@pytest.mark.parametrize("name", ["nothing", "a%20b", "%00", "%FF", "x" * 500])
async def test_unknown_notebooks_are_not_found(daemon: Daemon, name: str) -> None:
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/documents"),
        ("GET", "/documents/x"),
        ("GET", "/documents/x/text"),
        ("GET", "/search?query=x"),
    ):
        assert 404 == (await daemon.ask(method, f"{PATH}/{name}{path}")).status
    assert 404 == (await send(daemon, name=name)).status


async def test_run_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    text = "".join(f"# Part {n}\n\n{'Some words about it. ' * 60}\n\n" for n in range(100))
    server = Server(sync_wait_s=5.0, grace_s=0.0)
    async with serving(tmp_path, server) as daemon:
        await make(daemon)
        daemon.provider.embedding_calls_max = 2
        taken = await send(daemon, text)
        async with asyncio.timeout(10):
            await daemon.provider.is_stuck.wait()
        first = list(daemon.provider.embedded)

    async with serving(tmp_path, server) as daemon:
        run = await ended(daemon, taken.json["run_id"])
        second = list(daemon.provider.embedded)

    assert "completed" == run["status"], run
    assert 64 == len(first)
    assert run["output"]["passages"] == len(first) + len(second)
    assert set() == set(first) & set(second)
