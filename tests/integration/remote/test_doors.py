"""Agents elsewhere over REST and from the command line: one daemon, one agent, real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.api import answers
from agency.cli.commands import run_command
from agency.client import Client
from agency.errors import RemoteAgentAway, RemoteAgentNotFound, RemoteTaskNotFound
from tests.integration.remote.conftest import Peer
from tests.processes import daemons_in, get, post


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, peer: Peer) -> Iterator[str]:
    """A daemon that knows two agents, of which one is away."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "config.toml").write_text(
        '[sandbox]\ndriver = "none"\n'
        f'[a2a.agents.tester]\nurl = "{peer.url()}"\n'
        '[a2a.agents.away]\nurl = "http://127.0.0.1:1"\n'
    )
    with daemons_in(folder) as daemons:
        daemons.start()
        yield daemons.announced()["url"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("AGENCY_URL", "A2A_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ended:
        code = run_command(["a2a", *arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


# --- REST ---------------------------------------------------------------------------------------


def test_agents_are_listed_with_whether_they_can_be_reached(url: str) -> None:
    status, found = get(f"{url}/api/v1/remote-agents")

    assert 200 == status
    answers.RemoteAgentPageAnswer.model_validate(found, strict=True)
    away, tester = found["remote_agents"]
    assert ("away", False) == (away["name"], away["reachable"])
    assert "nobody answers there" in away["reason"]
    assert ("tester", True, ["Echo"]) == (tester["name"], tester["reachable"], tester["skills"])


def test_pages_of_agents_go_on(url: str) -> None:
    client = Client(url, None)

    first = client.remote_agents(limit=1)
    second = client.remote_agents(limit=1, cursor=first.cursor)

    assert ["away", "tester"] == [one["name"] for one in (*first.items, *second.items)]
    assert second.cursor is None


def test_card_and_tasks_are_shown_and_ended(url: str, peer: Peer) -> None:
    client = Client(url, None)
    _, started = post(
        f"{url}/api/v1/runs",
        {"workflow": "call_agent", "input": {"agent": "tester", "message": "ask"}},
    )
    steps: list[Any] = []
    while not steps:
        _, found = get(f"{url}/api/v1/runs/{started['run_id']}/steps")
        steps = [one for one in found["steps"] if one["key"] == "send#1"]
    task_id = steps[0]["body"]["id"]

    card = client.remote_card("tester", is_fresh=True)
    task = client.remote_task("tester", task_id)
    ended = client.cancel_remote_task("tester", task_id)

    answers.RemoteCardAnswer.model_validate(card, strict=True)
    answers.RemoteTaskAnswer.model_validate(task, strict=True)
    assert ("Tester", "1.0") == (card["name"], card["protocol"])
    assert (task_id, "cancelled") == (ended["id"], ended["state"])
    assert peer.messages(word="ask")


def test_what_is_not_there_is_told(url: str) -> None:
    client = Client(url, None)

    with pytest.raises(RemoteAgentNotFound):
        client.remote_card("nobody")
    with pytest.raises(RemoteTaskNotFound):
        client.remote_task("tester", "nothing")
    with pytest.raises(RemoteAgentAway):
        client.remote_card("away")
    # Only names: an address is nobody's to look at with the daemon's eyes.
    assert 404 == get(f"{url}/api/v1/remote-agents/http%3A%2F%2F127.0.0.1/card")[0]


# --- the command line, by name -----------------------------------------------------------------


def test_message_to_a_name_is_a_run(run: Run, url: str) -> None:
    ended = run("send", "tester", "echo by name", "--url", url)

    assert (0, "by name\n") == (ended.code, ended.out)
    assert ended.err.startswith("run ")
    assert "Go on with --context" in ended.err


def test_run_that_only_begins_is_told_by_its_id(run: Run, url: str) -> None:
    ended = run("send", "tester", "echo later", "--no-wait", "--url", url)

    _, found = get(f"{url}/api/v1/runs/{ended.out.strip()}")
    assert "call_agent" == found["workflow"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("send", "tester", "fail"), 1, "no luck"),
        (("send", "nobody", "x"), 1, "There is no agent 'nobody'"),
        (("card", "away"), 5, "nobody answers there"),
        (("card", "nobody"), 3, "There are: away, tester."),
        (("get", "tester", "nothing"), 3, "no task 'nothing'"),
        (("send", "tester"), 2, "Give a text"),
        (("send", "tester", "x", "--no-wait", "--stream"), 2, "--no-wait"),
        (("send", "tester", "x", "--data", "{"), 2, "--data"),
        (("send", "tester", "--file", "not-there"), 2, "not-there"),
        (("send", "tester", "--file", __file__, "--file", __file__), 2, "the same name"),
    ],
    ids=[
        "failed", "no-agent", "away", "no-card", "no-task", "nothing", "both", "no-json", "no-file",
        "twice",
    ],
)  # fmt: skip
def test_what_does_not_work_has_a_code_and_a_reason(
    run: Run, url: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run(*arguments, "--url", url)

    assert code == ended.code
    assert said in ended.err


def test_question_to_a_name_ends_the_command_with_how_to_answer(run: Run, url: str) -> None:
    asked = run("send", "tester", "ask", "--url", url)

    assert 6 == asked.code
    assert "Who are you?" in asked.err
    assert "agency runs resume" in asked.err


def test_list_is_for_people_and_for_programs(run: Run, url: str) -> None:
    listed = run("list", "--url", url)
    shown = run("list", "--json", "--url", url)

    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert [("away", "away"), ("tester", "ready")] == [(row[0], row[1]) for row in rows]
    assert "nobody answers there" in rows[0][-1]
    assert ["away", "tester"] == [one["name"] for one in shown.document["remote_agents"]]


# --- the command line, by address: there is no daemon -------------------------------------------


def test_card_of_an_address_is_shown(run: Run, peer: Peer) -> None:
    shown = run("card", peer.url())
    raw = run("card", peer.url(), "--json")

    assert 0 == shown.code
    assert "A2A 1.0, JSONRPC" in shown.out
    assert "Tester" == raw.document["name"]


@pytest.mark.parametrize("more", [(), ("--stream",)], ids=["at-once", "streamed"])
def test_message_to_an_address_is_answered(run: Run, peer: Peer, more: tuple[str, ...]) -> None:
    ended = run("send", peer.url(), "echo by address", *more)

    assert (0, "by address\n") == (ended.code, ended.out)


def test_question_is_shown_with_how_to_answer_it(run: Run, peer: Peer) -> None:
    asked = run("send", peer.url(), "ask")
    task = run("send", peer.url(), "ask", "--json").document
    shown = run("get", peer.url(), task["id"])

    answered = run("send", peer.url(), "Ada", "--task", task["id"], "--context", task["context_id"])

    assert (6, 0) == (asked.code, shown.code)
    assert "Who are you?" in asked.err
    assert f"agency a2a send {peer.url()}" in asked.err
    assert (0, "Hello, Ada!\n") == (answered.code, answered.out)


def test_who_does_not_wait_succeeds_whatever_the_task_does(run: Run, peer: Peer) -> None:
    shown = run("send", peer.url(), "ask", "--no-wait")
    raw = run("send", peer.url(), "ask", "--no-wait", "--json")

    assert (0, 0) == (shown.code, raw.code)
    assert raw.document["id"]


def test_task_that_takes_too_long_is_left_and_cancelled_by_hand(run: Run, peer: Peer) -> None:
    left = run("send", peer.url(), "work", "--timeout", "1s")
    task_id = left.out.strip()

    cancelled = run("cancel", peer.url(), task_id)

    assert 7 == left.code
    assert f"The task {task_id} is cancelled." in cancelled.err
    (peer.folder / "cancelled").unlink(missing_ok=True)


def test_file_value_and_token_go_along(
    run: Run, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    monkeypatch.setenv("A2A_TOKEN", "of a person")

    run("send", peer.url(), "echo along", "--file", "a.txt", "--data", '{"x": 1}')

    [line] = peer.messages(word="echo along")
    assert "Bearer of a person" == line["authorization"]
    assert ["a.txt"] == [part["filename"] for part in line["parts"] if "filename" in part]
    assert {"x": 1} in [part.get("data") for part in line["parts"]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("card", "http://127.0.0.1:1"), 5, "nobody answers there"),
        (("card", "http://no-such-host.invalid"), 5, "does not resolve"),
        (("card", "{peer}/nothing"), 1, "speaks no A2A there"),
        (("card", "https://127.0.0.1:{port}/1.0"), 5, "no encrypted connection"),
        (("get", "{peer}", "../x"), 3, "no task"),
        (("card", "ftp://x"), 4, "no address of an agent"),
        (("card", "{peer}", "--allow", "http://x"), 2, "--allow"),
    ],
    ids=["closed", "name", "no-card", "tls", "odd-task", "scheme", "allow"],
)
def test_what_an_address_does_not_do_is_told(
    run: Run, peer: Peer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run(*(one.format(peer=peer.url(), port=peer.port) for one in arguments))

    assert said in ended.err
    assert code == ended.code
