"""Runs as files over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from agency.core.limits import TRANSFER_BYTES_MAX
from tests.integration.api.conftest import Answer, Daemon, Serve
from tests.integration.api.test_verbs import ended, start, verb

IMPORT = "/api/v1/snapshots/import"
HEADERS = {"Content-Type": "application/x-ndjson"}


async def bring_in(daemon: Daemon, file: str, query: str = "") -> Answer:
    return await daemon.ask("POST", IMPORT + query, data=file.encode(), headers=HEADERS)


async def snapshot_of(daemon: Daemon, run_id: str) -> str:
    return str((await ended(daemon, run_id))["snapshot_id"])


async def test_suspended_run_is_copied_and_the_copy_answered(serve: Serve) -> None:
    here, there = await serve(), await serve()
    run_id = await start(here, "asks")
    snapshot_id = await snapshot_of(here, run_id)

    file = await here.ask("GET", f"/api/v1/snapshots/{snapshot_id}/export")
    assert (200, "application/x-ndjson") == (file.status, file.headers["Content-Type"])
    assert "nosniff" == file.headers["X-Content-Type-Options"]
    assert "agency-snapshot/1" == orjson.loads(file.text.splitlines()[0])["format"]
    first, second = await bring_in(there, file.text), await bring_in(there, file.text)
    again = await bring_in(there, file.text, "?again=true")

    assert (201, 200, 201) == (first.status, second.status, again.status)
    assert first.json["id"] == second.json["id"] != again.json["id"]
    assert run_id == first.json["forked_from"]
    copy = str(first.json["id"])
    assert "suspended" == (await ended(there, copy))["status"]
    await verb(there, copy, "resume", input="ada")
    assert {"name": "ada"} == (await ended(there, copy))["output"]
    assert "suspended" == (await ended(here, run_id))["status"]


async def test_moved_run_is_fetched_confirmed_and_taken_once(serve: Serve) -> None:
    here, there = await serve(), await serve()
    run_id = await start(here, "asks", name="mine")
    snapshot_id = await snapshot_of(here, run_id)
    path = f"/api/v1/snapshots/{snapshot_id}/move"

    moves = await asyncio.gather(*(here.ask("POST", path) for _ in range(20)))
    assert {201: 20} == Counter(move.status for move in moves)
    (receipt,) = {move.json["receipt_id"] for move in moves}
    links = moves[0].json["links"]
    one, two = await here.ask("GET", links["file"]), await here.ask("GET", links["file"])
    assert one.text == two.text
    assert moves[0].json["size_bytes"] == len(one.text.encode())
    assert moves[0].json["sha256"] == orjson.loads(one.text.splitlines()[-1])["whole"]
    gone = await ended(here, run_id)
    assert ("cancelled", "moved") == (gone["status"], gone["error"]["code"])

    arrivals = await asyncio.gather(*(bring_in(there, one.text) for _ in range(20)))
    assert {201: 1, 409: 19} == Counter(arrival.status for arrival in arrivals)
    confirmed = await here.ask("POST", links["confirm"])
    assert confirmed.json["confirmed_at"]
    late = await here.ask("GET", links["file"])
    assert (409, "receipt_confirmed") == (late.status, late.json["code"])
    assert receipt == (await here.ask("GET", links["self"])).json["receipt_id"]

    assert "suspended" == (await ended(there, run_id))["status"]
    await verb(there, run_id, "resume", input="bob")
    arrived = await ended(there, run_id)
    assert ({"name": "bob"}, "mine") == (arrived["output"], arrived["name"])
    copy = await bring_in(there, one.text, "?copy=true")
    assert (201, run_id) == (copy.status, copy.json["forked_from"])


async def test_any_run_can_be_exported(daemon: Daemon) -> None:
    run_id = await start(daemon, "echo", {"n": 1})

    file = await daemon.ask("GET", f"/api/v1/runs/{run_id}/export")
    copy = await bring_in(daemon, file.text)

    assert {"n": 1} == (await ended(daemon, str(copy.json["id"])))["output"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", HEADERS, 422, "export_corrupt"),
        (b"{}", HEADERS, 422, "export_corrupt"),
        (b"{}\n", HEADERS, 422, "export_format_unknown"),
        (b'{"format":"agency-snapshot/2"}\n', HEADERS, 422, "export_format_unknown"),
        (b"\xff\xfe\n", HEADERS, 422, "export_corrupt"),
        (b"{}", {"Content-Type": "application/json"}, 415, "content_type_refused"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "content_type_refused"),
    ],
)
async def test_what_is_no_file_is_refused(
    daemon: Daemon, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await daemon.ask("POST", IMPORT, data=body, headers=headers)

    assert (status, code) == (answer.status, answer.json["code"])
    assert [] == list(await daemon.all_runs())


async def test_file_that_was_cut_off_or_changed_leaves_nothing(serve: Serve) -> None:
    here, there = await serve(), await serve()
    run_id = await start(here, "asks")
    file = (await here.ask("GET", f"/api/v1/runs/{run_id}/export")).text

    for broken in (file[:-1], file[: len(file) // 2], file.replace('"asks"', '"both"', 1)):
        answer = await bring_in(there, broken)
        assert (422, "export_corrupt") == (answer.status, answer.json["code"])
    assert [] == list(await there.all_runs())


async def test_file_that_is_too_large_is_not_read(daemon: Daemon) -> None:
    answer = await daemon.raw(
        f"POST {IMPORT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {TRANSFER_BYTES_MAX + 1}\r\nConnection: close\r\n\r\n".encode(),
        until=b"\r\n\r\n",
    )

    assert b" 413 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/snapshots/{}/export", "snapshot_not_found"),
        ("POST", "/api/v1/snapshots/{}/move", "snapshot_not_found"),
        ("GET", "/api/v1/runs/{}/export", "run_not_found"),
        ("GET", "/api/v1/receipts/{}", "receipt_not_found"),
        ("GET", "/api/v1/receipts/{}/file", "receipt_not_found"),
        ("POST", "/api/v1/receipts/{}/confirm", "receipt_not_found"),
    ],
)
@pytest.mark.parametrize("wanted", ["01900000-0000-7000-8000-000000000000", "nonsense"])
async def test_what_is_not_there_is_not_found(
    daemon: Daemon, method: str, path: str, code: str, wanted: Any
) -> None:
    answer = await daemon.ask(method, path.format(wanted))

    assert (404, code) == (answer.status, answer.json["code"])
