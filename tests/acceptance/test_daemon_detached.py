"""``--daemon``: the parent's exit code tells the truth, and the child is a proper daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.processes import Daemons, free_port, get, log_messages, wait_gone

GUIDE = (Path(__file__).parent / "guide.toml").read_text()


def test_parent_exits_when_the_child_serves(daemons: Daemons) -> None:
    pid_file = daemons.folder / "run" / "agency.pid"

    started = daemons.run("--daemon", "--pid-file", pid_file, "--log-file", "log/agency.log")

    pid = daemons.detached(pid_file)
    assert (0, "", "") == (started.returncode, started.stdout, started.stderr)
    assert 200 == get(f"{daemons.announced()['url']}/health")[0]
    assert pid == daemons.announced()["pid"]
    # Leads no session and has no terminal, so that it can never get one.
    assert os.getsid(pid) not in {pid, os.getsid(0)}
    # What authors write to relative paths lands beside the database.
    assert (daemons.folder / "var").resolve() == Path(f"/proc/{pid}/cwd").readlink()


def test_file_that_cannot_be_opened_is_told_without_a_traceback(daemons: Daemons) -> None:
    (daemons.folder / "var" / "agency.lock").mkdir(parents=True)

    refused = daemons.run("--daemon")

    assert 1 == refused.returncode
    assert refused.stderr.startswith("agency-daemon: The daemon cannot write '")
    assert "agency.lock': Is a directory." in refused.stderr
    assert "Traceback" not in refused.stderr


def test_open_data_directory_is_warned_about_in_the_log_only(daemons: Daemons) -> None:
    (daemons.folder / "var").mkdir(mode=0o755)
    pid_file = daemons.folder / "agency.pid"

    started = daemons.run("--daemon", "--pid-file", pid_file, "--log-file", "log")

    daemons.detached(pid_file)
    assert (0, "") == (started.returncode, started.stderr)
    lines = log_messages(daemons.folder / "log")
    assert "data directory is open to others" in [line["message"] for line in lines]


def test_terminate_stops_it_and_removes_the_pid_file(daemons: Daemons) -> None:
    pid_file = daemons.folder / "agency.pid"
    daemons.run("--daemon", "--pid-file", pid_file, "--log-file", "agency.log")
    pid = daemons.detached(pid_file)

    os.kill(pid, signal.SIGTERM)

    wait_gone(pid)
    assert not pid_file.exists()
    messages = [line["message"] for line in log_messages(daemons.folder / "agency.log")]
    assert "stopped" == messages[-1]


def test_guides_background_command_works_with_the_guides_file(daemons: Daemons) -> None:
    (daemons.folder / "config.toml").write_text(GUIDE)
    del daemons.environ["AGENCY_LLM__PROVIDER"]
    port = daemons.environ["PORT"] = str(free_port())
    pid_file = daemons.folder / "var/run/agency.pid"
    log_file = daemons.folder / "var/log/agency/agency.log"

    started = daemons.run(
        "--daemon", "--config", "config.toml", "--pid-file", pid_file, "--log-file", log_file
    )

    assert (0, "") == (started.returncode, started.stderr)
    daemons.detached(pid_file)
    assert 200 == get(f"http://127.0.0.1:{port}/health")[0]


def test_relative_paths_are_those_of_the_start(daemons: Daemons) -> None:
    started = daemons.run(
        "--daemon", "--pid-file", "p.pid", "--log-file", "l.log", "--data-dir", "d"
    )

    assert 0 == started.returncode
    daemons.detached(daemons.folder / "p.pid")
    assert (daemons.folder / "l.log").exists()
    assert (daemons.folder / "d" / "agency.db").exists()


def test_without_a_log_file_the_data_directory_has_one(daemons: Daemons) -> None:
    pid_file = daemons.folder / "agency.pid"

    daemons.run("--daemon", "--pid-file", pid_file)

    daemons.detached(pid_file)
    assert "ready" in {
        line["message"] for line in log_messages(daemons.folder / "var" / "agency.log")
    }


def test_second_start_with_the_pid_file_is_refused_with_the_live_pid(daemons: Daemons) -> None:
    pid_file = daemons.folder / "agency.pid"
    daemons.run("--daemon", "--pid-file", pid_file)
    pid = daemons.detached(pid_file)

    refused = daemons.run("--daemon", "--pid-file", pid_file)

    assert 8 == refused.returncode
    assert f"process id {pid}" in refused.stderr
    assert pid == int(pid_file.read_text())
    assert 200 == get(f"{daemons.announced()['url']}/health")[0]


def test_second_start_on_the_same_data_fails_with_the_childs_reason(daemons: Daemons) -> None:
    pid_file = daemons.folder / "agency.pid"
    daemons.run("--daemon", "--pid-file", pid_file)
    pid = daemons.detached(pid_file)
    other = daemons.folder / "other.pid"

    refused = daemons.run("--daemon", "--pid-file", other, "--log-file", "other.log")

    assert 8 == refused.returncode
    assert f"process id {pid}" in refused.stderr
    assert not other.exists()
    assert 200 == get(f"{daemons.announced()['url']}/health")[0]


def test_stale_pid_file_is_replaced(daemons: Daemons) -> None:
    pid_file = daemons.folder / "agency.pid"
    daemons.run("--daemon", "--pid-file", pid_file)
    killed = daemons.detached(pid_file)
    os.kill(killed, signal.SIGKILL)
    wait_gone(killed)
    assert pid_file.exists()

    started = daemons.run("--daemon", "--pid-file", pid_file)

    assert 0 == started.returncode
    pid = daemons.detached(pid_file)
    assert killed != pid
    assert 200 == get(f"{daemons.announced()['url']}/health")[0]


def test_bad_configuration_is_told_by_the_parent(daemons: Daemons) -> None:
    (daemons.folder / "config.toml").write_text("[llm]\nmodle = 1\n")

    refused = daemons.run("--daemon", "--pid-file", "agency.pid")

    assert 2 == refused.returncode
    assert "config.toml:2 llm.modle" in refused.stderr
    assert not (daemons.folder / "agency.pid").exists()


def test_log_is_reopened_after_its_rotation(daemons: Daemons) -> None:
    pid_file, log = daemons.folder / "agency.pid", daemons.folder / "agency.log"
    daemons.run("--daemon", "--pid-file", pid_file, "--log-file", log)
    pid = daemons.detached(pid_file)
    daemons.await_notice("READY=1")
    log.rename(daemons.folder / "agency.log.1")

    os.kill(pid, signal.SIGHUP)
    daemons.await_notice("RELOADING=1")
    daemons.await_notice("READY=1")

    opened = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert str(log) in opened
    assert str(daemons.folder / "agency.log.1") not in opened
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert "reloaded" in {line["message"] for line in log_messages(log)}
