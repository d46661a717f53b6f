"""The real daemon as a child process, driven over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.contender import ROOT

GUARD_S = 120.0
FLOWS = Path(__file__).with_name("flows.py")


class Daemon:
    """A daemon in a folder of its own; started as often as needed, and gone at the end.

    Attributes:
        url: Where it listens, once it is started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._short = tempfile.mkdtemp(prefix="agency-")
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(f"{self._short}/notify")

    def __enter__(self) -> Self:
        self.folder.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self.kill()
        self._notices.close()
        shutil.rmtree(self._short)
        shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> float:
        """Start it, and wait until it has said that it is ready and answers.

        Returns:
            Seconds from the start of the process until ``/health/ready`` was answered.
        """
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": f"{self._short}/notify",
            "AGENCY_LLM__PROVIDER": "rehearsal",
            "AGENCY_WORKFLOWS__PATHS": str(FLOWS),
            "AGENCY_LOGGING__LEVEL": "warning",
        }
        port = "0" if not self.url else self.url.rsplit(":", 1)[1]
        log = (self.folder / "daemon.log").open("ab")
        started_s = time.perf_counter()
        with log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "agency.daemon.main", "--port", port, "--data-dir", "data"],
                cwd=self.folder,
                env=environ,
                stdout=log,
                stderr=log,
            )
        self._await_ready()
        document = json.loads((self.folder / "data" / "daemon.json").read_text())
        self.url = str(document["url"]).rstrip("/")
        status, _ = self.ask("GET", "/health/ready")
        elapsed_s = time.perf_counter() - started_s
        assert status == 200, status
        return elapsed_s

    def _await_ready(self) -> None:
        assert self._child is not None
        life = os.pidfd_open(self._child.pid)
        try:
            while True:
                readable, _, _ = select.select([self._notices.fileno(), life], [], [], GUARD_S)
                if self._notices.fileno() in readable:
                    if b"READY=1" in self._notices.recv(4096).splitlines():
                        return
                elif life in readable:
                    said = (self.folder / "daemon.log").read_text()[-2000:]
                    raise RuntimeError(f"the daemon has ended: {said}")
                else:
                    raise TimeoutError("the daemon does not become ready")
        finally:
            os.close(life)

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._child is not None
        self._child.send_signal(signal.SIGKILL)
        self._child.wait(timeout=GUARD_S)
        self._child = None

    def ask(
        self, method: str, path: str, document: object = None, **headers: str
    ) -> tuple[int, Any]:
        """Send one request; give status and JSON body."""
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=GUARD_S)
        try:
            body = None if document is None else json.dumps(document)
            sent = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, {**sent, **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def start_run(self, workflow: str, value: Mapping[str, Any] | None = None) -> str:
        """Start a run and give its id."""
        status, answer = self.ask("POST", "/api/v1/runs", {"workflow": workflow, "input": value})
        assert status in {200, 202}, answer
        return str(answer["id"])

    def complete(self, run_id: str) -> Mapping[str, Any]:
        """Wait until a run has completed, and give it."""
        until_s = time.monotonic() + GUARD_S
        while time.monotonic() < until_s:
            status, run = self.ask("GET", f"/api/v1/runs/{run_id}", Prefer="wait=60")
            assert status == 200, run
            if run["status"] == "completed":
                found: Mapping[str, Any] = run
                return found
            assert run["status"] in {"pending", "running", "suspended"}, run
        raise TimeoutError(f"run {run_id} does not complete")

    def count(self, status: str) -> int:
        """Tell how many runs have a status."""
        _, health = self.ask("GET", "/health")
        return int(health["runs"].get(status, 0))

    @staticmethod
    def elapsed_s(run: Mapping[str, Any]) -> float:
        """Seconds from the start of a run's work to its end."""
        started = datetime.fromisoformat(run["started_at"])
        return (datetime.fromisoformat(run["ended_at"]) - started).total_seconds()

    def resident_bytes(self) -> int:
        """Read how much memory the process has resident."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not tell VmRSS")

    def wake_ups(self) -> int:
        """Count how often the threads of the process have gone to sleep of their own will."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
        return total

    def processor_s(self) -> float:
        """Read the processor time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
