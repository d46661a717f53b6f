"""Which driver is taken, what is refused, and that nothing weaker ever takes its place."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings
from agency.domain.tool import Capability, Level
from agency.errors import ConfigurationInvalid, SandboxFailed, SandboxTooWeak
from agency.ports.sandbox import Command, Sandbox
from agency.tools.sandbox.sandbox import ChosenSandbox, make_sandbox, open_sandbox
from tests.integration.sandbox.cell import Cell, is_held, settings_of, skip_without
from tests.integration.sandbox.test_escapes import SURVIVORS


def command(tmp_path: Path, *argv: str) -> Command:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return Command(argv=argv or ("true",), folder=folder)


async def test_auto_takes_bubblewrap_where_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skip_without("bubblewrap")
    caplog.set_level(logging.INFO)
    sandbox = make_sandbox(settings_of("auto", tmp_path / "data"))
    assert not sandbox.is_ready

    await sandbox.ready()

    assert sandbox.is_ready
    assert "bubblewrap" == sandbox.name
    assert all(sandbox.levels[each] is not Level.ABSENT for each in Capability), sandbox.choice
    record = next(each for each in caplog.records if each.message == "sandbox chosen")
    assert "bubblewrap" == record.__dict__["driver"]


async def test_auto_takes_landlock_where_bubblewrap_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without("landlock")
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings(server=Server(data_dir=str(tmp_path / "data")))
    sandbox = make_sandbox(settings)

    await sandbox.ready()

    assert "landlock" == sandbox.name
    assert ["bubblewrap"] == [each.driver for each in sandbox.choice.tried]
    assert "bwrap is not in PATH" == sandbox.choice.tried[0].reason
    assert "Install bubblewrap: `apt install bubblewrap`" in sandbox.choice.fix


async def test_a_driver_that_does_not_work_is_replaced_by_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0 && exit\n'
        "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n"
    )
    broken.chmod(0o755)
    settings = Settings(
        server=Server(data_dir=str(tmp_path / "data")),
        sandbox=SandboxSettings(driver="bubblewrap", bubblewrap=str(broken)),
    )
    sandbox = make_sandbox(settings)

    with pytest.raises(SandboxFailed, match="setting up uid map") as failed:
        await sandbox.run(command(tmp_path, "touch", "ran"))

    assert "unavailable" == sandbox.name
    assert {Level.ABSENT} == set(sandbox.levels.values())
    assert not (tmp_path / "folder" / "ran").exists()
    assert failed.value.hint == sandbox.fix
    assert sandbox.fix


async def test_none_has_to_be_said_and_protects_from_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = make_sandbox(settings_of("none", tmp_path / "data"))

    end = await sandbox.run(command(tmp_path, "sh", "-c", "exit 7"))

    assert (7, "none") == (end.code, sandbox.name)
    assert {Level.ABSENT} == set(end.levels.values())
    assert "WARNING" in {each.levelname for each in caplog.records}
    with pytest.raises(SandboxTooWeak, match="file_read, network"):
        sandbox.check(frozenset({Capability.NETWORK, Capability.FILE_READ}))


async def test_also_without_a_sandbox_nothing_survives_its_command(tmp_path: Path) -> None:
    sandbox = make_sandbox(settings_of("none", tmp_path / "data"))

    end = await sandbox.run(command(tmp_path, sys.executable, "-c", SURVIVORS))

    assert 0 == end.code, end
    assert not is_held(tmp_path / "folder" / "survivor")


async def test_what_is_required_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    settings = settings_of("none", tmp_path / "data", require=["network"])

    with pytest.raises(SandboxTooWeak, match="network"):
        async with open_sandbox(settings):
            pytest.fail("it was opened")


async def test_what_is_required_refuses_each_call(tmp_path: Path) -> None:
    sandbox = make_sandbox(settings_of("none", tmp_path / "data", require=["network"]))

    with pytest.raises(SandboxTooWeak):
        await sandbox.run(command(tmp_path, "touch", "ran"))

    assert not (tmp_path / "folder" / "ran").exists()


async def test_a_partial_bound_suffices_where_the_settings_say_so(cell: Cell) -> None:
    weak = [each for each, level in cell.sandbox.levels.items() if level is Level.PARTIAL]
    if not weak:
        pytest.skip("everything is enforced here")
    settings = settings_of(cell.driver, cell.folder, partial=[])
    strict = ChosenSandbox(settings.sandbox, cell.sandbox.surroundings, choice=cell.sandbox.choice)

    cell.sandbox.check(frozenset(Capability))
    with pytest.raises(SandboxTooWeak, match=str(weak[0])):
        strict.check(frozenset(weak))


async def test_a_check_before_the_probe_probes(tmp_path: Path) -> None:
    skip_without("landlock")
    sandbox = make_sandbox(settings_of("landlock", tmp_path / "data"))

    sandbox.check(frozenset({Capability.FILE_READ}))

    assert sandbox.is_ready


async def test_it_is_probed_once_also_when_many_wait(tmp_path: Path) -> None:
    skip_without("landlock")
    sandbox = make_sandbox(settings_of("landlock", tmp_path / "data"))

    await asyncio.gather(*(sandbox.ready() for _ in range(5)))
    first = sandbox.choice
    await sandbox.ready()

    assert first is sandbox.choice


async def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    skip_without("landlock")
    left = tmp_path / "data" / "sandbox" / "tmp-of-a-killed-daemon"
    left.mkdir(parents=True)
    sandbox = make_sandbox(settings_of("landlock", tmp_path / "data"))

    await sandbox.ready()
    await sandbox.run(command(tmp_path))

    assert ["etc"] == [path.name for path in (tmp_path / "data" / "sandbox").iterdir()]


async def test_a_data_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in its place")
    sandbox = make_sandbox(settings_of("auto", tmp_path / "data"))

    assert "unavailable" == sandbox.name
    with pytest.raises(SandboxFailed, match="cannot be used"):
        await sandbox.run(command(tmp_path))


def test_a_private_host_that_is_none_is_a_fault(tmp_path: Path) -> None:
    settings = settings_of("auto", tmp_path, private_hosts=["http://x"])

    with pytest.raises(ConfigurationInvalid):
        make_sandbox(settings)


async def test_hidden_places_stay_hidden_below_what_is_readable(cell: Cell, tmp_path: Path) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "shown" / "hidden"
    hidden.mkdir(parents=True)
    (shown / "open").write_text("open")
    (hidden / "secret").write_text("canary")
    (shown / "config.toml").write_text("canary")
    settings = settings_of(cell.driver, tmp_path / "data", readable=[str(shown)])
    sandbox = make_sandbox(settings, hidden=[hidden, shown / "config.toml"])

    end = await sandbox.run(
        command(tmp_path, "sh", "-c", f"cat {shown}/open {hidden}/secret {shown}/config.toml")
    )

    assert end.output.startswith(b"open")
    assert b"canary" not in end.output


async def test_hidden_places_stay_hidden_below_what_a_command_may_read(
    cell: Cell, tmp_path: Path
) -> None:
    """What is asked for by its name is seen also where it lies in a hidden place."""
    top = tmp_path / "home"
    hidden, asked = top / "data", top / "data" / "python"
    asked.mkdir(parents=True)
    (top / "open").write_text("open")
    (hidden / "vault.key").write_text("canary")
    (asked / "library").write_text("library")
    sandbox = make_sandbox(settings_of(cell.driver, tmp_path / "own"), hidden=[hidden])
    line = f"cat {top}/open {asked}/library {hidden}/vault.key; touch {hidden}/made"

    end = await sandbox.run(replace(command(tmp_path, "sh", "-c", line), readable=[asked, top]))

    assert end.output.startswith(b"openlibrary")
    assert b"canary" not in end.output
    assert not (hidden / "made").exists()


@pytest.mark.parametrize(
    ("argv", "match"),
    [((), "names no program"), (("",), "names no program"), (("a\0b",), "NUL")],
    ids=["none", "empty", "nul"],
)
async def test_what_cannot_be_started_is_refused(
    cell: Cell, argv: tuple[str, ...], match: str
) -> None:
    with pytest.raises(SandboxFailed, match=match):
        await cell.sandbox.run(cell.command(argv))


async def test_a_folder_that_is_gone_is_refused(cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match="folder"):
        await cell.sandbox.run(Command(argv=["true"], folder=tmp_path / "gone"))


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("no-such-program",), 127),
        (("/usr",), 126),
        (("sh", "-c", "exit 0"), 0),
        (("sh", "-c", "exit 77"), 77),
    ],
    ids=["missing", "folder", "zero", "other"],
)
async def test_exit_codes_are_those_of_the_command(
    cell: Cell, argv: tuple[str, ...], code: int
) -> None:
    end = await cell.sandbox.run(cell.command(argv))

    assert (code, "", "") == (end.code, end.signal, end.reason), end


async def test_a_signal_is_told_by_name(cell: Cell) -> None:
    end = await cell.sandbox.run(cell.command(["sh", "-c", "kill -SEGV $$"]))

    assert (None, "SIGSEGV", "") == (end.code, end.signal, end.reason), end


async def test_input_is_given_and_ends(cell: Cell) -> None:
    data = os.urandom(300_000).hex().encode()

    end = await cell.sandbox.run(cell.command(["sha256sum"], stdin=data))
    silent = await cell.sandbox.run(cell.command(["cat"]))

    import hashlib

    assert hashlib.sha256(data).hexdigest().encode() == end.output.split()[0]
    assert (0, b"") == (silent.code, silent.output)


async def test_a_program_can_be_talked_with(cell: Cell) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    process = await cell.sandbox.start(
        cell.command(["sh", "-c", "echo log >&2; while read line; do echo got $line; done"]),
        on_stdout=pieces.put_nowait,
    )

    async with asyncio.timeout(30):
        await process.write(b"one\n")
        assert b"got one\n" == await pieces.get()
        await process.write(b"two\n")
        assert b"got two\n" == await pieces.get()
        process.close_input()
        assert b"" == await pieces.get()
        end = await process.wait()
    with pytest.raises(BrokenPipeError):
        await process.write(b"three\n")

    assert (0, b"log\n") == (end.code, end.output)


async def test_too_much_processor_time_and_too_large_files_are_told(cell: Cell) -> None:
    from tests.integration.sandbox.cell import bounded

    spinning = await cell.run("while True: pass", bounds=bounded(cell, cpu_s_max=1))
    writing = await cell.sandbox.run(
        cell.command(
            ["sh", "-c", "exec head -c 300000 /dev/zero > big"],
            bounds=bounded(cell, file_bytes_max=65536),
        )
    )

    assert ("cpu", "SIGXCPU") == (spinning.reason, spinning.signal), spinning
    assert ("file_size", "SIGXFSZ") == (writing.reason, writing.signal), writing
    assert 65536 == (cell.folder / "big").stat().st_size


async def test_commands_beyond_the_number_wait_their_turn(tmp_path: Path) -> None:
    sandbox = make_sandbox(settings_of("none", tmp_path / "data", commands_max=2))
    code = "mkdir m-$$ && ls -d m-* | wc -l && sleep 0.2 && rmdir m-$$"

    ends = await asyncio.gather(
        *(sandbox.run(command(tmp_path, "sh", "-c", code)) for _ in range(6))
    )

    assert {0} == {end.code for end in ends}
    assert max(int(end.output) for end in ends) <= 2


async def test_leaving_ends_what_still_runs(tmp_path: Path) -> None:
    async with open_sandbox(settings_of("none", tmp_path / "data")) as sandbox:
        process = await sandbox.start(command(tmp_path, "sleep", "60"))

    end = await process.wait()
    assert "ended" == end.reason


def conforms(sandbox: ChosenSandbox) -> Sandbox:
    return sandbox
