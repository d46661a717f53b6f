"""What makes the start quick: the collector waits, and the HTTP library is loaded beside the store.

Of the 0.35 s of a start most is importing. Two measures take some 0.1 s of it: importing makes tens
of thousands of objects that all stay, so looking for garbage among them is in vain (30 ms); and
while the HTTP library sets up TLS (40 ms) and the store waits for the disk, the other can go on.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage in the block; what is there at its end is never looked at again.

    That holds for what has become garbage by then, too, which is little: to look for it would cost
    as much as the block has saved.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def preload_http() -> threading.Thread:
    """Begin to import the HTTP library in a thread; join it before anything imports it."""
    thread = threading.Thread(target=_import_http, name="preload", daemon=True)
    thread.start()
    return thread


def _import_http() -> None:
    import aiohttp.web  # noqa: F401  for the effect of having it imported
