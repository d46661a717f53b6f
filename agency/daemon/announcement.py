"""``daemon.json`` in the data directory: where a program of this machine finds the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agency.core import json

FILE_NAME = "daemon.json"


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Write ``{"url", "pid"}`` for the block, whole or not at all, readable by the owner only."""
    path = data_dir / FILE_NAME
    fresh = data_dir / f"{FILE_NAME}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.encode({"url": url, "pid": os.getpid()}))
    finally:
        os.close(descriptor)
    fresh.replace(path)
    try:
        yield
    finally:
        # The lock on the data directory is still held, so the file is ours.
        path.unlink(missing_ok=True)
