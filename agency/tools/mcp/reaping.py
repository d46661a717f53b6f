"""Ends what was left behind by servers: of a daemon that has died, or of a warden."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

from agency.domain.connection import ServerProcess
from agency.ports.connection import ConnectionStore
from agency.tools.mcp import places

log = logging.getLogger(__name__)

MARK = "AGENCY_SERVER"
"""Environment variable that tells what belongs to a server, whatever has become of its parents."""

ROUNDS_MAX = 20
"""How often it is looked again, because between a look and a kill others may be born."""

PAUSE_S = 0.1


async def reap(store: ConnectionStore) -> int:
    """Kill the processes of programs that an earlier daemon did not see to end, and forget them.

    No other daemon has this data directory, so that whatever is recorded is of one that is dead.
    Processes are known by the mark in their environment; groups only when their leader began when
    it was recorded, because process ids are used again.

    Returns:
        How many processes were killed.
    """
    left = await store.processes()
    if not left:
        return 0
    here = [one for one in left if one.boot == places.boot_of_machine()]
    _kill_groups(here)
    killed = await sweep([one.mark for one in here])
    for process in left:
        await store.end_process(process.mark)
    if killed:
        names = sorted({process.connection for process in left})
        log.warning("servers of an earlier daemon were ended", extra={"connections": names})
    return killed


def _kill_groups(left: Sequence[ServerProcess]) -> None:
    for one in left:
        if one.pid and one.start_ticks and places.start_ticks(one.pid) == one.start_ticks:
            places.kill_group(one.pid)


async def sweep(marks: Sequence[str]) -> int:
    """Kill all processes that have one of the marks, until there are none.

    Returns:
        How many were killed.
    """
    killed: set[int] = set()
    for _ in range(ROUNDS_MAX):
        # A walk over all processes: off the loop, which others need.
        found = await asyncio.to_thread(places.marked, MARK, marks)
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        await asyncio.sleep(PAUSE_S)
    return len(killed)
