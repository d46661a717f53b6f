from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency.daemon.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The service manager's end: the value of NOTIFY_SOCKET and the socket behind it."""
    is_path = request.param == "path"
    name = str(tmp_path / "notify") if is_path else f"@agency-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name if is_path else f"\0{name[1:]}")
        listening.settimeout(5)
        yield name, listening


def test_notices_reach_the_service_manager(manager: tuple[str, socket.socket]) -> None:
    name, listening = manager
    notifier = Notifier(name)

    notifier.ready("Serving\nwell")
    notifier.status("busy")
    notifier.reloading()
    notifier.stopping("bye")

    assert f"READY=1\nSTATUS=Serving well\nMAINPID={os.getpid()}" == listening.recv(512).decode()
    assert "STATUS=busy" == listening.recv(512).decode()
    reloading, micros = listening.recv(512).decode().splitlines()
    assert "RELOADING=1" == reloading
    assert int(micros.removeprefix("MONOTONIC_USEC=")) > 0
    assert "STOPPING=1\nSTATUS=bye" == listening.recv(512).decode()


@pytest.mark.parametrize("address", [None, "", "/nowhere/at/all"])
def test_without_a_service_manager_nothing_happens(address: str | None) -> None:
    Notifier(address).ready("Serving")
