"""What a command has started, looked at from outside: how many, and how much memory they have."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from agency.core.records import dataclass
from agency.tools.sandbox.launch import descendants

LOOKED_AT_MAX = 4096
"""Processes that are looked at in one go; whoever has more is beyond every bound."""

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes has now.

    Attributes:
        tasks: Processes and threads.
        memory_bytes: Resident memory; pages that several share count for each.
    """

    pids: tuple[int, ...]
    tasks: int
    memory_bytes: int


def measure(root: int) -> Usage:
    """Look at everything below a process, without the process itself."""
    pids = tuple(descendants(root, LOOKED_AT_MAX))
    tasks = memory = 0
    for pid in pids:
        # Each may end at any moment.
        with suppress(OSError, ValueError, IndexError):
            tasks += len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  called often
            with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  called often
                memory += int(file.read().split()[1]) * _PAGE_BYTES
    return Usage(pids, tasks, memory)


def shared_memory_bytes(pids: tuple[int, ...]) -> int | None:
    """Sum up memory in which a page that n processes share counts a n-th for each.

    Slow, and so asked only when `measure` has found too much. None when it may not be read.
    """
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123  called often
                total += next(
                    int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")
                )
        except (ProcessLookupError, FileNotFoundError, StopIteration):
            continue
        except OSError:
            return None
    return total
