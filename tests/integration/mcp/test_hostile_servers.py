"""What a server does wrong costs its own calls, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from agency.core.clock import monotonic_s
from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.tool import Permission, ToolEffect, ToolOutput
from agency.errors import ToolInterrupted, ToolUnavailable
from agency.ports.connection import DirectCall
from agency.tools.mcp.lines import LOG_BYTES_MAX, MESSAGE_BYTES_MAX
from agency.tools.mcp.owner import BREAKER_FAILURES
from agency.tools.mcp.places import marked
from agency.tools.mcp.reaping import MARK
from tests.integration.mcp.conftest import GUARD_S, Opener, Wait, hostile_setup


async def test_tool_of_a_server_is_listed_and_called(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        output = await world.call("odd__echo", {"text": "hello"})

        assert ToolOutput(content="hello", is_untrusted=True) == output
        tool = await world.tool("odd__bad_structure")
        assert (ToolEffect.ONCE, Permission.ASK) == (tool.effect, tool.permission)


async def test_text_between_messages_is_passed_over(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup("banner")}) as world:
        assert "hello" == await world.say("odd__echo", text="hello")
        assert "after garbage" == await world.say("odd__garbage")
        assert "I am a line that is no message" in world.connections.log("odd")


async def test_call_that_hangs_is_cancelled_at_the_server(world_of: Opener, until: Wait) -> None:
    async with world_of({"odd": hostile_setup(timeouts_s={"hang": 0.3})}) as world:
        with pytest.raises(ToolInterrupted, match=r"longer than 0\.3 s"):
            await world.call("odd__hang", {"word": "one"})

        await until(lambda: "cancelled one" in world.connections.log("odd"))
        assert "still here" == await world.say("odd__echo", text="still here")
        assert 1 == world.connections.get("odd").status.opened


async def test_cancelled_caller_cancels_the_call_at_the_server(
    world_of: Opener, until: Wait
) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__echo")
        call = asyncio.ensure_future(world.call("odd__hang", {"word": "two"}))
        await until(lambda: world.connections.get("odd").status.calls_running == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        await until(lambda: "cancelled two" in world.connections.log("odd"))
        assert 0 == world.connections.get("odd").status.calls_running


async def test_hanging_call_of_a_repeatable_tool_is_an_error_for_the_model(
    world_of: Opener,
) -> None:
    setup = hostile_setup(timeouts_s={"hang": 0.2}, repeatable=["hang"])
    async with world_of({"odd": setup}) as world:
        output = await world.call("odd__hang")

        assert isinstance(output, ToolOutput)
        assert output.is_error
        assert "longer than 0.2 s" in output.content


async def test_server_that_exits_in_a_call_interrupts_it_and_comes_back(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__echo", text="before")
        with pytest.raises(ToolInterrupted, match="broke off"):
            await world.call("odd__exit")

        assert "again" == await world.say("odd__echo", text="again")
        status = world.connections.get("odd").status
        assert (ConnectionState.READY, 2) == (status.state, status.opened)


async def test_reason_of_an_end_is_told_with_the_exit_status(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup("dies")}) as world:
        await world.reach("odd", ConnectionState.BACKOFF, ConnectionState.BROKEN)

        assert "it ended with exit status 9" == world.connections.get("odd").status.reason
        assert "I cannot find my configuration" in world.connections.log("odd")


async def test_server_that_fails_again_and_again_is_broken_and_fails_calls_at_once(
    world_of: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.tools.mcp.owner.BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr("agency.tools.mcp.owner.BREAKER_AWAY_S", 0.0)
    async with world_of({"odd": hostile_setup("dies")}) as world:
        await world.reach("odd", ConnectionState.BROKEN)
        began_s = monotonic_s()
        with pytest.raises(ToolUnavailable, match="broken") as raised:
            await world.call("odd__echo")

        assert monotonic_s() - began_s < 1.0
        assert raised.value.retry_after_s is not None


async def test_server_that_is_away_for_a_moment_is_not_broken(
    world_of: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is started anew may refuse more often than a broken one within seconds."""
    monkeypatch.setattr("agency.tools.mcp.owner.BACKOFF_BASE_S", 0.0)
    times = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        setup = ConnectionSetup(url=f"http://127.0.0.1:{port}/mcp")
        async with world_of({"web": setup}) as world, asyncio.timeout(GUARD_S):
            while times <= 2 * BREAKER_FAILURES:
                assert world.connections.get("web").status.state is not ConnectionState.BROKEN
                await asyncio.sleep(0.01)


