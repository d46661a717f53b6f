"""Commands and code: what they say, how they are bounded, and that they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agency.domain.tool import Permission, ToolEffect
from agency.errors import SandboxFailed, SandboxTooWeak
from agency.ports.sandbox import CommandEnd
from agency.tools.background import handle_of
from agency.tools.commands import places_of
from agency.tools.sandbox.choose import UNAVAILABLE
from agency.tools.shell import HELD_BYTES
from tests.contract.making import end
from tests.integration.tools.conftest import Bench, OpenBench


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    """Tools on a machine on which commands can be run safely."""
    async with open_bench() as opened:
        if opened.sandbox.name == UNAVAILABLE:
            pytest.skip(f"no sandbox works here: {opened.sandbox.fix}")
        yield opened


async def test_command_runs_in_the_workspace(bench: Bench) -> None:
    await bench.said("write_file", path="a.txt", content="from a tool")

    output = await bench.call("shell", command="cat a.txt; echo; echo made > b.txt; pwd")

    lines = output.content.splitlines()
    assert ["from a tool", str(bench.folder)] == lines[:2]
    assert lines[2].startswith("[exit code 0, after ")
    assert not output.is_error
    assert output.sandbox is not None
    assert "made" == await bench.said("read_file", path="b.txt")


async def test_failing_command_is_told_as_one(bench: Bench) -> None:
    said = await bench.refused("shell", command="echo oh; exit 3")
    assert said.startswith("oh\n[exit code 3, after ")


async def test_nothing_but_the_workspace_is_seen_or_changed(bench: Bench) -> None:
    outside = bench.place.data_dir / "other"
    outside.write_text("canary")
    await bench.place.workspace.folder()

    said = (await bench.call("shell", command=f"cat {outside}; echo x > {outside}")).content

    assert "canary" not in said
    assert "canary" == outside.read_text()


async def test_long_output_is_cut_and_the_whole_can_be_read(bench: Bench) -> None:
    said = await bench.said("shell", command="seq 1 100000")

    assert len(said) < 9000
    assert said.startswith("1\n2\n3\n")
    assert "\n100000\n[exit code 0" in said
    assert "lines left out" in said
    path = said.partition("The whole is in ")[2].partition(":")[0]
    assert path.startswith(".agency/results/shell-")
    assert (await bench.said("read_file", path=path, offset=50_000)).startswith("50000\n50001\n")


async def test_command_that_takes_too_long_is_stopped(bench: Bench) -> None:
    said = await bench.refused("shell", command="echo begun; sleep 60", timeout_s=1)
    assert said.startswith("begun\n[it took too long and was stopped, after 1.")


async def test_cancelled_call_ends_the_command(bench: Bench) -> None:
    tool = await bench.find("shell")
    await bench.place.workspace.folder()
    begun = asyncio.Event()

    def heard(text: str) -> None:
        if "begun" in text:
            begun.set()

    context = bench.context()
    call = asyncio.create_task(
        tool.call(
            {"command": "echo begun; sleep 300; echo late > late.txt"},
            type(context)(
                run_id=context.run_id,
                agent=context.agent,
                session_id=None,
                principal="",
                call_key="k",
                workspace=context.workspace,
                progress=heard,
            ),
        )
    )
    async with asyncio.timeout(10):
        await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert not (bench.folder / "late.txt").exists()
    assert "sleep 300" not in _commands()


async def test_output_is_clean_text(bench: Bench) -> None:
    said = await bench.said(
        "shell", command=r"printf '\033[31mred\033[0m\n10%%\r20%%\rdone\n\377\n'"
    )
    assert said.startswith("red\ndone\n\ufffd\n[exit")


async def test_background_command_is_seen_and_stopped(bench: Bench) -> None:
    said = await bench.said(
        "shell", command="echo begun; echo x > made.txt; sleep 300", background=True
    )
    handle = said.split()[2].rstrip(".")
    async with asyncio.timeout(10):
        while "begun" not in (said := await bench.said("shell_tail", handle=handle)):
            await asyncio.sleep(0.02)
    assert said.endswith(f"[{handle}: still running]")
    assert "x" == await bench.said("read_file", path="made.txt")
    assert bench.background.is_busy(bench.place.run_id)

    assert "was stopped" in await bench.said("shell_stop", handle=handle)

    assert not bench.background.is_busy(bench.place.run_id)
    assert "was stopped" in await bench.refused("shell_tail", handle=handle)
    assert "There is no command" in await bench.refused("shell_tail", handle="bg-zzz")


async def test_end_of_a_background_command_is_waited_for(bench: Bench) -> None:
    said = await bench.said("shell", command="sleep 0.2; echo done", background=True)
    handle = said.split()[2].rstrip(".")
    said = await bench.said("shell_tail", handle=handle, wait_s=20)
    assert said.startswith("done\n")
    assert "exit code 0" in said


async def test_only_the_end_of_what_works_in_the_background_is_held(bench: Bench) -> None:
    said = await bench.said("shell", command="seq 1 200000", background=True)
    handle = said.split()[2].rstrip(".")

    said = await bench.said("shell_tail", handle=handle, wait_s=20, lines=5)

    assert said.startswith("199996\n199997\n199998\n199999\n200000\n")
    end = bench.background.of(bench.place.run_id)[handle].end
    assert end is not None
    assert len(end.output) < HELD_BYTES + 100


async def test_background_commands_are_bounded(open_bench: OpenBench) -> None:
    async with open_bench(commands_max=1) as bench:
        await bench.said("shell", command="sleep 300", background=True)
        said = await bench.refused("shell", command="sleep 300", background=True)
        assert "Stop one first" in said


async def test_commands_end_with_their_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.tools.background.LOOK_S", 0.05)
    await bench.said("shell", command="sleep 301", background=True)
    assert "sleep 301" in _commands()

    await end(bench.place.store, bench.place.run_id)

    async with asyncio.timeout(10):
        while bench.background.of(bench.place.run_id):
            await asyncio.sleep(0.02)
    assert "sleep 301" not in _commands()


async def test_what_ended_by_itself_is_forgotten_with_its_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.tools.background.LOOK_S", 0.01)
    said = await bench.said("shell", command="true", background=True)
    await bench.said("shell_tail", handle=said.split()[2].rstrip("."), wait_s=20)
    assert bench.background.of(bench.place.run_id)

    await end(bench.place.store, bench.place.run_id)

    async with asyncio.timeout(10):
        while bench.background.of(bench.place.run_id):
            await asyncio.sleep(0.02)


async def test_command_is_not_started_twice_by_two_tries_of_a_call(bench: Bench) -> None:
    """A try may break off after it has started the command, when files cannot be kept."""
    tool = await bench.find("shell")
    arguments = {"command": "echo x >> begun.txt; sleep 303", "background": True}
    begun = await bench.place.workspace.folder() / "begun.txt"
    for _ in range(2):
        await tool.call(arguments, bench.context("the-call"))
        async with asyncio.timeout(10):
            while not begun.exists() or not begun.stat().st_size:
                await asyncio.sleep(0.02)

    await bench.said("shell_stop", handle=handle_of("the-call"))

    assert "x\n" == begun.read_text()
    assert "sleep 303" not in _commands()


async def test_command_that_could_not_be_run_is_told_and_can_be_stopped(bench: Bench) -> None:
    class Failing:
        """A command whose sandbox cannot be made."""

        pid = 1

        async def write(self, data: bytes) -> None:
            raise BrokenPipeError(len(data))

        def close_input(self) -> None:
            pass

        def tail(self, bytes_max: int) -> bytes:
            return b"" * bytes_max

        async def wait(self) -> CommandEnd:
            raise SandboxFailed("The sandbox could not be made: no room.")

        end = wait

    handle = handle_of("any")
    bench.background.add(bench.place.run_id, handle, "true", Failing())

    assert "no room" in await bench.refused("shell_tail", handle=handle, wait_s=5)
    assert "no room" in await bench.said("shell_stop", handle=handle)
    bench.background.add(bench.place.run_id, handle_of("other"), "true", Failing())
    await bench.background.end_run(bench.place.run_id)
    assert not bench.background.of(bench.place.run_id)


async def test_handle_is_no_path(bench: Bench) -> None:
    await bench.said("write_file", path="a.txt", content="x")
    said = await bench.refused("shell_tail", handle="../../a")
    assert "There is no command" in said


async def test_command_that_died_with_the_daemon_is_told_so(open_bench: OpenBench) -> None:
    async with open_bench() as bench:
        tool = await bench.find("shell")
        await bench.place.workspace.folder()
        await tool.call({"command": "sleep 302", "background": True}, bench.context("the-call"))
        await bench.place.workspace.keep()
        run_id = bench.place.run_id
    assert "sleep 302" not in _commands()

    async with open_bench(run_id=run_id) as bench:
        said = await bench.refused("shell_tail", handle=handle_of("the-call"))

    assert "it ended when the daemon was stopped or restarted" in said
    assert "sleep 302" in said


async def test_python_prints_and_sees_the_workspace(bench: Bench) -> None:
    await bench.said("write_file", path="helper.py", content="VALUE = 41\n")
    code = "import helper\nopen('out.txt', 'w').write('x')\nprint(helper.VALUE + 1)"
    said = await bench.said("python", code=code)
    assert said.startswith("42\n[exit code 0")
    listed = await bench.said("list_files")
    assert "helper.py (11 bytes)\nout.txt (1 bytes)" == listed


async def test_python_that_fails_shows_why(bench: Bench) -> None:
    said = await bench.refused("python", code="1/0")
    assert "ZeroDivisionError" in said
    assert "nothing was printed" in await bench.said("python", code="x = 1")


async def test_commands_have_no_network_and_no_environment(bench: Bench) -> None:
    os.environ["CANARY_TOKEN"] = "canary"
    try:
        said = (await bench.call("shell", command="env; cat /proc/net/tcp | wc -l")).content
    finally:
        del os.environ["CANARY_TOKEN"]
    assert "canary" not in said
    code = "import socket; socket.create_connection(('127.0.0.1', 9), 2)"
    assert "Error" in await bench.refused("python", code=code)


async def test_without_a_sandbox_commands_are_refused_or_asked_for(open_bench: OpenBench) -> None:
    async with open_bench(driver="none") as bench:
        tool = await bench.find("shell")
        assert Permission.ASK is tool.permission
        await bench.place.workspace.folder()
        with pytest.raises(SandboxTooWeak):
            await tool.call({"command": "true"}, bench.context())
    async with open_bench(driver="none", command_needs=[], run_id=bench.place.run_id) as bench:
        tool = await bench.find("shell")
        assert Permission.ASK is tool.permission
        assert (await bench.said("shell", command="echo yes")).startswith("yes\n")


@pytest.mark.skipif(sys.platform != "linux", reason="there is a sandbox-exec elsewhere")
async def test_where_no_sandbox_can_be_made_nothing_is_run(open_bench: OpenBench) -> None:
    """It is told at once: what is missing now is missing until the daemon is started anew."""
    async with open_bench(driver="sandbox-exec", command_needs=[]) as bench:
        tool = await bench.find("shell")
        await bench.place.workspace.folder()
        for background in (False, True):
            with pytest.raises(SandboxTooWeak, match=UNAVAILABLE):
                await tool.call({"command": "true", "background": background}, bench.context())


async def test_network_makes_commands_happen_once_and_ask(open_bench: OpenBench) -> None:
    async with open_bench(command_hosts=["example.org"]) as bench:
        tool = await bench.find("shell")
        assert (ToolEffect.ONCE, Permission.ASK) == (tool.effect, tool.permission)
        shown = tool.request({"command": "curl example.org"}, bench.context())
        assert {"command": "curl example.org", "network": ["example.org"]} == shown.show
    async with open_bench(run_id=bench.place.run_id) as bench:
        tool = await bench.find("shell")
        assert ToolEffect.RESTORE is tool.effect


def _commands() -> str:
    """All command lines of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


