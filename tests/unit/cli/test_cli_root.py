from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agency.cli.commands import root
from agency.cli.tree import Noun, Verb
from agency.version import VERSION
from tests.unit.cli.playing import (
    GUARD_S,
    RUN_ID,
    Agency,
    PlayedDaemon,
    Reply,
    clean_environ,
    problem,
    run_agency,
    run_document,
)

HEALTH = {
    "status": "degraded",
    "service": "agency-daemon",
    "version": "0.1.0",
    "uptime": "0h 0m 5s",
    "uptime_seconds": 5.0,
    "timestamp": "2026-01-01T00:00:00.000000Z",
    "database": "connected",
    "llm": {
        "provider": "ollama",
        "model": "llama",
        "reachable": False,
        "rehearsal": False,
        "reason": "connection refused",
    },
    "runs": {"pending": 0, "suspended": 2, "completed": 7},
    "workflows": {"loaded": 1, "failed": [{"path": "broken.py", "reason": "SyntaxError"}]},
}


def commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = [path]
    if isinstance(command, Noun):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            member = command.get_command(ctx, name)
            assert member is not None
            found += commands(member, (*path, name))
    return found


ALL = commands(root, ())


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "agency")
def test_every_level_has_help_with_examples_first(path: tuple[str, ...]) -> None:
    command: click.Command = root
    for name in path:
        assert isinstance(command, Noun)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert isinstance(command, (Noun, Verb))

    text = command.get_help(click.Context(command, info_name=" ".join(("agency", *path))))

    assert 0 < text.index("Examples:") < text.index("Options:")
    assert "--json" in text
    assert command.get_short_help_str()


def test_help_and_version_come_from_the_process(agency: Agency) -> None:
    assert agency("-h").out == agency("--help").out
    assert agency("--version").out == f"agency {VERSION}\n"
    assert agency("--json", "--version").out == f"agency {VERSION}\n"
    assert agency("runs", "ls", "--help").code == 0


def modules_of(arguments: list[str], directory: Path, environ: dict[str, str]) -> set[str]:
    """Run a command, and tell which modules it has imported."""
    program = (
        "import sys; from agency.cli.main import main; main(sys.argv[1:]); "
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env=clean_environ(environ),
        timeout=GUARD_S,
        check=True,
    )
    return set(done.stderr.split())


def test_start_imports_nothing_heavy(daemon: PlayedDaemon, tmp_path: Path) -> None:
    """Budgets: 0.1 s for --version and 0.25 s for status; click alone takes 0.05 s."""
    daemon.on("GET", "/health", Reply(HEALTH))
    heavy = {"aiohttp", "pydantic", "rich", "sqlite3", "asyncio", "jsonschema", "ollama"}

    version = modules_of(["--version"], tmp_path, {})
    status = modules_of(["status"], tmp_path, {"PORT": daemon.url.rpartition(":")[2]})

    assert not version & {*heavy, "click", "http.client", "orjson"}
    assert not status & heavy
    assert "click" in status


def test_unknown_command_has_a_suggestion(agency: Agency) -> None:
    ended, below = agency("satus"), agency("runs", "shwo")

    assert (ended.code, below.code) == (2, 2)
    assert "Did you mean 'status'?" in ended.err
    assert "Did you mean 'show'?" in below.err
    assert agency("runs", "xyzzy").err.count("Did you mean") == 0


def test_unknown_option_and_no_command_are_usage_errors(agency: Agency) -> None:
    assert agency("status", "--jsn").code == 2
    assert agency("runs").code == 2
    assert "Usage: agency" in agency().err


def test_completion_knows_commands(agency: Agency) -> None:
    environ = {"_AGENCY_COMPLETE": "bash_complete", "COMP_WORDS": "agency ru", "COMP_CWORD": "1"}

    ended = agency(environ=environ)

    assert ended.out.splitlines() == ["plain,run", "plain,runs"]


def test_status_is_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on(
        "GET",
        "/health",
        Reply(HEALTH),
        Reply(HEALTH),
        Reply({**HEALTH, "status": "unhealthy"}, 503),
    )

    ended, as_json, unhealthy = agency("status"), agency("status", "--json"), agency("status")

    assert (ended.code, as_json.code, unhealthy.code) == (0, 0, 1)
    assert f"daemon:    degraded, version 0.1.0, at {daemon.url}\n" in ended.out
    assert "model:     llama by ollama, away: connection refused\n" in ended.out
    assert "runs:      2 suspended, 7 completed\n" in ended.out
    assert "broken.py could not be loaded" in ended.err
    assert as_json.json == HEALTH


