"""Many watchers of one run, in a process of their own: ``python -m bench.watchers URL COUNT``.

Each holds a stream open and reads it to its end. It prints ``ready`` when all have had their first
update, and at the end one line of JSON: how many updates each watcher got, whether all ids rose,
and the processor time of it all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


class _Watcher:
    def __init__(self) -> None:
        self.updates = 0
        self.last = 0
        self.is_rising = True
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, url: str) -> asyncio.StreamReader:
        parts = urlsplit(url)
        assert parts.hostname is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        # HTTP/1.0 has no chunks, which this does not read.
        writer.write(
            f"GET {parts.path}?{parts.query} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.partition(b"\r\n")[0], head
        await reader.readuntil(b"event: connected\n")
        self._take(await reader.readuntil(b"event: run_update\n"))
        self._writer = writer  # closed when it is let go
        return reader

    async def read(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while part := await reader.read(1 << 16):
            whole, _, rest = (rest + part).rpartition(b"\n")
            self._take(whole)

    def _take(self, text: bytes) -> None:
        for line in text.split(b"\n"):
            if line.startswith(b"id: "):
                number = int(line[4:])
                self.is_rising = self.is_rising and number > self.last
                self.last = number
                self.updates += 1


async def _main(url: str, count: int) -> None:
    watchers = [_Watcher() for _ in range(count)]
    readers = await asyncio.gather(*(watcher.open(url) for watcher in watchers))
    print("ready", flush=True)
    await asyncio.gather(
        *(watcher.read(reader) for watcher, reader in zip(watchers, readers, strict=True))
    )
    told = {
        "updates": [watcher.updates for watcher in watchers],
        "is_rising": all(watcher.is_rising for watcher in watchers),
        "processor_s": time.process_time(),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
