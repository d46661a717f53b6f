"""Servers over HTTP: both eras, restarts, refusals, and addresses that are not to be reached."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agency.core.clock import monotonic_s
from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.errors import ConnectionFailed, InvalidInput, ToolInterrupted, ToolUnavailable
from tests.integration.mcp.conftest import GUARD_S, Opener
from tests.mcp_servers import modern, sessions

Start = Callable[..., "Server"]


class Server:
    """A server of ours in a process of its own, on one port for all its lives."""

    def __init__(self, file: str, port: int) -> None:
        self._file = file
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self, *words: str) -> None:
        self.kill()
        command = [sys.executable, self._file, str(self.port), *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(GUARD_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server_of() -> Iterator[Start]:
    """Makes servers; they are killed at the end."""
    made: list[Server] = []

    def make(module: ModuleType) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = Server(str(module.__file__), free.getsockname()[1])
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()


async def test_newer_server_over_http(world_of: Opener, server_of: Start) -> None:
    server = server_of(modern)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        assert "hi" == await world.say("web__echo", text="hi")
        status = world.connections.get("web").status
        assert ("2026-07-28", "modern 1", None) == (status.protocol, status.server, status.pid)


async def test_older_server_over_http(world_of: Opener, server_of: Start) -> None:
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        assert "hi" == await world.say("web__echo", text="hi")
        assert "2025-11-25" == world.connections.get("web").status.protocol


async def test_server_that_has_forgotten_the_session_is_opened_anew_and_the_call_made(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        assert "forgotten" == await world.say("web__forget")

        assert "hi" == await world.say("web__echo", text="hi")
        assert 2 == world.connections.get("web").status.opened


async def test_server_that_was_started_anew_takes_calls_again(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        first = await world.say("web__pid")
        server.kill()
        await server.start()

        assert first != await world.say("web__pid")


@pytest.mark.parametrize("module", [modern, sessions], ids=["newer", "older"])
async def test_server_that_leaves_in_a_call_interrupts_it(
    world_of: Opener, server_of: Start, module: ModuleType
) -> None:
    server = server_of(module)
    await server.start()
    # The next call may still be on its way over what is left of the old session.
    setup = ConnectionSetup(url=server.url, repeatable=["echo"])
    async with world_of({"web": setup}) as world:
        with pytest.raises(ToolInterrupted):
            await world.call("web__leave")
        await server.start()

        assert "hi" == await world.say("web__echo", text="hi")


async def test_call_to_a_server_that_is_away_was_not_begun(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(modern)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url, timeout_s=2.0)}) as world:
        await world.say("web__echo", text="hi")
        server.kill()

        with pytest.raises(ToolUnavailable, match="no connection to the server"):
            await world.call("web__echo", {"text": "hi"})


async def test_busy_server_has_not_begun_with_the_call(world_of: Opener, server_of: Start) -> None:
    server = server_of(sessions)
    await server.start("busy")
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        with pytest.raises(ToolUnavailable, match="HTTP 503"):
            await world.call("web__echo")


async def test_stream_that_ends_without_an_answer_interrupts_the_call(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url, timeout_s=5.0)}) as world:
        with pytest.raises(ToolInterrupted):
            await world.call("web__broken")

        assert "hi" == await world.say("web__echo", text="hi")


async def test_answer_that_is_too_large_is_not_read(world_of: Opener, server_of: Start) -> None:
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url, timeout_s=8.0)}) as world:
        with pytest.raises(ToolInterrupted, match="more than 8388608 bytes"):
            await world.call("web__huge", {"bytes": 20 << 20})

        assert "hi" == await world.say("web__echo", text="hi")


async def test_compressed_answer_is_not_unpacked(world_of: Opener, server_of: Start) -> None:
    """What is unpacked while it is read has no limit: 100 KB become 100 MB, and 8 MB 8 GB."""
    server = server_of(sessions)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url, timeout_s=8.0)}) as world:
        await world.say("web__echo", text="hi")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        with pytest.raises(ToolInterrupted, match="compresses its answers"):
            await world.call("web__compressed", {"bytes": 100 << 20})

        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown_kib < 50 << 10
        assert "hi" == await world.say("web__echo", text="hi")


async def test_refused_credentials_break_the_connection_at_once(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(sessions)
    await server.start("deny")
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        await world.reach("web", ConnectionState.BROKEN)

        assert "credentials" in world.connections.get("web").status.reason


async def test_secret_is_put_into_the_header_and_taken_out_of_the_answer(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(sessions)
    await server.start()
    headers = {"Authorization": "Bearer secret://web-token"}
    async with world_of() as world:
        await world.vault.set("web-token", "canary-4711-canary", principal="owner")
        setup = ConnectionSetup(url=server.url, headers=headers)
        await world.connections.add("web", setup, is_active=True, is_tested=True)
        said = await world.say("web__headers")

        assert f"Bearer secret://web-token 127.0.0.1:{server.port}" == said
        assert {"connection web": ["web-token"]} == await world.connections.secret_usage()
    assert b"canary" not in b"".join(
        path.read_bytes() for path in Path(world.folder).glob("agency.db*")
    )


async def test_missing_secret_breaks_the_connection_and_says_which(
    world_of: Opener, server_of: Start
) -> None:
    setup = ConnectionSetup(url="http://127.0.0.1:9/mcp", headers={"X": "secret://none-such"})
    async with world_of({"web": setup}) as world:
        await world.reach("web", ConnectionState.BROKEN)

        assert "none-such" in world.connections.get("web").status.reason


async def test_plain_secret_is_not_stored(world_of: Opener) -> None:
    setups = [
        ConnectionSetup(
            url="https://example.org/mcp", headers={"Authorization": "Bearer canary-1"}
        ),
        ConnectionSetup(url="https://example.org/mcp?api_key=canary-1"),
        ConnectionSetup(url="https://me:canary-1@example.org/mcp"),
        ConnectionSetup(command="x", env={"GITHUB_TOKEN": "canary-1"}),
        ConnectionSetup(command="x", args=["--token", "canary-1"]),
        ConnectionSetup(command="x", args=["--api-key=canary-1"]),
        ConnectionSetup(command="x", args=["postgres://me:canary-1@host/db"]),
        ConnectionSetup(command="x", env={"DATABASE_URL": "postgres://me:canary-1@host/db"}),
    ]
    async with world_of() as world:
        for setup in setups:
            with pytest.raises(InvalidInput) as raised:
                await world.connections.add("x", setup, is_active=True, is_tested=False)
            told = [f"{fault.what} {fault.hint}" for fault in raised.value.faults]
            assert "agency secret set" in told[0]
            assert "canary" not in f"{raised.value.message} {told}"


async def test_stored_connection_does_not_reach_private_places(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(modern)
    await server.start()
    async with world_of(private=[]) as world:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            setup = ConnectionSetup(url=f"http://{host}:{server.port}/mcp")
            with pytest.raises(ConnectionFailed, match=r"\[mcp\] allow_private if it is meant\.$"):
                await world.connections.add("web", setup, is_active=True, is_tested=True)
        assert [] == list(world.connections.list())


async def test_configured_connection_may_reach_private_places(
    world_of: Opener, server_of: Start
) -> None:
    server = server_of(modern)
    await server.start()
    async with world_of({"web": ConnectionSetup(url=server.url)}, private=[]) as world:
        assert "hi" == await world.say("web__echo", text="hi")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "my.example.org"])
async def test_own_address_is_recognised_and_told(world_of: Opener, host: str) -> None:
    setup = ConnectionSetup(url=f"http://{host}:8080/mcp")
    own = {"own_port": 8080, "own_hosts": frozenset({"my.example.org"})}
    async with world_of({"mcp": setup}, **own) as world:
        await world.reach("mcp", ConnectionState.BROKEN)

        assert "own address" in world.connections.get("mcp").status.reason


async def test_server_that_does_not_let_go_is_left_in_time(
    world_of: Opener, server_of: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.tools.mcp.owner.CLOSE_S", 0.5)
    server = server_of(sessions)
    await server.start("hang")
    async with world_of({"web": ConnectionSetup(url=server.url)}) as world:
        await world.say("web__echo")
        began_s = monotonic_s()

    assert monotonic_s() - began_s < 5
