"""The command line and the daemon, as a person uses them: two real processes and a folder."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.version import VERSION
from tests.processes import GUARD_S, Daemons, daemons_in, free_port

WORKFLOWS = '''\
from agency import Context, workflow


@workflow("greet", version="1")
async def greet(ctx: Context, input: str) -> str:
    """Greet somebody."""
    name = await ctx.step("shout", shout, input)
    return f"Hello {name}"


@workflow("deliver", version="1")
async def deliver(ctx: Context) -> dict[str, object]:
    address = await ctx.input("Where to?")
    paid = await ctx.wait_event("paid")
    return {"address": address, "paid": paid}


@workflow("add", version="1")
async def add(ctx: Context, input: list[int]) -> int:
    return sum(input)


@workflow("break", version="1")
async def break_(ctx: Context) -> None:
    await ctx.step("open", open_box)


def shout(name: str) -> str:
    return name.upper()


def open_box() -> None:
    raise ValueError("There is no such box.")
'''


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Place:
    """A folder with workflows, a daemon's data and a command line."""

    daemons: Daemons
    port: int

    def environ(self, more: dict[str, str]) -> dict[str, str]:
        kept = ("PATH", "HOME", "TMPDIR", "PYTHONPATH")
        return {name: self.daemons.environ[name] for name in kept} | more

    def agency(self, *arguments: str, stdin: str | None = None, **environ: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "agency", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            cwd=self.daemons.folder,
            env=self.environ(environ),
            timeout=GUARD_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self) -> subprocess.Popen[str]:
        return self.daemons.start("--port", str(self.port))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "flows.py").write_text(WORKFLOWS)
    (tmp_path / "config.toml").write_text('[workflows]\npaths = ["flows.py"]\n')
    with daemons_in(tmp_path) as daemons:
        yield Place(daemons, free_port())


Agency = Callable[..., Ended]


@pytest.fixture
def agency(place: Place) -> Agency:
    """A command line beside a running daemon."""
    place.start()
    return place.agency


def test_agent_answers_and_remembers_the_conversation(agency: Agency) -> None:
    first = agency("ask", "My box is blue.", "--json")
    second = agency("ask", "Which colour has it?", "--session", first.json["session_id"])
    piped = agency("ask", "Say it again:", stdin="It is blue.\n")

    assert (first.code, first.json["status"], first.json["rehearsal"]) == (0, "completed", True)
    assert first.json["steps_executed"] == 1
    assert (second.code, piped.code) == (0, 0)
    assert second.out.strip()
    assert "rehearsal" in second.err
    assert "It is blue." in piped.out


def test_workflow_is_run_watched_and_looked_at(agency: Agency) -> None:
    plain = agency("run", "greet", "--input", '"Bob"', "--name", "greeting")
    watched = agency("run", "greet", "--input", "-", "--watch", stdin='"Eve"')
    run_id = plain.err.split()[1]

    assert (plain.code, plain.out) == (0, '"Hello BOB"\n')
    assert (watched.code, watched.out) == (0, '"Hello EVE"\n')
    assert "+ shout#1 = EVE\n" in watched.err
    assert run_id in agency("runs", "ls", "--status", "completed", "-q").out.split()
    assert agency("runs", "show", "greeting", "--json").json["output"] == "Hello BOB"
    steps = agency("runs", "show", run_id, "--steps", "--json").json["steps"]
    assert [("step", "shout#1", "BOB")] == [(one["kind"], one["key"], one["body"]) for one in steps]
    assert "greet\tfunction\t1\tGreet somebody.\n" in agency("run", "--list").out


def test_run_that_asks_is_answered_and_goes_on(agency: Agency) -> None:
    asked = agency("run", "deliver", "--name", "parcel")
    by_name = agency("runs", "show", "parcel", "--json").json
    answered = agency("snapshots", "resume", by_name["snapshot_id"], "--input", '"Main Street 1"')
    spent = agency("snapshots", "resume", by_name["snapshot_id"], "--input", '"elsewhere"')
    sent = agency("runs", "send", "parcel", "paid", "--payload", "12")
    watched = agency("runs", "watch", "parcel", "--timeout", "15s")

    assert (asked.code, asked.out) == (6, "")
    assert "it asks: Where to?" in asked.err
    assert f"agency snapshots resume {by_name['snapshot_id']} --input JSON" in asked.err
    assert answered.code == 6
    assert "agency runs send" in answered.err
    assert spent.code == 8
    assert sent.code == 0
    assert (watched.code, watched.out) == (0, '{"address":"Main Street 1","paid":12}\n')


