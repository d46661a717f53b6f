"""A plain HTTP/1.1 load: ``python -m bench.http_client URL CONNECTIONS SECONDS [BODY]``.

With a body it posts that as JSON, else it reads.

For machines without wrk. It costs more processor time than wrk, so that its rates are lower; what
is compared is measured with the same client.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit


async def _connection(url: str, until_s: float, body: str) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    request = f"{head}\r\n{body}".encode()
    answers = 0
    try:
        while time.perf_counter() < until_s:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 2"), answer
            length = answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length))
            answers += 1
    finally:
        writer.close()
    return answers


async def _main(url: str, connections: int, seconds: float, body: str) -> None:
    started_s = time.perf_counter()
    answers = await asyncio.gather(
        *(_connection(url, started_s + seconds, body) for _ in range(connections))
    )
    # In the words of wrk, so that both are read alike.
    print(f"Requests/sec: {sum(answers) / (time.perf_counter() - started_s):.2f}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(
            _main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), "".join(sys.argv[4:5]))
        )
