"""Real daemon processes for tests: started, awaited by notices and locks, and never left behind."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "agency.daemon.main"]
GUARD_S = 20.0
"""Nothing here takes this long, also on a busy machine."""


def free_port() -> int:
    """Find a port that nobody listens on now.

    It is none of those that the system gives out by itself (32768 and up on Linux, 49152 on macOS),
    so that no other process gets it before it is used.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], GUARD_S)
        assert ended, f"process {pid} has not ended"
    finally:
        os.close(descriptor)


@dataclass
class Daemons:
    """Starts daemons in one folder, and ends those that a test has left.

    Attributes:
        folder: Current directory of what is started.
        environ: Their whole environment.
        notices: Socket that receives their notices to the service manager.
    """

    folder: Path
    environ: dict[str, str]
    notices: socket.socket
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _detached: list[int] = field(default_factory=list)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command to its end: a refused start, or the parent of a detached daemon."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a daemon in the foreground and wait until it is ready."""
        child = self.spawn(*arguments)
        self.await_notice("READY=1", child)
        return child

    def spawn(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a daemon in the foreground."""
        child = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        return child

    def await_notice(self, wanted: str, child: subprocess.Popen[str] | None = None) -> str:
        """Wait for a notice that has the line ``wanted``, and return it."""
        life = [os.pidfd_open(child.pid)] if child else []
        try:
            while True:
                ready, _, _ = select.select([self.notices.fileno(), *life], [], [], GUARD_S)
                assert ready, f"no notice {wanted!r}"
                if self.notices.fileno() not in ready and child:
                    raise AssertionError(f"it ended without {wanted!r}: {child.communicate()}")
                notice = self.notices.recv(4096).decode()
                if wanted in notice.splitlines():
                    return notice
        finally:
            for descriptor in life:
                os.close(descriptor)

    def announced(self, data_dir: str = "var") -> dict[str, Any]:
        """Read ``daemon.json``."""
        document: dict[str, Any] = json.loads((self.folder / data_dir / "daemon.json").read_text())
        return document

    def detached(self, pid_file: Path) -> int:
        """Read the pid file of a detached daemon, which is ended after the test."""
        pid = int(pid_file.read_text())
        self._detached.append(pid)
        return pid

    def end(self) -> None:
        """End what still runs."""
        for child in self._children:
            child.kill()
            child.communicate()
        for pid in self._detached:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def daemons_in(folder: Path, **environ: str) -> Iterator[Daemons]:
    """Give a folder to start daemons in, with rehearsal for a model and free ports."""
    with (
        # The folders of tests have names too long for the address of a socket.
        tempfile.TemporaryDirectory(prefix="agency-") as short,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
    ):
        notices.bind(f"{short}/notify")
        started = Daemons(
            folder,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
                "PYTHONPATH": str(ROOT),
                "NOTIFY_SOCKET": f"{short}/notify",
                "AGENCY_LLM__PROVIDER": "rehearsal",
                "PORT": "0",
                **environ,
            },
            notices,
        )
        try:
            yield started
        finally:
            started.end()


def get(url: str, *, token: str = "", **more: Any) -> tuple[int, Any]:
    """Ask a daemon; return status and JSON body, also of a refusal."""
    request = urllib.request.Request(url, **more)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=GUARD_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


def post(url: str, document: object, *, token: str = "") -> tuple[int, Any]:
    """Send JSON to a daemon; as `get`."""
    return get(
        url,
        token=token,
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )


def log_messages(path: Path) -> Sequence[dict[str, Any]]:
    """Read the lines of a JSON log."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