async def test_tool_that_a_run_holds_is_called_at_the_connection_as_it_is_now(
    world_of: Opener,
) -> None:
    good, bad = hostile_setup(), hostile_setup("dies")
    async with world_of() as world:
        await world.connections.add("odd", good, is_active=True, is_tested=True)
        await world.connections.change("odd", setup=bad)
        held = await world.tool("odd__echo")
        await world.connections.change("odd", setup=good)

        output = await held.call({"text": "hi"}, world.context())

        assert isinstance(output, ToolOutput)
        assert "hi" == output.content
        await world.connections.remove("odd")
        began_s = monotonic_s()
        with pytest.raises(ToolUnavailable, match="changed or removed"):
            await held.call({"text": "hi"}, world.context())
        assert monotonic_s() - began_s < 1.0


async def test_silent_server_is_given_up_in_time(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup("silent")}, connect_timeout_s=0.5) as world:
        await world.reach("odd", ConnectionState.BACKOFF)

        assert "it did not answer within 0.5 s" == world.connections.get("odd").status.reason


async def test_server_that_leaves_at_an_unknown_question_is_spoken_with_as_before(
    world_of: Opener,
) -> None:
    async with world_of({"odd": hostile_setup("leaves")}) as world:
        assert "hi" == await world.say("odd__echo", text="hi")
        assert "2025-11-25" == world.connections.get("odd").status.protocol


