from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem

FILES = f"/api/v1/runs/{RUN_ID}/files"


def file(path: str, size_bytes: int = 1) -> dict[str, Any]:
    return {"path": path, "size_bytes": size_bytes, "sha256": "0" * 64, "is_executable": False}


def page(*files: dict[str, Any], cursor: str | None = None) -> Reply:
    return Reply({"files": list(files), "next_cursor": cursor})


def content(body: bytes, *, length: int | None = None) -> Reply:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return Reply(raw=head.encode() + body)


def test_files_are_listed_over_all_pages(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", FILES, page(file("a", 12), cursor="more"), page(file("b c/d", 3)))

    ended = agency("runs", "files", RUN_ID)

    assert (0, "a\t12\nb c/d\t3\n") == (ended.code, ended.out)
    assert "cursor=more" in daemon.seen[1].path


def test_list_is_json_for_programs(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", FILES, page(file("a"), cursor="more"))

    ended = agency("runs", "files", RUN_ID, "--limit", "1", "--json")

    assert {"files": [file("a")], "next_cursor": "more"} == json.loads(ended.out)


def test_file_is_printed_as_it_is(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{FILES}/a%20b/c.txt", content(b"caf\xc3\xa9\r\n"))

    ended = agency("runs", "files", RUN_ID, "a b/c.txt")

    assert (0, "café\r\n") == (ended.code, ended.out)


def test_file_is_saved_whole(agency: Agency, daemon: PlayedDaemon, tmp_path: Path) -> None:
    body = bytes(range(256)) * 9000
    daemon.on("GET", f"{FILES}/x", content(body))

    ended = agency("runs", "files", RUN_ID, "x", "-o", "out", "--json")

    assert {"path": "x", "saved_as": "out", "size_bytes": len(body)} == json.loads(ended.out)
    assert body == (tmp_path / "out").read_bytes()


def test_file_that_was_cut_off_is_not_saved(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("GET", f"{FILES}/x", content(b"half", length=8))

    ended = agency("runs", "files", RUN_ID, "x", "-o", "out")

    assert 5 == ended.code
    assert [] == list(tmp_path.iterdir())


def test_file_that_is_not_there_is_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{FILES}/x", problem(404, "run_file_not_found"))

    assert 3 == agency("runs", "files", RUN_ID, "x").code


def test_what_does_not_go_together_is_refused(agency: Agency) -> None:
    assert 2 == agency("runs", "files", RUN_ID, "-o", "out").code
    assert 2 == agency("runs", "files", RUN_ID, "x", "--json").code


def test_place_that_cannot_be_written_is_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{FILES}/x", content(b"x"))

    ended = agency("runs", "files", RUN_ID, "x", "-o", "nowhere/out")

    assert 2 == ended.code
    assert "cannot be written" in ended.err
