"""The yardstick for HTTP: an aiohttp handler that does nothing but answer the same bytes.

``python -m bench.bare_server`` reads the bytes from standard input and prints its port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.contender import ROOT


@contextmanager
def served(body: bytes) -> Iterator[str]:
    """Run the server in a child; give its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.bare_server"],
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


async def _serve(body: bytes) -> None:
    from aiohttp import web

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/api/v1/runs/{run_id}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.stdin.buffer.read()))