async def test_answer_that_is_too_large_is_an_error_and_the_session_stays(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        output = await world.call("odd__huge", {"bytes": MESSAGE_BYTES_MAX + 10})
        assert isinstance(output, ToolOutput)

        assert output.is_error
        assert str(MESSAGE_BYTES_MAX) in output.content
        assert "hi" == await world.say("odd__echo", text="hi")
        assert 1 == world.connections.get("odd").status.opened


async def test_large_answer_is_cut_to_head_and_tail(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        content = await world.say("odd__huge", bytes=3 << 20)

        assert len(content) <= 1 << 20
        assert "characters left out" in content


async def test_answer_that_is_none_is_an_error_for_the_model(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        output = await world.call("odd__bad_structure")

        assert isinstance(output, ToolOutput)
        assert output.is_error
        assert "not valid" in output.content


async def test_arguments_that_cannot_be_sent_are_an_error_and_the_session_stays(
    world_of: Opener,
) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        output = await world.call("odd__echo", {"text": "half of a pair: \ud800"})

        assert isinstance(output, ToolOutput)
        assert (True, 1) == (output.is_error, world.connections.get("odd").status.opened)
        assert "cannot be sent" in output.content


async def test_picture_and_sound_are_put_into_the_workspace_of_the_run(world_of: Opener) -> None:
    data = base64.b64encode(b"\x89PNG and so on").decode()
    async with world_of({"odd": hostile_setup()}) as world:
        output = await world.call("odd__picture", {"data": data})
        broken = await world.call("odd__picture", {"data": "!"})
        by_hand = await world.connections.call(
            "odd", DirectCall(tool="picture", arguments={"data": data})
        )

        assert isinstance(output, ToolOutput)
        path, sound = output.files
        assert b"\x89PNG and so on" == (world.folder / path).read_bytes()
        assert b"\x89PNG and so on" == (world.folder / sound).read_bytes()
        assert ("recordings", ".wav") == (Path(sound).parent.name, Path(sound).suffix)
        lines = output.content.splitlines()
        assert f"[image image/png, 14 bytes, in the file {path}]" == lines[1]
        assert "[image image/svg+xml, 14 bytes]" == lines[2]
        assert lines[3].endswith(f"in the file {sound}]")
        assert "[audio image/png, 14 bytes]" == lines[4]
        assert isinstance(broken, ToolOutput)
        assert not broken.files
        assert isinstance(by_hand, ToolOutput)
        assert "[image image/png, 14 bytes]" in by_hand.content


async def test_words_on_stderr_are_kept_up_to_a_limit(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup("flood")}) as world:
        assert "flooded" == await world.say("odd__flood", lines=2000)
        assert "hi" == await world.say("odd__echo", text="hi")
        assert len(world.connections.log("odd")) < LOG_BYTES_MAX + 200


async def test_changed_list_is_read_again_and_kept(world_of: Opener, until: Wait) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__grow", name="new one")
        toolset = world.sources.all()[0]
        async with asyncio.timeout(10):
            while "odd__new_one" not in {tool.spec.name for tool in await toolset.tools()}:
                await asyncio.sleep(0.02)


async def test_progress_is_handed_on(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__progress")

        assert ["1/2 half"] == world.lines


async def test_server_gets_a_clean_environment(world_of: Opener) -> None:
    setup = hostile_setup(env={"MINE": "yes"})
    async with world_of({"odd": setup}) as world:
        environment = json.loads(await world.say("odd__environment"))

        inherited = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LC_CTYPE"}
        assert {"MINE", MARK} <= environment.keys() <= {"MINE", MARK, *inherited}


async def test_tries_of_one_call_have_one_idempotency_key(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        first, second = [await world.say("odd__count") for _ in range(2)]
        third = await world.call("odd__count", call_key="run-1/call-2")

        assert isinstance(third, ToolOutput)
        keys = {
            text.partition(" ")[2].split("'agency/idempotency_key': ")[1]
            for text in (first, second)
        }
        assert 1 == len({key[:34] for key in keys})
        assert keys.pop()[:34] not in third.content


async def test_hints_loosen_only_where_they_are_trusted(world_of: Opener) -> None:
    trusted = hostile_setup(trust_hints=True, deny=["exit"], allow=["wipe"], once=["echo"])
    async with world_of({"odd": hostile_setup(), "fine": trusted}) as world:
        found = {}
        for name in ("odd__echo", "fine__echo", "fine__exit", "fine__wipe", "fine__slow"):
            tool = await world.tool(name)
            found[name] = (tool.effect.value, tool.permission.value)

    assert {
        "odd__echo": ("once", "ask"),
        "fine__echo": ("once", "allow"),
        "fine__exit": ("once", "deny"),
        "fine__wipe": ("once", "allow"),
        "fine__slow": ("once", "ask"),
    } == found


async def test_nothing_is_left_of_a_server_that_does_not_want_to_go(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup("stubborn", "children")}) as world:
        await world.say("odd__echo")
        marks = [process.mark for process in await world.store.connections.processes()]
        assert 4 <= len(marked(MARK, marks))
        began_s = monotonic_s()

    assert monotonic_s() - began_s < 10.0
    assert [] == list(marked(MARK, marks))


async def test_children_of_a_server_that_was_killed_are_ended(
    world_of: Opener, until: Wait
) -> None:
    async with world_of({"odd": hostile_setup("children", repeatable=["echo"])}) as world:
        await world.say("odd__echo")
        marks = [process.mark for process in await world.store.connections.processes()]
        for pid in marked(MARK, marks):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if command[:2] == [sys.executable.encode(), b"-I"]:
                continue
            if str(hostile_setup().args[0]).encode() in command:
                os.kill(pid, signal.SIGKILL)

        assert "again" == await world.say("odd__echo", text="again")
        await until(lambda: not marked(MARK, marks))


async def test_killed_warden_leaves_nothing_either(world_of: Opener, until: Wait) -> None:
    setup = hostile_setup("stubborn", "children", repeatable=["echo"])
    async with world_of({"odd": setup}) as world:
        await world.say("odd__echo")
        marks = [process.mark for process in await world.store.connections.processes()]
        pid = world.connections.get("odd").status.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        assert "again" == await world.say("odd__echo", text="again")
        await until(lambda: not marked(MARK, marks))


async def test_server_that_does_not_answer_a_ping_is_opened_anew(
    world_of: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.tools.mcp.session.PING_S", 0.1)
    monkeypatch.setattr("agency.tools.mcp.session.PING_TIMEOUT_S", 0.3)
    async with world_of({"odd": hostile_setup("deaf")}) as world:
        await world.reach("odd")
        async with asyncio.timeout(30):
            while world.connections.get("odd").status.opened < 2:
                await asyncio.sleep(0.02)
