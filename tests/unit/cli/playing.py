"""A played daemon over a real socket, and the command line as a real process."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

RUN_ID = "0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11"
SNAPSHOT_ID = "0190c5b2-8000-7a52-b8f4-5d2c1f0e9a22"
GUARD_S = 20.0


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered. ``raw`` replaces the whole answer, ``b""`` hangs up."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    raw: bytes | None = None


def problem(status: int, code: str, **members: Any) -> Reply:
    document = {"status": status, "code": code, "detail": f"It is {code}.", **members}
    return Reply(document, status, content_type="application/problem+json")


def run_document(**members: Any) -> dict[str, Any]:
    return {
        "id": RUN_ID,
        "run_id": RUN_ID,
        "name": None,
        "workflow": "order",
        "version": "1",
        "kind": "function",
        "status": "completed",
        "input": None,
        "output": None,
        "error": None,
        "session_id": None,
        "parent_id": None,
        "attempt": 1,
        "max_attempts": 1,
        "provider": None,
        "progress": None,
        "hold": None,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "started_at": None,
        "ended_at": None,
        "waits": [],
        "steps_executed": 0,
        "snapshot_id": None,
        **members,
    }


def wait_document(kind: str, name: str, **members: Any) -> dict[str, Any]:
    return {"key": f"{name}#1", "kind": kind, "name": name, "due_at": None, "show": None, **members}


def step_document(number: int, key: str, **members: Any) -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000000Z"
    return {"number": number, "key": key, "kind": "step", "at": at, "body": None, **members}


class PlayedDaemon:
    """Answers as it is told to, in order; the last answer of a path is repeated."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self._answers: dict[tuple[str, str], list[Reply]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def on(self, method: str, path: str, *answers: Reply) -> None:
        self._answers[method, path] = list(answers)

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        answers = self._answers.get((seen.method, seen.path.partition("?")[0]))
        if not answers:
            return problem(404, "path_not_found", path=seen.path)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _make_handler(daemon: PlayedDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            is_json = self.headers.get("Content-Type", "").endswith("/json")
            body = json.loads(content) if content and is_json else content.decode() or None
            reply = daemon.answer(Seen(self.command, self.path, headers, body))
            self.close_connection = True
            if reply.raw is not None:
                self.wfile.write(reply.raw)
                return
            text = b"" if reply.body is None else json.dumps(reply.body).encode()
            if isinstance(reply.body, str) and not reply.content_type.endswith(("/json", "+json")):
                text = reply.body.encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if text:
                self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  the server's own names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Agency(Protocol):
    """Runs a command line."""

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Ended: ...


def run_agency(
    arguments: Sequence[str],
    directory: Path,
    *,
    stdin: str | bytes | None = None,
    environ: Mapping[str, str] | None = None,
) -> Ended:
    """Run the command line as a process of its own; without ``stdin`` it has /dev/null."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "agency", *arguments],
        input=content,
        stdin=subprocess.DEVNULL if content is None else None,
        capture_output=True,
        cwd=directory,
        env=clean_environ(environ or {}),
        timeout=GUARD_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def clean_environ(more: Mapping[str, str]) -> dict[str, str]:
    """Make an environment without the settings of whoever runs the tests."""
    refused = ("AGENCY_", "CONFIG_PATH", "HOST", "PORT", "NO_COLOR", "AGENT_", "OLLAMA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(refused)}
    root = str(Path(__file__).parents[3])
    return {**kept, "PYTHONPATH": root, **more}
