"""Agents of other systems as real processes, and what speaks with them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes import GUARD_S, ROOT, free_port


class Peer:
    """A process with agents; see `tests.a2a_servers.sdk`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._child: subprocess.Popen[bytes] | None = None

    def url(self, wire: str = "1.0") -> str:
        return f"http://127.0.0.1:{self.port}/{wire}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.a2a_servers.sdk", str(self.port), str(self.folder)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + GUARD_S
        while True:
            assert self._child.poll() is None, "it has ended"
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready").close()
                return
            assert time.monotonic() < deadline_s, "it does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def let_work_end(self) -> None:
        (self.folder / "go").touch()

    def messages(self, *, word: str = "") -> list[dict[str, Any]]:
        """Give the messages that have arrived; those that hold a word."""
        path = self.folder / "messages"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if word in json.dumps(one["parts"])]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    made = Peer(tmp_path_factory.mktemp("peer"))
    made.start()
    yield made
    made.kill()
