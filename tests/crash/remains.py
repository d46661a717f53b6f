"""Processes that are left where nothing should be."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

GONE_S = 10.0
"""Promised: no process of a tool is left so long after its daemon has died."""


async def gone(folder: Path) -> None:
    """Wait until no process is left that works in a folder."""
    deadline_s = time.monotonic() + GONE_S
    while left := await asyncio.to_thread(processes, folder):
        assert time.monotonic() < deadline_s, f"processes were left behind: {left}"
        await asyncio.sleep(0.05)


def processes(folder: Path) -> dict[int, str]:
    """Find what works in a folder: it has it among its words, or sees it from inside a sandbox."""
    wanted = os.fsencode(folder)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        for name in ("cmdline", "mountinfo"):
            try:
                text = (entry / name).read_bytes()
            except OSError:
                continue
            if wanted in text:
                found[int(entry.name)] = text.replace(b"\0", b" ")[:300].decode("utf-8", "replace")
                break
    return found
