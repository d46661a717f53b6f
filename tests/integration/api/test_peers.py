"""Peers over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.domain.peer import (
    HEARTBEAT_S_MAX,
    INTERVALS_MISSED,
    PEER_LISTS_MAX,
    PEER_METADATA_BYTES_MAX,
)
from tests.integration.api.conftest import Answer, Daemon, Serve
from tests.integration.api.test_access import add_token
from tests.integration.api.test_documents import check

PATH = "/api/v1/peers"
LIBRARIAN = {
    "id": "research:librarian:1",
    "capabilities": {
        "services": ["search"],
        "protocols": ["http"],
        "message_types": ["Request"],
        "metadata": {"shelves": 3},
    },
    "endpoints": ["https://librarian.example.com"],
    "heartbeat_interval_s": 60,
    "status": "Busy",
}


async def register(daemon: Daemon, **changes: Any) -> Answer:
    return await daemon.ask("POST", PATH, json={**LIBRARIAN, **changes})


async def test_peer_registers_is_found_renews_and_is_forgotten(daemon: Daemon) -> None:
    made = await register(daemon)
    again = await register(daemon, status="online")
    shown = await daemon.ask("GET", made.headers["Location"])
    beat = await daemon.ask("POST", f"{PATH}/{LIBRARIAN['id']}/heartbeat", json={"status": "idle"})
    empty = await daemon.ask("POST", f"{PATH}/{LIBRARIAN['id']}/heartbeat")
    gone = await daemon.ask("DELETE", made.headers["Location"])
    absent = await daemon.ask("GET", made.headers["Location"])
    document = (await daemon.ask("GET", "/openapi.json")).json

    assert (made.status, again.status, shown.status) == (201, 200, 200)
    assert {**LIBRARIAN, "status": "busy"}.items() <= made.json.items()
    assert shown.json["status"] == "online"
    assert (beat.json["status"], empty.json["status"]) == ("idle", "idle")
    assert made.json["last_seen"] < again.json["last_seen"] < beat.json["last_seen"]
    assert made.json["registered_at"] == beat.json["registered_at"]
    assert gone.json == {"id": LIBRARIAN["id"], "deleted": True}
    assert (absent.status, absent.json["code"]) == (404, "peer_not_found")
    for answer, shape in ((made, "PeerAnswer"), (gone, "PeerDeletedAnswer")):
        check(answer.json, {"$ref": f"#/components/schemas/{shape}"}, document)


async def test_peers_are_found_by_what_they_can_do(daemon: Daemon) -> None:
    for number in range(3):
        services = ["search"] if number != 1 else ["translate"]
        await register(daemon, id=f"a:b:{number}", capabilities={"services": services})

    able = await daemon.ask("GET", f"{PATH}?service=search&limit=1")
    rest = await daemon.ask(
        "GET", PATH, params={"service": "search", "cursor": able.json["next_cursor"]}
    )

    assert [one["id"] for one in able.json["peers"]] == ["a:b:0"]
    assert [one["id"] for one in rest.json["peers"]] == ["a:b:2"]
    assert rest.json["next_cursor"] is None


async def test_silent_peer_is_offline_and_back_with_its_next_sign_of_life(daemon: Daemon) -> None:
    interval_s = 0.02
    made = await register(daemon, heartbeat_interval_s=interval_s)
    await asyncio.sleep(interval_s * (INTERVALS_MISSED + 1))  # the time that must pass

    silent = await daemon.ask("GET", made.headers["Location"])
    beat = await daemon.ask("POST", f"{made.headers['Location']}/heartbeat")

    assert (silent.json["status"], beat.json["status"]) == ("offline", "busy")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"id": "librarian"}, "/id"),
        ({"id": "a:b:c:d"}, "/id"),
        ({"id": "a:b/c:d"}, "/id"),
        ({"endpoints": ["x" * 3000]}, "/endpoints"),
        ({"endpoints": [""]}, "/endpoints"),
        ({"capabilities": {"services": ["s"] * (PEER_LISTS_MAX + 1)}}, "/capabilities/services"),
        (
            {"capabilities": {"metadata": {"m": "x" * PEER_METADATA_BYTES_MAX}}},
            "/capabilities/metadata",
        ),
        ({"heartbeat_interval_s": 0}, "/heartbeat_interval_s"),
        ({"heartbeat_interval_s": HEARTBEAT_S_MAX * 2}, "/heartbeat_interval_s"),
        ({"status": "offline"}, "/status"),
        ({"status": "asleep"}, "/status"),
        ({"shelves": 3}, "/shelves"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
async def test_what_cannot_be_a_peer_is_refused(
    daemon: Daemon, changes: dict[str, Any], where: str
) -> None:
    answer = await register(daemon, **changes)

    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, where)


async def test_id_belongs_to_the_token_that_has_registered_it(serve: Serve) -> None:
    daemon = await serve()
    ann, bob = await add_token(daemon, "ann"), await add_token(daemon, "bob")
    mine = await daemon.ask("POST", PATH, json=LIBRARIAN, headers=ann)

    taken = await daemon.ask("POST", PATH, json=LIBRARIAN, headers=bob)
    beat = await daemon.ask("POST", f"{PATH}/{LIBRARIAN['id']}/heartbeat", headers=bob)

    assert mine.json["owner"] == "ann"
    assert (taken.status, taken.json["code"]) == (409, "peer_foreign")
    assert beat.status == 409


async def test_only_allowed_peers_register(serve: Serve) -> None:
    daemon = await serve(allowed_peers=["research:*"])

    good, bad = await register(daemon), await register(daemon, id="other:librarian:1")

    assert good.status == 201
    assert (bad.status, bad.json["code"]) == (403, "peer_not_allowed")


async def test_names_that_no_peer_can_have_are_not_found(daemon: Daemon) -> None:
    for name in ("x" * 300, "%00", "a:b:c"):
        assert (await daemon.ask("GET", f"{PATH}/{name}")).status == 404
        assert (await daemon.ask("DELETE", f"{PATH}/{name}")).status == 404
