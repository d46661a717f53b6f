"""Daemons that may die at any moment: started, asked over HTTP, killed, and never left behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.crash.shim import Shim

ROOT = Path(__file__).parents[2]
WORKFLOWS = Path(__file__).with_name("workflows.py")
GUARD_S = 60.0
"""Nothing here takes this long, also on a busy machine."""


class Died(Exception):
    """The daemon was not there to answer, or left in the middle of an answer."""


class Refused(Exception):
    """The daemon answered with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem}")
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


class Daemon:
    """One process; a client of it comes with it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = ""
        self.ended = asyncio.Event()
        self._life = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._life, self._end)
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=False),
            timeout=aiohttp.ClientTimeout(total=GUARD_S),
        )

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._life)
        self.ended.set()

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask the daemon; a refusal is an answer too.

        Raises:
            Died: it is not there any more.
        """
        try:
            async with self._client.request(
                method, self.url + path, json=body, headers=headers
            ) as response:
                text = await response.read()
                found = json.loads(text) if text else None
                return Answer(response.status, found, response.headers)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Died(repr(error)) from error

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Any:
        """Read something.

        Raises:
            Died, Refused.
        """
        return _good(await self.ask("GET", path, headers=headers))

    async def post(
        self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send something.

        Raises:
            Died, Refused.
        """
        return _good(await self.ask("POST", path, body, headers=headers))

    async def send_file(self, path: str, file: bytes, *, content_type: str) -> Answer:
        """Send a file; a refusal is an answer too.

        Raises:
            Died: it is not there any more.
        """
        try:
            async with self._client.post(
                self.url + path, data=io.BytesIO(file), headers={"Content-Type": content_type}
            ) as response:
                return Answer(response.status, json.loads(await response.read()), response.headers)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Died(repr(error)) from error

    async def fetch(self, path: str, *, kill_after_bytes: int | None = None) -> bytes:
        """Fetch a file; with ``kill_after_bytes`` the daemon is killed in the middle of it.

        Raises:
            Died, Refused.
        """
        found = b""
        try:
            async with self._client.get(self.url + path) as response:
                if response.status >= 400:
                    raise Refused(response.status, json.loads(await response.read()))
                async for piece in response.content.iter_any():
                    found += piece
                    if kill_after_bytes is not None and len(found) >= kill_after_bytes:
                        self.kill()
                        kill_after_bytes = None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Died(repr(error)) from error
        return found

    def kill(self) -> None:
        """Kill it, as the kernel does when memory is short."""
        self.process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    async def wait_ended(self) -> int:
        """Wait until the process has ended, and return its exit code (negative: the signal)."""
        async with asyncio.timeout(GUARD_S):
            await self.ended.wait()
        return self.process.wait()

    async def close(self) -> None:
        """End the process and the client, whatever they do."""
        if not self.ended.is_set():
            self.process.kill()
        try:
            await self.wait_ended()
        finally:
            self.process.kill()
            self.process.wait()
            asyncio.get_running_loop().remove_reader(self._life)
            os.close(self._life)
            await self._client.close()

    def messages(self) -> list[dict[str, Any]]:
        """Read what it has logged."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def _good(answer: Answer) -> Any:
    if answer.status >= 400:
        raise Refused(answer.status, answer.body or {})
    return answer.body


@dataclass
class Place:
    """A folder with one database, and the daemons that live on it one after the other.

    Attributes:
        environ: Settings of all its daemons, as variables.
        boots: How many daemons there have been.
    """

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    boots: int = 0
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "var"

    @property
    def database(self) -> Path:
        return self.data / "agency.db"

    @property
    def effects(self) -> Path:
        """The log outside, that steps write."""
        return self.folder / "effects.jsonl"

    async def start(self, shim: Shim | None = None) -> Daemon:
        """Start a daemon and wait until it is ready.

        Raises:
            Died: it has ended before.
        """
        daemon = await self.spawn(shim)
        if not daemon.url:
            raise Died(f"exit code {await daemon.wait_ended()}: {daemon.log.read_text()}")
        return daemon

    async def spawn(self, shim: Shim | None = None) -> Daemon:
        """Start a daemon and wait until it is ready, or has ended: then its ``url`` is empty."""
        self.boots += 1
        # The folders of tests have names too long for the address of a socket.
        with (
            tempfile.TemporaryDirectory(prefix="agency-") as short,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
        ):
            notices.bind(f"{short}/notify")
            notices.setblocking(False)
            daemon = self._launch(shim, f"{short}/notify")
            await self._await_ready(daemon, notices)
        return daemon

    def _launch(self, shim: Shim | None, notify: str) -> Daemon:
        log = self.folder / f"log-{self.boots}.jsonl"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "agency.daemon.main", "--data-dir", str(self.data)],
                cwd=self.folder,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.folder),
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": notify,
                    "PORT": "0",
                    "AGENCY_LLM__PROVIDER": "rehearsal",
                    "AGENCY_WORKFLOWS__PATHS": str(WORKFLOWS),
                    "AGENCY_LOGGING__FORMAT": "json",
                    "CRASH_EFFECTS": str(self.effects),
                    "CRASH_BOOT": str(self.boots),
                    **self.environ,
                    **(shim.environ if shim is not None else {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        daemon = Daemon(process, log)
        self.daemons.append(daemon)
        return daemon

    async def _await_ready(self, daemon: Daemon, notices: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.ensure_future(daemon.ended.wait())
        try:
            async with asyncio.timeout(GUARD_S):
                while not ended.done():
                    notice = asyncio.ensure_future(loop.sock_recv(notices, 4096))
                    await asyncio.wait({notice, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not notice.done():
                        notice.cancel()
                    elif b"READY=1" in notice.result().splitlines():
                        found = json.loads((self.data / "daemon.json").read_text())
                        daemon.url = found["url"]
                        return
        finally:
            ended.cancel()

    async def close(self) -> None:
        """End all that still runs."""
        for daemon in self.daemons:
            await daemon.close()


@asynccontextmanager
async def place_in(folder: Path, **environ: str) -> AsyncIterator[Place]:
    """Give a folder to start daemons in; those that are left are killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder, dict(environ))
    try:
        yield place
    finally:
        await place.close()


class ModelServer:
    """The played Ollama as a process on a port that it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "model-requests.jsonl"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, script: Path | None = None, piece_delay_s: float = 0.0) -> None:
        """Start it, and return when it listens."""
        command = [sys.executable, "-m", "tests.fake_ollama", "--port", str(self.port)]
        command += ["--record", str(self.record), "--piece-delay-s", str(piece_delay_s)]
        if script is not None:
            command += ["--script", str(script)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], GUARD_S)
        assert ready, "the played model server does not start"
        self.port = json.loads(output.readline())["port"]

    def kill(self) -> None:
        """Kill it, with whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    async def asked(self, times: int) -> None:
        """Wait until so many calls have come."""
        async with asyncio.timeout(GUARD_S):
            # It is another process: its record is all that can be watched.
            while len(self.chats()) < times:
                await asyncio.sleep(0.01)

    def chats(self) -> list[dict[str, Any]]:
        """Read the bodies of the calls that it got."""
        if not self.record.exists():
            return []
        found = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [each["body"] for each in found if each["path"] == "/api/chat"]
