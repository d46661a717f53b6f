"""A plain HTTP/1.1 load: ``python -m bench.http_client URL CONNECTIONS SECONDS``.

For machines without wrk. It costs more processor time than wrk, so that its rates are lower; what
is compared is measured with the same client.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit


async def _connection(url: str, until_s: float) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    answers = 0
    try:
        while time.perf_counter() < until_s:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length))
            answers += 1
    finally:
        writer.close()
    return answers


async def _main(url: str, connections: int, seconds: float) -> None:
    started_s = time.perf_counter()
    answers = await asyncio.gather(
        *(_connection(url, started_s + seconds) for _ in range(connections))
    )
    # In the words of wrk, so that both are read alike.
    print(f"Requests/sec: {sum(answers) / (time.perf_counter() - started_s):.2f}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
