"""A daemon that dies leaves no server of tools behind, and the next one goes on with them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mcp_servers import hostile
from tests.processes import Daemons, daemons_in, get, post
from tests.tools_setup.bubblewrap import find_bubblewrap

GONE_S = 10.0
"""Promised: nothing of a server is left so long after its daemon has died."""


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with daemons_in(tmp_path) as started:
        yield started


def configure(daemons: Daemons, *, is_sandboxed: bool) -> None:
    """Configure a server that does not want to go, and has children that do not, either."""
    arguments = [hostile.__file__, "stubborn", "children", str(daemons.folder)]
    (daemons.folder / "config.toml").write_text(
        "[mcp.servers.odd]\n"
        f'command = "{sys.executable}"\n'
        f"args = {arguments!r}\n"
        f"sandbox = {str(is_sandboxed).lower()}\n"
        'repeatable = ["*"]\n'
    )


def processes(folder: Path) -> set[int]:
    """Find all that runs for a server of this test: the folder is among its arguments."""
    wanted = os.fsencode(folder)
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words:
                found.add(int(entry.name))
    return found


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not become so in time"
        time.sleep(0.05)


def call(url: str) -> Any:
    body = {"tool": "echo", "arguments": {"text": "hi"}}
    return post(f"{url}/api/v1/connections/odd/call", body)[1].get("content")


@pytest.mark.parametrize("is_sandboxed", [False, True], ids=["outside", "sandboxed"])
def test_killed_daemon_leaves_no_process_and_the_next_has_its_tools(
    daemons: Daemons, is_sandboxed: bool
) -> None:
    if is_sandboxed and find_bubblewrap() is None:
        pytest.skip("bubblewrap is not here")
    configure(daemons, is_sandboxed=is_sandboxed)
    child = daemons.start()
    url = daemons.announced()["url"]
    wait_until(lambda: call(url) == "hi", 30)
    before = processes(daemons.folder)
    assert len(before) >= 3

    child.kill()
    child.wait()
    wait_until(lambda: not before & processes(daemons.folder), GONE_S)

    daemons.start()
    url = daemons.announced()["url"]
    wait_until(lambda: call(url) == "hi", 30)


def test_what_was_left_because_all_watchers_died_is_ended_by_the_next_daemon(
    daemons: Daemons,
) -> None:
    configure(daemons, is_sandboxed=False)
    child = daemons.start()
    url = daemons.announced()["url"]
    wait_until(lambda: call(url) == "hi", 30)
    before = processes(daemons.folder)
    warden = get(f"{url}/api/v1/connections/odd")[1]["pid"]
    os.kill(child.pid, signal.SIGSTOP)
    os.kill(warden, signal.SIGKILL)
    child.kill()
    child.wait()
    # The server itself goes with its warden; what it has started does not.
    wait_until(lambda: warden not in processes(daemons.folder), GONE_S)
    assert before & processes(daemons.folder)

    daemons.start()
    wait_until(lambda: not before & processes(daemons.folder), GONE_S)


def test_daemon_that_is_asked_to_stop_leaves_no_process(daemons: Daemons) -> None:
    configure(daemons, is_sandboxed=False)
    child = daemons.start()
    url = daemons.announced()["url"]
    wait_until(lambda: call(url) == "hi", 30)

    child.terminate()
    child.wait(timeout=20)

    assert set() == processes(daemons.folder)


def test_own_address_does_not_hold_up_the_start(daemons: Daemons) -> None:
    from tests.processes import free_port

    port = free_port()
    (daemons.folder / "config.toml").write_text(
        f'[server]\nport = {port}\n[mcp]\nserver_url = "http://localhost:{port}/mcp"\n'
    )
    daemons.environ.pop("PORT")
    daemons.start()

    def shown() -> Any:
        return get(f"http://127.0.0.1:{port}/api/v1/connections/mcp")[1]

    wait_until(lambda: bool(shown()["state"] == "broken"), 20)
    assert "own address" in shown()["reason"]


def test_changed_settings_are_taken_over_without_a_restart(daemons: Daemons) -> None:
    configure(daemons, is_sandboxed=False)
    child = daemons.start()
    url = daemons.announced()["url"]
    wait_until(lambda: call(url) == "hi", 30)
    text = (daemons.folder / "config.toml").read_text()
    (daemons.folder / "config.toml").write_text(text.replace("servers.odd", "servers.other"))
    child.send_signal(signal.SIGHUP)

    def names() -> list[str]:
        listed = get(f"{url}/api/v1/connections")[1]["connections"]
        return [one["name"] for one in listed if one["state"] == "ready"]

    wait_until(lambda: names() == ["other"], 30)
