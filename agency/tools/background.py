"""Commands that work on while the model goes on; they end with their run, or with the daemon."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agency.errors import SandboxFailed, Unavailable
from agency.ports.sandbox import CommandEnd, Process

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""How often it is looked whether a run with commands in the background has ended."""

QUIET_LOOKS = 15
"""Where all commands have ended it is looked so much less often; their output is held meanwhile."""

ENDED_MAX = 32
"""Commands of one run that have ended and can still be asked about."""


@dataclass(slots=True)
class Work:
    """A command in the background.

    Attributes:
        end: How it has ended, once it has.
        failure: Why it could not be run, if so.
    """

    handle: str
    command: str
    process: Process
    waiting: asyncio.Task[CommandEnd]

    @property
    def end(self) -> CommandEnd | None:
        return None if self._error is not None or not self._is_told else self.waiting.result()

    @property
    def failure(self) -> str:
        return str(self._error) if self._error is not None else ""

    @property
    def _error(self) -> BaseException | None:
        return self.waiting.exception() if self._is_told else None

    @property
    def _is_told(self) -> bool:
        return self.waiting.done() and not self.waiting.cancelled()

    @property
    def is_over(self) -> bool:
        return self.waiting.done()


def handle_of(call_key: str) -> str:
    """Name a command by the call that has started it: the same call gives the same name."""
    return "bg-" + hashlib.sha256(call_key.encode()).hexdigest()[:6]


def is_handle(text: str) -> bool:
    """Tell whether a text can be the name of a command."""
    return re.fullmatch(r"bg-[0-9a-f]{6}", text) is not None


class Background:
    """All commands in the background, by run."""

    def __init__(self, is_live: Callable[[str], Awaitable[bool]]) -> None:
        self._is_live = is_live
        self._works: dict[str, dict[str, Work]] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def is_busy(self, run_id: str) -> bool:
        """Tell whether a command of the run is at work."""
        return any(not work.is_over for work in self._works.get(run_id, {}).values())

    def of(self, run_id: str) -> Mapping[str, Work]:
        """List the commands of a run, by handle."""
        return self._works.get(run_id, {})

    def add(self, run_id: str, handle: str, command: str, process: Process) -> Work:
        """Take a command in that was started."""
        loop = asyncio.get_running_loop()
        if run_id not in self._works:
            watcher = loop.create_task(self._watch(run_id), name=f"commands of {run_id}")
            self._watchers.add(watcher)
            watcher.add_done_callback(self._watchers.discard)
        works = self._works.setdefault(run_id, {})
        waiting = loop.create_task(process.wait(), name=f"wait for {handle}")
        # Whoever asks is told of a failure; where nobody does it is no news for the log.
        waiting.add_done_callback(lambda task: task.cancelled() or task.exception())
        work = Work(handle, command, process, waiting)
        works[handle] = work
        over = [one for one in works.values() if one.is_over]
        for one in over[: max(0, len(over) - ENDED_MAX)]:
            del works[one.handle]
        return work

    async def end(self, work: Work) -> None:
        """End a command with all that it has started; nothing happens if it is over."""
        if not work.is_over:
            try:
                await work.process.end()
            except SandboxFailed as error:
                log.warning("command was not run", extra={"handle": work.handle, "why": str(error)})
            await asyncio.wait([work.waiting])

    async def end_run(self, run_id: str) -> None:
        """End all commands of a run, and forget them."""
        left = [work for work in self.of(run_id).values() if not work.is_over]
        for work in left:
            log.info("command ends with its run", extra={"run_id": run_id, "handle": work.handle})
        await asyncio.gather(*map(self.end, left))
        self._works.pop(run_id, None)

    async def close(self) -> None:
        """End all commands of all runs."""
        for watcher in self._watchers:
            watcher.cancel()
        if self._watchers:
            await asyncio.wait(self._watchers)
        await asyncio.gather(*(self.end_run(run_id) for run_id in list(self._works)))

    async def _watch(self, run_id: str) -> None:
        """End the commands of a run once it has ended, and forget what they have written."""
        looks = 0
        while run_id in self._works:
            await asyncio.sleep(LOOK_S)
            looks += 1
            if not self.is_busy(run_id) and looks % QUIET_LOOKS:
                continue
            try:
                if await self._is_live(run_id):
                    continue
            except Unavailable:
                continue  # the database is busy: looked for again
            await self.end_run(run_id)


@asynccontextmanager
async def open_background(is_live: Callable[[str], Awaitable[bool]]) -> AsyncIterator[Background]:
    """Look after commands in the background; on leaving all of them are ended.

    Args:
        is_live: Tells whether a run has not ended.
    """
    background = Background(is_live)
    try:
        yield background
    finally:
        await background.close()
