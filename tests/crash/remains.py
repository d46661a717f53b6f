"""Processes that are left where nothing should be."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

GONE_S = 10.0
"""Promised: no process of a tool is left so long after its daemon has died."""


async def gone(folder: Path, *, at_work: bool = False) -> None:
    """Wait until no process is left that works in a folder.

    Args:
        at_work: Leave out those of bwrap itself: one whose daemon was killed before the sandbox
            stood may wait for its partner until the next daemon ends it.
    """
    deadline_s = time.monotonic() + GONE_S
    while left := await asyncio.to_thread(processes, folder, at_work=at_work):
        assert time.monotonic() < deadline_s, f"processes were left behind: {left}"
        await asyncio.sleep(0.05)


def processes(folder: Path, *, at_work: bool = False) -> dict[int, str]:
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
            if name == "cmdline" and at_work and text.split(b"\0")[0].endswith(b"bwrap"):
                break
            if wanted in text:
                found[int(entry.name)] = text.replace(b"\0", b" ")[:300].decode("utf-8", "replace")
                break
    return found
