"""Driving a run of ``crash-whole`` to its end, over as many daemons as it takes.

The driver remembers nothing: it looks at what the run waits for and answers that, always the same,
so that it may ask again after every kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.crash.daemons import GUARD_S, Daemon, Place, Refused
from tests.crash.witness import Step

RUNS = "/api/v1/runs"
ENDED = {"completed", "limit_reached", "failed", "dead_letter", "cancelled", "timed_out"}
OUTCOMES = {"step", "failure"}
INPUT = 21
PAID = {"amount": 42}
ADDRESS = "Lindenweg 7"
RESULT = {
    "quote": 42,
    "plain": [42, 42],
    "retried": 7,
    "failure": "ValueError",
    "receipt": "charged 42",
    "both": {"left": 4, "right": 6, "child": {"value": 12}},
    "items": [2, 3, 4, 5],
    "winner": "late",
    "paid": PAID,
    "address": ADDRESS,
    "last": 42,
    "safely": {"left": "charged 1", "right": "charged 2"},
    "same": True,
}
"""What an undisturbed run ends with; the test of the undisturbed run says so."""
RECEIPTS = {
    "charge#1": "charged 42",
    "gather#2.left/charge#1": "charged 1",
    "gather#2.right/charge#1": "charged 2",
}
"""What the steps with effect="once" hand back."""


def has_ended(run: dict[str, Any]) -> bool:
    return run["status"] in ENDED


class Watch:
    """Reads a run again whenever anything of it has changed."""

    def __init__(self, daemon: Daemon, run_id: str) -> None:
        self._daemon = daemon
        self._path = f"{RUNS}/{run_id}"
        self._etag = '"none"'

    async def next(self) -> dict[str, Any]:
        """Wait for a change since the last reading, and read the run.

        Raises:
            Died, Refused.
        """
        while True:
            headers = {"Prefer": "wait=5", "If-None-Match": self._etag}
            found = await self._daemon.ask("GET", self._path, headers=headers)
            if found.status >= 400:
                raise Refused(found.status, found.body)
            self._etag = found.headers["ETag"]
            if found.status == 200:
                run: dict[str, Any] = found.body
                return run


async def until(
    daemon: Daemon, run_id: str, is_wanted: Callable[[dict[str, Any]], bool] = has_ended
) -> dict[str, Any]:
    """Wait until a run is as it is wanted, by default ended, and return it.

    Raises:
        Died, Refused, TimeoutError.
    """
    watch = Watch(daemon, run_id)
    async with asyncio.timeout(GUARD_S):
        while not is_wanted(run := await watch.next()):
            continue
        return run


@dataclass
class Driver:
    """Starts a run, answers it, and waits for its end.

    Attributes:
        decide: Answers whether a step with effect="once" has happened: ``done`` or ``again``.
        decisions: The answers that were given, by step.
        seen: Every kind of wait that was met.
        run_id: The run, once it was acknowledged.
        events: Ids of the events that were acknowledged.
        steps: Steps of the run that were reported as done.
        answers: Waits of the run whose answer was acknowledged.
    """

    place: Place
    decide: Callable[[str], str] = lambda _: "again"
    key: str = "order-1"
    decisions: dict[str, list[str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    run_id: str | None = None
    events: set[str] = field(default_factory=set)
    steps: set[Step] = field(default_factory=set)
    answers: set[Step] = field(default_factory=set)

    async def drive(self, daemon: Daemon) -> dict[str, Any]:
        """Bring the run to its end.

        Raises:
            Died: the daemon was killed on the way.
        """
        async with asyncio.timeout(GUARD_S):
            run = await self._start(daemon)
            watch = Watch(daemon, run["id"])
            while not has_ended(run):
                await self._answer(daemon, run)
                await self._read_steps(daemon, run["id"])
                run = await watch.next()
            return run

    async def _start(self, daemon: Daemon) -> dict[str, Any]:
        run: dict[str, Any] = await daemon.post(
            RUNS,
            {"workflow": "crash-whole", "input": INPUT},
            headers={"Idempotency-Key": self.key},
        )
        assert self.run_id in {None, run["id"]}, "an acknowledged run is gone"
        self.run_id = run["id"]
        return run

    async def _read_steps(self, daemon: Daemon, run_id: str) -> None:
        page = await daemon.get(f"{RUNS}/{run_id}/steps?limit=500")
        self.steps.update(
            (run_id, entry["key"]) for entry in page["steps"] if entry["kind"] in OUTCOMES
        )

    async def _answer(self, daemon: Daemon, run: dict[str, Any]) -> None:
        """Answer what is asked; another may have been faster, or the run not be suspended yet."""
        for wait in run["waits"]:
            self.seen.add(wait["kind"])
            match wait["kind"]:
                case "event" if wait["name"] == "paid":
                    event = {"name": "paid", "payload": PAID, "event_id": "paid-1"}
                    if await _try(daemon, f"{RUNS}/{run['id']}/events", event):
                        self.events.add("paid-1")
                case "input":
                    await self._resume(daemon, run, wait["key"], ADDRESS)
                case "decision":
                    await self._decide(daemon, run, wait)

    async def _decide(self, daemon: Daemon, run: dict[str, Any], wait: dict[str, Any]) -> None:
        step = wait["show"]["step"]
        decision = self.decide(step)
        answer: dict[str, object] = {"decision": decision}
        if decision == "done":
            answer["result"] = RECEIPTS[step]
        if await self._resume(daemon, run, wait["key"], answer):
            self.decisions.setdefault(wait["key"], []).append(decision)

    async def _resume(self, daemon: Daemon, run: dict[str, Any], key: str, value: object) -> bool:
        if run["snapshot_id"] is None:
            return False
        body = {"snapshot_id": run["snapshot_id"], "wait": key, "input": value}
        path = "/api/v1/workflows/resume"
        is_taken = await _try(daemon, path, body, prefer="respond-async")
        if is_taken:
            self.answers.add((run["id"], key))
        return is_taken


async def _try(daemon: Daemon, path: str, body: object, *, prefer: str = "") -> bool:
    """Send what may have become needless meanwhile; True if it was taken."""
    try:
        await daemon.post(path, body, headers={"Prefer": prefer} if prefer else None)
    except Refused as refused:
        if refused.status == 409:
            return False
        raise
    return True
