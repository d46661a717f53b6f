"""HTTP load from another process: wrk if it is installed, else a client of our own."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contender import ROOT

CONNECTIONS = 64
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def _command(url: str, seconds: float) -> list[str]:
    wrk = shutil.which("wrk")
    if wrk is not None:
        return [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", url]
    return [sys.executable, "-m", "bench.http_client", url, str(CONNECTIONS), str(seconds)]


def generator() -> str:
    """Name the program that makes the load."""
    return "wrk, 1 thread" if shutil.which("wrk") else "own asyncio client"


def requests_per_s(url: str, *, seconds: float) -> float:
    """Read ``url`` over 64 connections as fast as they go; all answers must be successes."""
    return _rate(_command(url, seconds))


def posts_per_s(url: str, body: str, *, seconds: float, connections: int) -> float:
    """Post a JSON body over so many connections as fast as they go, as `requests_per_s` reads."""
    wrk = shutil.which("wrk")
    if wrk is None:
        own = [sys.executable, "-m", "bench.http_client", url, str(connections), str(seconds)]
        return _rate([*own, body])
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n"
            "wrk.headers['Content-Type'] = 'application/json'\n"
        )
        took = f"-d{max(1, round(seconds))}s"
        return _rate([wrk, "-t1", f"-c{connections}", took, "-s", str(script), url])


def scripted_per_s(url: str, script: Path, *, seconds: float) -> float:
    """Make the requests that a script of wrk makes, over 64 connections as fast as they go.

    Raises:
        RuntimeError: wrk is not installed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("requests that differ from one another need wrk")
    took = f"-d{max(1, round(seconds))}s"
    return _rate([wrk, "-t1", f"-c{CONNECTIONS}", took, "-s", str(script), url])


def _rate(command: list[str]) -> float:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not _BAD.search(done.stdout), done.stdout
    found = _RATE.search(done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


@contextmanager
def flood(url: str, *, seconds: float) -> Iterator[None]:
    """Read ``url`` over 64 connections while the body runs, ``seconds`` at most."""
    with subprocess.Popen(
        _command(url, seconds), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(timeout=10)
