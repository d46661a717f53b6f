"""`agency sessions`, `agency memory` and `agency notebooks`, against a played daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem, run_document

AT = "2026-11-20T12:00:00.000000Z"
SESSIONS = "/api/v1/sessions"
MEMORY = "/api/v1/memory/default"
NOTEBOOKS = "/api/v1/notebooks"


def session(**members: Any) -> dict[str, Any]:
    return {
        "session_id": "trip",
        "title": None,
        "first_message": "Where  to\ngo?",
        "messages": 3,
        "created_at": AT,
        "last_at": AT,
        "live_run_id": None,
        "parent_id": None,
        "forked_at": None,
        "forks": 0,
        "links": {},
        **members,
    }


def message(position: int, role: str = "user", content: Any = None) -> dict[str, Any]:
    return {
        "position": position,
        "role": role,
        "content": content if content is not None else {"text": f"said {position}"},
        "run_id": None,
        "created_at": AT,
    }


def block(**members: Any) -> dict[str, Any]:
    return {
        "name": "user",
        "version": 2,
        "text": "Ann.\nTea.",
        "changed_at": AT,
        "changed_by": "local",
        "run_id": None,
        "reason": "",
        **members,
    }


def found(**members: Any) -> dict[str, Any]:
    return {
        "kind": "document",
        "id": "d1",
        "text": "The oil.",
        "score": 0.03,
        "found_by": ["words", "meaning"],
        "source": "",
        "created_at": AT,
        "run_id": None,
        "session_id": None,
        "notebook": "manual",
        "title": "Pumps",
        "heading": "Oil",
        "position": 1,
        "start": 5,
        "stop": 13,
        **members,
    }


def document(**members: Any) -> dict[str, Any]:
    return {"id": "d1", "title": "a.md", "run_id": RUN_ID, "links": {}, **members}


# --- sessions


def test_sessions_are_listed_on_one_line_each(agency: Agency, daemon: PlayedDaemon) -> None:
    rows = [session(), session(session_id="b", title="T", live_run_id=RUN_ID)]
    daemon.on("GET", SESSIONS, Reply({"sessions": rows, "next_cursor": None}))

    ended = agency("sessions", "ls")

    assert [
        f"trip\t3\t{AT}\t-\tWhere to go?",
        f"b\t3\t{AT}\t{RUN_ID}\tT",
    ] == ended.out.splitlines()


def test_newest_messages_are_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{SESSIONS}/trip", Reply(session(parent_id="old", forked_at=2)))
    rows = [message(2), message(3, "tool", {"text": "", "tool": "x"})]
    page = Reply({"messages": rows, "next_cursor": None})
    daemon.on("GET", f"{SESSIONS}/trip/messages", page)

    ended = agency("sessions", "show", "trip", "--last", "2")

    assert 0 == ended.code, ended.err
    assert "after=1" in daemon.seen[-1].path
    assert "forked from: old, at message 2" in ended.out
    assert '[2] user\nsaid 2\n\n[3] tool\n{"text":"","tool":"x"}' in ended.out


def test_fork_prints_the_id(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{SESSIONS}/trip/fork", Reply(session(session_id="new"), 201))

    ended = agency("sessions", "fork", "trip", "--at", "2", "--id", "new", "--title", "T")

    assert (0, "new\n") == (ended.code, ended.out)
    assert {"position": 2, "session_id": "new", "title": "T"} == daemon.seen[-1].body


def test_export_goes_to_stdout_or_whole_to_a_file(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    lines = b'{"a": 1}\n{"end": true}\n'
    daemon.on("GET", f"{SESSIONS}/a%2Fb/export", Reply(raw=_file(lines, "application/x-ndjson")))
    daemon.on("GET", f"{SESSIONS}/trip/transcript", Reply(raw=_file(b"# T\n", "text/markdown")))

    piped = agency("sessions", "export", "a/b")
    written = agency("sessions", "export", "trip", "--markdown", "-o", "trip.md")

    assert lines.decode() == piped.out
    assert (0, "trip.md\n") == (written.code, written.out)
    assert "# T\n" == (tmp_path / "trip.md").read_text()
    assert ["trip.md"] == [path.name for path in tmp_path.iterdir()]


def test_export_of_nothing_leaves_no_file(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("GET", f"{SESSIONS}/trip/export", problem(404, "session_not_found"))

    assert 3 == agency("sessions", "export", "trip", "-o", "trip.jsonl").code
    assert [] == list(tmp_path.iterdir())


def _file(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_deleted_session_with_forks_says_what_is_kept(agency: Agency, daemon: PlayedDaemon) -> None:
    gone = {"session_id": "trip", "deleted": True, "kept_for_forks": 2}
    daemon.on("DELETE", f"{SESSIONS}/trip", Reply(gone))

    assert "until the last" in agency("sessions", "rm", "trip").err


# --- memory


def test_core_memory_is_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    shown = {
        "agent": "default",
        "isolation": "agent",
        "of": None,
        "blocks": [block(run_id=RUN_ID)],
        "characters_max": 2000,
        "prompt": "",
    }
    daemon.on("GET", MEMORY, Reply(shown))

    ended = agency("memory", "show", "default")

    assert f"user  (version 2, {AT}, by local, run {RUN_ID}, 9 of 2000 characters)" in ended.out
    assert "  Ann.\n  Tea." in ended.out


@pytest.mark.parametrize(
    ("arguments", "stdin"), [(["a text"], None), ([], "a text")], ids=["argument", "stdin"]
)
def test_block_is_written(
    agency: Agency, daemon: PlayedDaemon, arguments: list[str], stdin: str | None
) -> None:
    daemon.on("PUT", f"{MEMORY}/core/user", Reply(block()))

    ended = agency(
        "memory", "edit", "default", "user", *arguments, "--expected", "1", "--reason", "why",
        "--principal", "ann", stdin=stdin,
    )  # fmt: skip

    assert 0 == ended.code, ended.err
    assert daemon.seen[-1].path.endswith("/core/user?principal=ann")
    assert {"text": "a text", "reason": "why", "expected": 1} == daemon.seen[-1].body


def test_versions_are_listed_and_reverted(agency: Agency, daemon: PlayedDaemon) -> None:
    versions = {"versions": [block(text=None), block(version=1)], "next_cursor": None}
    daemon.on("GET", f"{MEMORY}/core/user/versions", Reply(versions))
    daemon.on("POST", f"{MEMORY}/core/user/revert", Reply(block(version=3)))

    history = agency("memory", "history", "default", "user")
    back = agency("memory", "revert", "default", "user", "1")

    assert ["(removed)", "Ann. Tea."] == [line.split("\t")[-1] for line in history.out.splitlines()]
    assert "Version 1 is back as version 3." in back.err


def test_what_was_found_is_shown_with_its_place(agency: Agency, daemon: PlayedDaemon) -> None:
    fact = found(kind="fact", id="f1", source="Ann", text="One\ntwo", found_by=["words"])
    answer = {"results": [found(), fact], "notes": ["Searched by words only: it is away."]}
    daemon.on("GET", f"{MEMORY}/recall", Reply(answer))

    ended = agency("memory", "recall", "default", "oil", "--limit", "2")

    assert daemon.seen[-1].path.endswith("/recall?query=oil&limit=2")
    assert (
        "[1] manual: Pumps > Oil, characters 5 to 13  (words and meaning)\n  The oil.\n"
        "[2] fact f1, from Ann  (words)\n  One\n  two\n"
    ) == ended.out
    assert "Searched by words only" in ended.err


def test_fact_is_added_and_its_lack_of_meaning_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{MEMORY}/facts", Reply({"id": "f1", "note": "It is away."}, 201))

    ended = agency("memory", "add", "default", "The oil.")

    assert (0, "f1\n") == (ended.code, ended.out)
    assert "words only for now: It is away." in ended.err


def test_reembed_waits_for_its_run(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", "/api/v1/memory/reembed", Reply({"run_id": RUN_ID}, 202))
    done = run_document(output={"vectors": 3}, waits=[])
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(done))

    ended = agency("memory", "reembed", "--model", "m")

    assert 0 == ended.code, ended.err
    assert {"vectors": 3} == json.loads(ended.out)
    assert {"model": "m"} == daemon.seen[0].body


# --- notebooks


def test_documents_are_sent_as_they_are_and_waited_for(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_bytes(b"# Oil \xc3\xa4\n")
    daemon.on("POST", f"{NOTEBOOKS}/manual/documents", Reply(document(), 202))
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(run_document(waits=[])))

    ended = agency("notebooks", "add", "manual", "a.md")

    assert (0, "d1\ta.md\n") == (ended.code, ended.out), ended.err
    sent = daemon.seen[0]
    assert sent.path.endswith("/documents?title=a.md&source=a.md")
    assert ("text/markdown", "# Oil ä\n") == (sent.headers["content-type"], sent.body)
    assert 2 == len(daemon.seen)


def test_failed_run_is_told_and_fails_the_command(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("x")
    daemon.on("POST", f"{NOTEBOOKS}/manual/documents", Reply(document(), 202))
    failed = run_document(status="failed", error={"message": "No model.", "code": "x"}, waits=[])
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(failed))

    ended = agency("notebooks", "add", "manual", "a.md")

    assert 1 == ended.code
    assert "a.md: No model." in ended.err
    assert "found by its words" in ended.err


def test_title_is_for_one_file(agency: Agency, tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("x")

    assert 2 == agency("notebooks", "add", "manual", "a.md", "b.md", "--title", "T").code
    assert 2 == agency("notebooks", "add", "manual", "missing.md").code


def test_notebook_without_agents_says_so(agency: Agency, daemon: PlayedDaemon) -> None:
    made = {"name": "manual", "agents": [], "documents": 0, "description": "", "links": {}}
    daemon.on("POST", NOTEBOOKS, Reply(made, 201))

    ended = agency("notebooks", "new", "manual", "--about", "Pumps")

    assert {"name": "manual", "description": "Pumps", "agents": []} == daemon.seen[-1].body
    assert "No agent sees it yet" in ended.err


def test_notebook_is_shared_and_deleted(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("PATCH", f"{NOTEBOOKS}/manual", Reply({"agents": ["support"]}))
    daemon.on("DELETE", f"{NOTEBOOKS}/manual", Reply({"deleted": True}))
    daemon.on("DELETE", f"{NOTEBOOKS}/manual/documents/d1", Reply({"deleted": True}))

    assert 0 == agency("notebooks", "share", "manual", "--agent", "support").code
    assert {"agents": ["support"]} == daemon.seen[-1].body
    assert 0 == agency("notebooks", "rm", "manual", "--document", "d1").code
    assert 0 == agency("notebooks", "rm", "manual").code
    assert ["PATCH", "DELETE", "DELETE"] == [one.method for one in daemon.seen]
