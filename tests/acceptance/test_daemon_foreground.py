"""The daemon as a person or a service manager starts it: real processes, real signals."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.version import VERSION
from tests.processes import COMMAND, GUARD_S, Daemons, free_port, get, log_messages, post

GUIDE = (Path(__file__).parent / "guide.toml").read_text()
HOLDING = '''\
from agency import Context, workflow

@workflow("hold", version="1")
async def hold(ctx: Context, input: str) -> str:
    """A step that says that it has begun, and is in flight until it is let go."""
    return await ctx.step("hold", wait_for, input)

def wait_for(folder: str) -> str:
    with open(folder + "/begun", "w") as begun:
        begun.write("x")
    with open(folder + "/gate") as gate:
        return gate.readline()
'''


@dataclass
class Held:
    """A daemon with a run whose step is in flight until it is let go.

    Attributes:
        begun, gate: Named pipes, open at both ends: from the step, and to it.
    """

    daemons: Daemons
    child: subprocess.Popen[str]
    run_id: str
    begun: int
    gate: int

    def await_begun(self) -> None:
        ready, _, _ = select.select([self.begun], [], [], GUARD_S)
        assert ready, "the step has not begun"
        os.read(self.begun, 1)

    def let_go(self) -> None:
        os.write(self.gate, b"seen\n")

    def ended(self) -> dict[str, Any]:
        """Wait until the run has ended, on whichever daemon serves now."""
        url = self.daemons.announced()["url"]
        run: dict[str, Any] = get(
            f"{url}/api/v1/runs/{self.run_id}", headers={"Prefer": "wait=10"}
        )[1]
        return run


@pytest.fixture
def held(daemons: Daemons) -> Iterator[Held]:
    (daemons.folder / "hold.py").write_text(HOLDING)
    daemons.environ["AGENCY_WORKFLOWS__PATHS"] = "hold.py"
    pipes = []
    for name in ("begun", "gate"):
        os.mkfifo(daemons.folder / name)
        pipes.append(os.open(daemons.folder / name, os.O_RDWR | os.O_NONBLOCK))
    child = daemons.start("--log-file", "agency.log")
    status, run = post(
        f"{daemons.announced()['url']}/api/v1/workflows",
        {"workflow_id": "held", "workflow": "hold", "input": str(daemons.folder)},
    )
    assert 201 == status, run
    holding = Held(daemons, child, run["run_id"], *pipes)
    holding.await_begun()
    yield holding
    for pipe in pipes:
        os.close(pipe)


def test_version_and_help_need_no_configuration(daemons: Daemons) -> None:
    (daemons.folder / "config.toml").write_text("broken")

    assert f"agency {VERSION}\n" == daemons.run("--version").stdout
    assert "--pid-file" in daemons.run("--help").stdout


def test_start_serve_and_stop_are_told_to_the_service_manager(daemons: Daemons) -> None:
    child = daemons.start()
    url = daemons.announced()["url"]

    status, health = get(f"{url}/health")

    assert 200 == status
    assert health["llm"]["rehearsal"] is True
    child.send_signal(signal.SIGTERM)
    assert "STATUS=Stopping" in daemons.await_notice("STOPPING=1")
    assert 0 == child.wait(GUARD_S)
    assert not (daemons.folder / "var" / "daemon.json").exists()


def test_ready_notice_says_where_and_that_it_is_a_rehearsal(daemons: Daemons) -> None:
    child = daemons.spawn()

    notice = daemons.await_notice("READY=1", child)

    assert f"Serving at {daemons.announced()['url']}; model: REHEARSAL" in notice
    assert f"MAINPID={child.pid}" in notice


def test_interrupt_stops_like_terminate(daemons: Daemons) -> None:
    child = daemons.start()

    child.send_signal(signal.SIGINT)

    assert 0 == child.wait(GUARD_S)


def test_log_lines_are_json_when_nobody_reads_them_on_a_terminal(daemons: Daemons) -> None:
    child = daemons.start()
    child.send_signal(signal.SIGTERM)
    stdout, stderr = child.communicate(timeout=GUARD_S)

    messages = [json.loads(line)["message"] for line in stderr.splitlines()]
    assert "" == stdout
    assert "ready" in messages
    assert "stopped" == messages[-1]


def test_closed_standard_error_does_not_stop_the_daemon(daemons: Daemons) -> None:
    child = daemons.start()
    assert child.stderr is not None
    child.stderr.close()

    for _ in range(3):
        assert 200 == get(f"{daemons.announced()['url']}/health")[0]
        assert 404 == get(f"{daemons.announced()['url']}/nowhere")[0]

    child.send_signal(signal.SIGTERM)
    assert 0 == child.wait(GUARD_S)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_daemon_starts_with_standard_streams_closed(daemons: Daemons, closed: str) -> None:
    command = f'exec "$@" {closed}'
    child = subprocess.Popen(
        ["/bin/sh", "-c", command, "sh", *COMMAND, "--log-file", "log"],
        cwd=daemons.folder,
        env=daemons.environ,
    )
    try:
        daemons.await_notice("READY=1")
        assert 200 == get(f"{daemons.announced()['url']}/health")[0]

        child.send_signal(signal.SIGTERM)
        assert 0 == child.wait(GUARD_S)
    finally:
        child.kill()
        child.wait(GUARD_S)
    assert "stopped" == log_messages(daemons.folder / "log")[-1]["message"]


def test_data_directory_and_what_is_in_it_are_the_owners_only(daemons: Daemons) -> None:
    daemons.start()

    data = daemons.folder / "var"
    assert 0o700 == data.stat().st_mode & 0o777
    assert all(not path.stat().st_mode & 0o077 for path in data.rglob("*"))


def test_guides_foreground_command_works_with_the_guides_file(daemons: Daemons) -> None:
    (daemons.folder / "config.toml").write_text(GUIDE)
    del daemons.environ["AGENCY_LLM__PROVIDER"], daemons.environ["PORT"]
    port = free_port()

    daemons.start("--config", "config.toml", "--host", "127.0.0.1", "--port", str(port))

    status, health = get(f"http://127.0.0.1:{port}/health")
    assert 200 == status
    assert "llama3.2:latest" == health["llm"]["model"]
    assert (daemons.folder / "var" / "memory.db").exists()


def test_all_faults_of_the_configuration_are_told_at_once(daemons: Daemons) -> None:
    (daemons.folder / "config.toml").write_text(
        '[llm]\nmodle = "x"\n[server]\nport = 99999\n[sever]\n'
    )
    del daemons.environ["PORT"]
    daemons.environ["AGENCY_LLM__NUM_CTX"] = "many"

    refused = daemons.run()

    assert 2 == refused.returncode
    assert [
        "agency-daemon: The configuration has 4 faults.",
        "  config.toml:2 llm.modle: There is no setting 'modle' in [llm]. Did you mean 'model'?",
        "  config.toml:4 server.port: It must be 65535 or less, and is 99999.",
        "  config.toml:5 sever: There is no section [sever]. Did you mean [server]?",
        "  AGENCY_LLM__NUM_CTX: It must be a whole number, and is 'many'.",
    ] == refused.stderr.splitlines()[:5]


def test_check_tells_whether_the_configuration_is_valid_and_starts_nothing(
    daemons: Daemons,
) -> None:
    assert 0 == daemons.run("--check").returncode
    assert 2 == daemons.run("--check", "--port", "x").returncode
    assert not (daemons.folder / "var").exists()


def test_unknown_flag_is_wrong_usage(daemons: Daemons) -> None:
    assert 2 == daemons.run("--prot", "1").returncode


def test_taken_port_is_a_conflict_and_says_with_whom(daemons: Daemons) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        refused = daemons.run("--port", str(port))

    assert 8 == refused.returncode
    assert f"The port {port} on '127.0.0.1' is taken" in refused.stderr
    assert "--port" in refused.stderr


def test_second_daemon_on_the_same_data_is_refused_with_the_pid_of_the_first(
    daemons: Daemons,
) -> None:
    first = daemons.start()

    refused = daemons.run()

    assert 8 == refused.returncode
    assert f"process id {first.pid}" in refused.stderr


def test_data_directory_that_cannot_be_one_is_told_clearly(daemons: Daemons) -> None:
    (daemons.folder / "file").write_text("")

    refused = daemons.run("--data-dir", "file/data")

    assert 1 == refused.returncode
    assert "cannot write" in refused.stderr
    assert "Not a directory" in refused.stderr


@pytest.mark.parametrize(
    "environ", [{"HOST": "0.0.0.0"}, {"AGENCY_SERVER__ALLOWED_HOSTS": "agency.example"}]
)
def test_open_door_without_a_token_is_refused_with_the_command_that_makes_one(
    daemons: Daemons, environ: dict[str, str]
) -> None:
    daemons.environ |= environ

    refused = daemons.run()

    assert 2 == refused.returncode
    assert "agency token new NAME" in refused.stderr
    assert f"(env {next(iter(environ))})" in refused.stderr


def test_open_door_with_a_token_serves_those_who_show_it(daemons: Daemons) -> None:
    child = daemons.start()
    made = post(f"{daemons.announced()['url']}/api/v1/tokens", {"name": "ci"})[1]
    child.send_signal(signal.SIGTERM)
    assert 0 == child.wait(GUARD_S)

    daemons.start("--host", "0.0.0.0")

    url = daemons.announced()["url"] + "/api/v1/runs"
    assert 401 == get(url)[0]
    assert 200 == get(url, token=made["token"])[0]


def test_log_file_is_reopened_and_settings_are_compared_on_hangup(daemons: Daemons) -> None:
    log = daemons.folder / "agency.log"
    config = daemons.folder / "config.toml"
    config.write_text('[logging]\nlevel = "info"\n')
    child = daemons.start("--log-file", log.name)
    log.rename(daemons.folder / "agency.log.1")
    config.write_text('[logging]\nlevel = "debug"\n[server]\ngrace_s = 1\n')

    child.send_signal(signal.SIGHUP)

    assert "MONOTONIC_USEC=" in daemons.await_notice("RELOADING=1", child)
    daemons.await_notice("READY=1", child)
    child.send_signal(signal.SIGTERM)
    assert 0 == child.wait(GUARD_S)
    old = [line["message"] for line in log_messages(daemons.folder / "agency.log.1")]
    new = {line["message"]: line for line in log_messages(log)}
    assert "ready" in old
    assert "stopped" in new
    reloaded = new["reloaded"]
    assert (["logging.level"], ["server.grace_s"]) == (
        reloaded["applied"],
        reloaded["needs_restart"],
    )


def test_hangup_with_a_broken_file_keeps_the_daemon_and_reports_the_faults(
    daemons: Daemons,
) -> None:
    config = daemons.folder / "config.toml"
    config.write_text("")
    child = daemons.start("--log-file", "agency.log")
    config.write_text("[server]\nprot = 1\n")

    child.send_signal(signal.SIGHUP)

    daemons.await_notice("RELOADING=1", child)
    daemons.await_notice("READY=1", child)
    assert 200 == get(f"{daemons.announced()['url']}/health")[0]
    child.send_signal(signal.SIGTERM)
    assert 0 == child.wait(GUARD_S)
    faults = [line.get("faults", "") for line in log_messages(daemons.folder / "agency.log")]
    assert any("server.prot" in fault for fault in faults)


def test_module_that_fails_to_load_is_reported_and_the_daemon_serves(daemons: Daemons) -> None:
    flows = daemons.folder / "flows"
    flows.mkdir()
    (flows / "good.py").write_text(HOLDING)
    (flows / "bad.py").write_text("import no_such_module\n")
    daemons.environ["AGENCY_WORKFLOWS__PATHS"] = "flows"

    daemons.start("--log-file", "agency.log")

    names = {one["name"] for one in get_definitions(daemons)}
    assert "hold" in names
    lines = {line["message"]: line for line in log_messages(daemons.folder / "agency.log")}
    assert "no_such_module" in lines["workflows not loaded"]["traceback"]


def get_definitions(daemons: Daemons) -> list[dict[str, object]]:
    body = get(f"{daemons.announced()['url']}/api/v1/definitions")[1]
    return list(body["definitions"])


def test_terminate_under_load_lets_the_step_finish_and_takes_no_new_work(
    daemons: Daemons, held: Held
) -> None:
    url = daemons.announced()["url"]

    held.child.send_signal(signal.SIGTERM)
    daemons.await_notice("STOPPING=1")
    refused, problem = post(
        f"{url}/api/v1/workflows", {"workflow_id": "late", "workflow": "hold", "input": "x"}
    )
    held.let_go()

    assert (503, "shutting_down") == (refused, problem["code"])
    assert 0 == held.child.wait(GUARD_S)
    daemons.start()
    assert ("completed", "seen\n") == (held.ended()["status"], held.ended()["output"])


def test_second_signal_cuts_the_grace_and_the_run_is_put_back_by_name(
    daemons: Daemons, held: Held
) -> None:
    held.child.send_signal(signal.SIGTERM)
    daemons.await_notice("STOPPING=1")
    held.child.send_signal(signal.SIGTERM)

    assert 0 == held.child.wait(GUARD_S)
    lines = {line["message"]: line for line in log_messages(daemons.folder / "agency.log")}
    assert [held.run_id] == lines["drained"]["run_ids"]
    daemons.start()
    held.await_begun()
    held.let_go()
    assert "completed" == held.ended()["status"]