def test_no_daemon_ends_with_5_and_says_what_to_do(agency: Agency) -> None:
    ended = agency("--json", "--url", "http://127.0.0.1:1", "status")

    assert ended.code == 5
    assert "Start it with `agency-daemon`" in ended.err
    assert ended.json["error"]["code"] == "daemon_unreachable"


def test_missing_token_ends_with_4(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/health", problem(401, "token_missing"))

    assert agency("status").code == 4


def test_options_count_before_and_after_the_command(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/health", Reply(HEALTH))
    wrong = {"AGENCY_URL": "http://127.0.0.1:1"}

    before = agency("--json", "--url", daemon.url, "--token", "t", "status", environ=wrong)
    after = agency("status", "--json", "--url", daemon.url, "--token", "t", environ=wrong)

    assert before == after
    assert before.json == HEALTH
    assert [one.headers["authorization"] for one in daemon.seen] == ["Bearer t", "Bearer t"]


def test_reader_that_leaves_is_no_traceback(daemon: PlayedDaemon, tmp_path: Path) -> None:
    page = {"runs": [run_document() for _ in range(3000)], "next_cursor": None}
    daemon.on("GET", "/api/v1/runs", Reply(page))

    done = subprocess.run(
        f"{sys.executable} -m agency runs ls --limit 3000 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environ({"AGENCY_URL": daemon.url}),
        timeout=GUARD_S,
        check=False,
    )

    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_interrupt_ends_with_130_and_says_that_the_run_goes_on(
    daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("POST", "/api/v1/runs", Reply(run_document(status="pending"), 202))
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(run_document(status="running")))
    command = subprocess.Popen(
        [sys.executable, "-m", "agency", "run", "order"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=clean_environ({"AGENCY_URL": daemon.url}),
    )
    assert command.stderr is not None
    assert command.stderr.readline() == f"run {RUN_ID}\n"

    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=GUARD_S)

    assert (command.returncode, out) == (130, "")
    assert f"agency runs cancel {RUN_ID}" in err


def on_terminal(arguments: list[str], directory: Path, environ: dict[str, str]) -> str:
    """Run a command with a terminal for stdout and stderr, and return what it shows."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agency", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        cwd=directory,
        env=clean_environ({"TERM": "xterm-256color", "COLUMNS": "200", **environ}),
    )
    os.close(follower)
    shown = b""
    while select.select([leader], [], [], GUARD_S)[0]:
        try:
            part = os.read(leader, 65536)
        except OSError:
            # Linux reports the end of a terminal as an input/output error.
            break
        if not part:
            break
        shown += part
    os.close(leader)
    process.wait(GUARD_S)
    return shown.decode().replace("\r\n", "\n")


def test_people_get_a_table_and_colour_unless_they_refuse(
    daemon: PlayedDaemon, tmp_path: Path
) -> None:
    page = {"runs": [run_document(name="mine")], "next_cursor": None}
    daemon.on("GET", "/api/v1/runs", Reply(page))
    daemon.on("GET", "/health", problem(401, "token_missing"))
    environ = {"AGENCY_URL": daemon.url}

    table = on_terminal(["runs", "ls"], tmp_path, environ)
    error = on_terminal(["status"], tmp_path, environ)
    plain = {**environ, "NO_COLOR": "1"}

    assert "WORKFLOW" in table
    assert RUN_ID in table
    assert "\x1b[31magency:\x1b[0m" in error
    assert "\x1b[31m" not in on_terminal(["status"], tmp_path, plain)


def test_control_characters_of_strangers_do_nothing_to_a_terminal(
    daemon: PlayedDaemon, tmp_path: Path
) -> None:
    answer = {
        "response": "fine\x1b[2J\x9b31m\nnext",
        "completed": True,
        "run_id": RUN_ID,
        "session_id": "s",
        "steps_executed": 1,
        "model": "m",
        "rehearsal": False,
    }
    daemon.on("POST", "/api/v1/agent/process", Reply(answer))

    shown = on_terminal(["ask", "x"], tmp_path, {"AGENCY_URL": daemon.url})

    assert shown == "fine\\x1b[2J\\x9b31m\nnext\n"


def test_people_see_that_something_is_waited_for(daemon: PlayedDaemon, tmp_path: Path) -> None:
    running, done = run_document(status="running"), run_document(output="done")
    daemon.on("POST", "/api/v1/runs", Reply(running, 202))
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(running), Reply(running), Reply(done))

    shown = on_terminal(["run", "order"], tmp_path, {"AGENCY_URL": daemon.url})
    quiet = on_terminal(["run", "order", "-q"], tmp_path, {"AGENCY_URL": daemon.url})

    assert shown.count(f"run {RUN_ID}") >= 2
    assert shown.endswith('"done"\n')
    assert quiet == '"done"\n'


# --- agency config -------------------------------------------------------------------------


def test_settings_are_shown_with_their_origin(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[llm]\nmodel = "qwen3"\n')
    environ = {"PORT": "9000"}

    shown = run_agency(["config", "show", "--origin"], tmp_path, environ=environ)
    section = run_agency(["config", "show", "llm.model"], tmp_path)
    as_json = run_agency(
        ["config", "show", "server", "--origin", "--json"], tmp_path, environ=environ
    )

    assert 'llm.model\t"qwen3"\tconfig.toml:2\n' in shown.out
    assert "server.port\t9000\tenv PORT\n" in shown.out
    assert section.out == 'llm.model = "qwen3"\n'
    assert as_json.json["server.port"] == {"value": 9000, "origin": "env PORT"}
    assert as_json.json["server.host"] == {"value": "127.0.0.1", "origin": "default"}
    assert run_agency(["config", "show", "nothing"], tmp_path).code == 2


def test_configuration_is_checked_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[llm]\nmodle = "x"\nnum_ctx = "many"\n')
    (tmp_path / "good.toml").write_text("[llm]\nnum_ctx = 4096\n")

    bad = run_agency(["config", "check", "bad.toml"], tmp_path)
    good = run_agency(["config", "check", "good.toml", "--json"], tmp_path)

    assert (bad.code, bad.out) == (2, "")
    assert "bad.toml:2" in bad.err
    assert "bad.toml:3" in bad.err
    assert "Did you mean 'model'?" in bad.err
    assert good.json == {"path": str(tmp_path / "good.toml"), "valid": True}


def test_path_of_the_configuration_is_printed(tmp_path: Path) -> None:
    none = run_agency(["config", "path"], tmp_path)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "other.toml").write_text("")

    usual = run_agency(["config", "path"], tmp_path)
    named = run_agency(["config", "path"], tmp_path, environ={"CONFIG_PATH": "other.toml"})

    assert none.code == 3
    assert usual.out == f"{tmp_path / 'config.toml'}\n"
    assert named.out == f"{tmp_path / 'other.toml'}\n"


def test_broken_configuration_is_reported_by_commands_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[serv]\n")

    ended = run_agency(["status"], tmp_path)

    assert ended.code == 2
    assert "Did you mean [server]?" in ended.err


# --- agency token, with a daemon -----------------------------------------------------------


def test_tokens_are_made_by_the_daemon_that_answers(agency: Agency, daemon: PlayedDaemon) -> None:
    made = {"name": "ci", "prefix": "agy_abcdefgh", "created_at": "2026", "token": "agy_secret"}
    daemon.on("POST", "/api/v1/tokens", Reply(made, 201), problem(409, "token_name_taken"))
    listed = {"tokens": [{name: made[name] for name in ("name", "prefix", "created_at")}]}
    daemon.on("GET", "/api/v1/tokens", Reply(listed))
    daemon.on("DELETE", "/api/v1/tokens/ci", Reply({"name": "ci", "revoked": True}))

    assert agency("token", "new", "ci").out == "agy_secret\n"
    assert agency("token", "new", "ci").code == 8
    assert agency("token", "ls").out == "ci\tagy_abcdefgh…\t2026\n"
    assert agency("token", "ls", "--json").json == listed
    assert agency("token", "revoke", "ci").code == 0
    assert agency("token", "new", "ci", "--save").code == 2


def test_named_daemon_that_is_away_is_not_replaced_by_the_store(tmp_path: Path) -> None:
    ended = run_agency(["token", "ls", "--url", "http://127.0.0.1:1"], tmp_path)

    assert ended.code == 5
    assert list(tmp_path.iterdir()) == []
