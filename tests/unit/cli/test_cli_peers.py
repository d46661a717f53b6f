"""`agency a2a peers` and `agency a2a push` as real processes, against a played daemon."""

from __future__ import annotations

import json
from typing import Any

from agency.client import Client
from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem

PEERS = "/api/v1/peers"
PUSH = f"/api/v1/runs/{RUN_ID}/push"


def peer(**members: Any) -> dict[str, Any]:
    return {
        "id": "research:ada:1",
        "status": "busy",
        "capabilities": {
            "services": ["sum", "search"], "protocols": [], "message_types": [], "metadata": {},
        },
        "endpoints": ["https://a.example", "https://b.example"],
        "last_seen": "2026-11-20T12:00:00.000000Z",
        **members,
    }  # fmt: skip


def push(**members: Any) -> dict[str, Any]:
    return {
        "url": "https://hook.example",
        "state": "active",
        "sent": 3,
        "skipped": 1,
        "next_try_at": "2026-11-20T12:00:00.000000Z",
        "last_error": "The receiver answered 503.",
        **members,
    }


def test_peers_are_shown_with_what_they_can_do(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PEERS, Reply({"peers": [peer()], "next_cursor": None}))

    ended = agency("a2a", "peers", "--service", "sum")

    assert 0 == ended.code
    for said in ("research:ada:1", "busy", "sum, search", "https://a.example https://b.example"):
        assert said in ended.out
    assert "service=sum" in daemon.seen[-1].path


def test_peers_as_json_are_what_the_daemon_says(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PEERS, Reply({"peers": [peer()], "next_cursor": None}))

    ended = agency("a2a", "peers", "--json")

    assert {"peers": [peer()], "next_cursor": None} == json.loads(ended.out)


def test_peer_is_forgotten(agency: Agency, daemon: PlayedDaemon) -> None:
    path = f"{PEERS}/research%3Aada%3A1"
    daemon.on("DELETE", path, Reply({"id": "research:ada:1", "deleted": True}))

    ended = agency("a2a", "peers", "--forget", "research:ada:1")

    assert (0, "") == (ended.code, ended.out)
    assert "research:ada:1 is forgotten" in ended.err


def test_peer_that_is_not_there_has_the_exit_code_for_that(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("DELETE", f"{PEERS}/x", problem(404, "peer_not_found"))

    assert 3 == agency("a2a", "peers", "--forget", "x").code


def test_pushes_of_a_run_are_shown_with_how_they_go(agency: Agency, daemon: PlayedDaemon) -> None:
    done = push(state="done", next_try_at=None, last_error=None, url="https://other.example")
    daemon.on("GET", PUSH, Reply({"pushes": [push(), done], "next_cursor": None}))

    ended = agency("a2a", "push", RUN_ID)

    assert 0 == ended.code
    first, second = ended.out.splitlines()[-2:]
    assert ["https://hook.example", "active", "3", "1"] == first.split()[:4]
    assert first.endswith("The receiver answered 503.")
    assert second.split()[1:] == ["done", "3", "1", "-", "-"]


def test_pushes_of_no_run_are_not_found(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PUSH, problem(404, "run_not_found"))

    assert 3 == agency("a2a", "push", RUN_ID).code


def test_client_registers_and_renews(daemon: PlayedDaemon) -> None:
    daemon.on("POST", PEERS, Reply(peer(), 201))
    daemon.on("POST", f"{PEERS}/research%3Aada%3A1/heartbeat", Reply(peer()))
    daemon.on("GET", f"{PEERS}/research%3Aada%3A1", Reply(peer()))
    client = Client(daemon.url)

    client.register_peer({"id": "research:ada:1", "status": "busy"})
    client.heartbeat_peer("research:ada:1", status="idle")
    client.heartbeat_peer("research:ada:1")

    assert [{"id": "research:ada:1", "status": "busy"}, {"status": "idle"}, {}] == [
        seen.body for seen in daemon.seen
    ]
    assert peer() == client.peer("research:ada:1")