@pytest.mark.parametrize(
    "trick",
    [
        "ln -s /etc .agency",
        "echo x > .agency",
        "mkdir .agency; mkfifo .agency/results",
        "mkdir .agency; ln -s / .agency/results",
        "mkdir -p .agency/results; chmod 0 .agency/results .agency",
    ],
    ids=["link", "file", "pipe", "inner-link", "locked"],
)
async def test_long_output_is_told_whatever_stands_in_its_way(bench: Bench, trick: str) -> None:
    said = await bench.said("shell", command=f"rm -rf .agency; {trick}; seq 1 20000")

    assert "The whole is in .agency/results/shell-" in said
    assert "Noted." == await bench.said("note", text="still here")


def test_of_a_python_among_others_only_its_own_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home may be the prefix of a Python: keys and all else in it are nobody's business."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for name in ("me/bin", "me/lib/python3.11", "me/own/bin"):
        (tmp_path / name).mkdir(parents=True)

    assert (tmp_path / "me/own",) == places_of(tmp_path / "me/own/bin/python3")
    assert (
        tmp_path / "me/bin/python3",
        tmp_path / "me/lib",
    ) == places_of(tmp_path / "me/bin/python3")
    assert (tmp_path / "me/python3", tmp_path / "me/lib") == places_of(tmp_path / "me/python3")
    assert (Path("/opt/bin/python3"), *([Path("/opt/lib")] * Path("/opt/lib").is_dir())) == (
        places_of(Path("/opt/bin/python3"))
    )
    assert () == places_of(Path("/usr/local/bin/python3.11"))