def test_failures_have_their_codes(agency: Agency) -> None:
    broken = agency("run", "break")
    waiting = agency("run", "deliver", "--name", "parcel", "--no-wait")
    taken = agency("run", "deliver", "--name", "parcel")
    cancelled = agency("runs", "cancel", "parcel")

    assert broken.code == 1
    assert "There is no such box." in broken.err
    assert waiting.code == 0
    assert taken.code == 8
    assert cancelled.code == 0
    assert agency("runs", "cancel", waiting.out.strip()).code == 8
    assert agency("run", "delivr").code == 3
    refused = agency("run", "add", "--input", '[1, "two"]')
    assert refused.code == 2
    assert "/input/1" in refused.err
    assert agency("runs", "show", "0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11").code == 3


def test_watcher_outlasts_a_kill_and_a_restart(place: Place) -> None:
    child = place.start()
    assert place.agency("run", "deliver", "--name", "parcel").code == 6
    watcher = subprocess.Popen(
        [sys.executable, "-m", "agency", "runs", "watch", "parcel"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.daemons.folder,
        env=place.environ({}),
    )
    assert watcher.stderr is not None
    while "snapshots resume" not in watcher.stderr.readline():
        assert watcher.poll() is None

    child.kill()
    child.wait(GUARD_S)
    assert place.agency("status").code == 5
    place.start()
    snapshot_id = place.agency("runs", "show", "parcel", "--json").json["snapshot_id"]
    place.agency("snapshots", "resume", snapshot_id, "--input", "1", "--no-wait")
    place.agency("runs", "send", "parcel", "paid")
    out, err = watcher.communicate(timeout=GUARD_S)

    assert (watcher.returncode, out) == (0, '{"address":1,"paid":null}\n')
    assert "Asking again" in err


def test_first_token_is_made_without_a_daemon(place: Place) -> None:
    laptop = place.agency("token", "new", "laptop")
    again = place.agency("token", "new", "laptop", "--json")

    assert laptop.code == 0
    assert laptop.out.startswith("agy_")
    assert again.code == 8
    assert again.json["error"]["code"] == "token_name_taken"
    assert place.agency("token", "new", "two words").code == 2
    assert place.agency("token", "ls").out.startswith(f"laptop\t{laptop.out[:12]}…\t")
    assert place.agency("token", "revoke", "laptop").code == 0
    assert place.agency("token", "revoke", "laptop").code == 3
    assert place.agency("token", "ls", "--json").json == {"tokens": []}


def test_daemon_that_wants_a_token_is_served_one(place: Place) -> None:
    token = place.agency("token", "new", "first").out.strip()
    place.daemons.environ["AGENCY_SERVER__ALLOWED_HOSTS"] = "agency.example"
    place.start()

    without, wrong = place.agency("status"), place.agency("status", AGENCY_TOKEN="agy_wrong")
    assert (without.code, wrong.code) == (4, 4)
    assert place.agency("status", AGENCY_TOKEN=token).code == 0
    assert place.agency("token", "new", "kept", "--save", AGENCY_TOKEN=token).code == 0
    kept = place.daemons.folder / "var" / "token"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert place.agency("status").code == 0
    assert place.agency("token", "revoke", "first").code == 0
    assert place.agency("status", AGENCY_TOKEN=token).code == 4
    assert [one["name"] for one in place.agency("token", "ls", "--json").json["tokens"]] == ["kept"]


def test_store_of_a_live_daemon_is_never_opened(place: Place) -> None:
    place.start()
    (place.daemons.folder / "var" / "daemon.json").unlink()

    ended = place.agency("token", "new", "sneaky", PORT=str(free_port()))

    assert ended.code == 8
    assert "in use by" in ended.err
    assert place.agency("token", "ls", PORT=str(place.port)).out == ""


def test_start_keeps_its_budget(place: Place) -> None:
    """``--version`` in 0.1 s and ``status`` in 0.25 s.

    Processor time stands for the time on the clock, which other tests beside this one stretch; on
    a machine that is slow just now a bare interpreter says by how much.
    """
    place.start()
    bare_s = []
    for _ in range(5):
        began_s = _children_s()
        subprocess.run([sys.executable, "-c", ""], check=True)
        bare_s.append(_children_s() - began_s)
    slowness = max(1.0, min(bare_s) / 0.025)

    def best_s(*arguments: str) -> float:
        taken_s = []
        for _ in range(5):
            began_s = _children_s()
            assert place.agency(*arguments).code == 0
            taken_s.append(_children_s() - began_s)
        return min(taken_s)

    assert place.agency("--version").out == f"agency {VERSION}\n"
    assert best_s("--version") <= 0.1 * slowness
    assert best_s("status") <= 0.25 * slowness


def _children_s() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
