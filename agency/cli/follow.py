"""Waiting for runs: with patience for a daemon that is being restarted, and with a limit.

A run does not depend on who waits for it. So a broken connection is no failure of the run: the
daemon is asked again until it has been away for `RECONNECT_S`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from agency.cli.output import EXIT_BY_STATUS, LIVE, ExitCode, Output
from agency.cli.waits import needs_somebody, tell
from agency.client import Client
from agency.core.clock import monotonic_s
from agency.documents import RunDocument, StepDocument
from agency.errors import AnswerLost, DaemonUnreachable, ShuttingDown

HOLD_S = 25.0
"""How long one request is held by the daemon: below the 30 s after which many proxies give up."""

FIRST_HOLD_S = 1.0
"""How long the first request is held: only what takes longer gets a sign that it is waited for."""

RECONNECT_S = 30.0
"""How long a daemon that was there may be away: a restart takes its grace and a second."""

PAUSE_S = 0.25
"""Least time between two requests, for a daemon or proxy that does not hold them."""

T = TypeVar("T")


class Limit:
    """The time that a command may wait; None for as long as it takes."""

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._end_s = None if timeout_s is None else monotonic_s() + timeout_s

    def left_s(self, at_most_s: float) -> float:
        """Seconds that are left, 0 or more, and never more than ``at_most_s``."""
        if self._end_s is None:
            return at_most_s
        return max(0.0, min(at_most_s, self._end_s - monotonic_s()))

    @property
    def is_over(self) -> bool:
        return self._end_s is not None and monotonic_s() >= self._end_s


class Follower:
    """Follows one run to its end, or to where it needs somebody."""

    def __init__(self, client: Client, output: Output, limit: Limit) -> None:
        self._client = client
        self._output = output
        self._limit = limit
        self._told: set[str] = set()
        self._is_known = False

    def until_stopped(self, run_id: str) -> RunDocument:
        """Wait until the run has ended, needs somebody, or the limit is over; return it then."""
        run = self._held(run_id, FIRST_HOLD_S)
        if self._is_enough(run):
            return run
        with self._output.busy(f"run {run_id}"):
            while True:
                self.tell(run)
                began_s = monotonic_s()
                run = self._held(run_id, HOLD_S)
                if self._is_enough(run):
                    if not needs_somebody(run):
                        self.tell(run)  # it was suspended while the time ran out
                    return run
                self._pause(began_s)

    def _held(self, run_id: str, at_most_s: float) -> RunDocument:
        wait_s = self._limit.left_s(at_most_s)
        return self.steadily(partial(self._client.run, run_id, wait_s=wait_s))

    def _is_enough(self, run: RunDocument) -> bool:
        return has_ended(run) or needs_somebody(run) or self._limit.is_over

    def until_ended(
        self,
        run_id: str,
        *,
        on_step: Callable[[StepDocument], None],
        on_change: Callable[[RunDocument], None],
    ) -> RunDocument:
        """Follow the run until it has ended or the limit is over, and report all it does.

        Args:
            on_step: Called for each journal entry, in order, earlier ones first.
            on_change: Called with the run as it was found first, and after each change.
        """
        etag: str | None = None
        run: RunDocument | None = None
        steps = _Tail(self._client, run_id)
        while True:
            began_s = monotonic_s()
            changed, etag = self.steadily(
                partial(self._client.changed_run, run_id, etag, wait_s=self._limit.left_s(HOLD_S))
            )
            run = changed or run
            assert run is not None
            has_more = True
            while has_more:
                new, has_more = self.steadily(steps.read_page)
                for step in new:
                    on_step(step)
            if changed is not None:
                on_change(changed)
            if has_ended(run) or self._limit.is_over:
                return run
            self._pause(began_s)

    def tell(self, run: RunDocument) -> None:
        """Say what a suspended run waits for, each wait once."""
        if run["status"] != "suspended":
            self._told.clear()
            return
        keys = {wait["key"] for wait in run["waits"]}
        if keys - self._told:
            self._told |= keys
            for line in tell(run):
                self._output.note(line)

    def once(self, ask: Callable[[], T]) -> T:
        """Ask once, and report at once what goes wrong. From now on the daemon is known."""
        answer = ask()
        self._is_known = True
        return answer

    def delivered(self, send: Callable[[], T]) -> T:
        """Send what starts or changes something, and again when its answer was lost.

        Only for requests with an idempotency key.
        """
        try:
            return self.once(send)
        except AnswerLost:
            self._is_known = True
            return self.steadily(send)

    def steadily(self, ask: Callable[[], T]) -> T:
        """Ask again while a daemon that was there is away, up to `RECONNECT_S` and the limit.

        Only for requests that may be repeated.
        """
        if not self._is_known:
            return self.once(ask)
        since_s: float | None = None
        pause_s = PAUSE_S
        while True:
            try:
                return ask()
            except (AnswerLost, DaemonUnreachable, ShuttingDown) as error:
                now_s = monotonic_s()
                if since_s is None:
                    since_s = now_s
                    self._output.note(f"{error.message} Asking again for {RECONNECT_S:g} s.")
                if now_s - since_s > RECONNECT_S or self._limit.is_over:
                    raise
            time.sleep(self._limit.left_s(pause_s))
            pause_s = min(2.0, pause_s * 2)

    def _pause(self, began_s: float) -> None:
        spent_s = monotonic_s() - began_s
        if spent_s < PAUSE_S:
            time.sleep(self._limit.left_s(PAUSE_S - spent_s))


class _Tail:
    """Reads a journal page by page, and later what was added to it."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._seen = 0

    def read_page(self) -> tuple[Sequence[StepDocument], bool]:
        """Read the next page, and whether there is another one after it."""
        page = self._client.steps(self._run_id, after=self._seen)
        if page.items:
            self._seen = page.items[-1]["number"]
        return page.items, page.cursor is not None


def has_ended(run: RunDocument) -> bool:
    """Tell whether nothing more happens in the run."""
    return run["status"] not in LIVE


def exit_code_for(run: RunDocument) -> ExitCode:
    """Find the code of a command that has waited for the run and leaves it as it is."""
    if run["status"] == "suspended" and not needs_somebody(run):
        return ExitCode.TIMED_OUT
    return EXIT_BY_STATUS.get(run["status"], ExitCode.FAILED)
