"""The door's settings: each does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.mcp_door.conftest import Door, ask, envelope, named, opened, request, sent
from tests.processes import daemons_in, free_port, get

GUARD_S = 15
IDLE_S = 1
PING = request("ping", {}, "2025-11-25")
LISTEN = request(
    "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "2026-07-28"
)


@contextmanager
def daemon(folder: Path, settings: str) -> Iterator[Door]:
    (folder / "config.toml").write_text(f'[sandbox]\ndriver = "none"\n\n[mcp]\n{settings}\n')
    with daemons_in(folder) as daemons:
        started = Door(daemons, free_port(), {})
        started.start()
        yield started


def test_door_that_is_closed_is_not_there(tmp_path: Path) -> None:
    with daemon(tmp_path, "serve = false") as door:
        answer = ask(door, request("ping", {}, "2026-07-28"), **named(envelope("ping")))

        assert (answer.status, answer.json["code"]) == (404, "path_not_found")
        assert get(f"{door.url}/health")[0] == 200


async def test_idle_sessions_end_and_streams_beyond_their_limit_are_refused(
    tmp_path: Path,
) -> None:
    with daemon(tmp_path, f"serve_session_idle_s = {IDLE_S}\nserve_streams_max = 1") as door:
        session = await asyncio.to_thread(opened, door)
        first, kept = await sent(door, LISTEN, envelope("subscriptions/listen"))
        async with asyncio.timeout(GUARD_S):
            await first.readuntil(b"notifications/subscriptions/acknowledged")
            second, refused = await sent(door, LISTEN, envelope("subscriptions/listen"))
            await second.readuntil(b"Subscription limit reached")
            for writer in (kept, refused):
                writer.close()
                await writer.wait_closed()
            # Every request would let the session live on, so nothing tells but the time.
            await asyncio.sleep(IDLE_S + 0.2)
            idle = await asyncio.to_thread(ask, door, PING, **named(session))

    assert idle.status == 404
