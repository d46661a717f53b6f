"""The yardstick for HTTP: an aiohttp handler that does nothing but answer the same bytes.

``python -m bench.bare_server [DATABASE]`` reads the bytes from standard input and prints its port.
With a database it takes a posted body too, and commits it as one row, in the loop, before it
answers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contender import ROOT


@contextmanager
def served(body: bytes, database: Path | None = None) -> Iterator[str]:
    """Run the server in a child; give its URL, below which it answers any GET.

    Args:
        body: What it answers.
        database: Where it commits what is posted to the URL.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "bench.bare_server", *([str(database)] if database else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(body)
            child.stdin.close()
            port = int(child.stdout.readline())
            yield f"http://127.0.0.1:{port}/api/v1/runs/bare"
        finally:
            child.kill()


async def _serve(body: bytes, database: str | None) -> None:
    from aiohttp import web

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    if database is not None:
        connection = _open(database)

        async def keep(request: web.Request) -> web.Response:
            # Without BEGIN, which is the cheapest durable commit that there is.
            connection.execute("INSERT INTO kept (body) VALUES (?)", (await request.read(),))
            return web.Response(body=body, status=202, content_type="application/json")

        application.router.add_post("/api/v1/runs/bare", keep)
    application.router.add_get("/api/v1/runs/{run_id}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _open(database: str) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
    return connection


if __name__ == "__main__":
    asyncio.run(_serve(sys.stdin.buffer.read(), sys.argv[1] if len(sys.argv) > 1 else None))
