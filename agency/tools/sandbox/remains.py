"""What is left of sandboxes whose daemon has died while they were being made.

bwrap's processes end with their parents as soon as they have asked the kernel for it, and wait for
one another until then. One whose partner was killed before it could answer waits for ever. Nothing
of the command has begun; the next daemon ends it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from agency.tools.sandbox.plan import MARK

_PROC = Path("/proc")


def end_remains(mark: str) -> int:
    """Kill what carries the mark; for whoever has started nothing under it yet.

    Returns:
        How many processes were killed; 0 where there is no ``/proc``.
    """
    wanted = f"{MARK}={mark}".encode()
    killed = 0
    if not _PROC.is_dir():
        return 0
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        # Each may end at any moment, and those of other users cannot be read.
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
    return killed
