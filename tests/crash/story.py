"""One run that is killed and goes on: what the tests of kills have in common."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.crash.daemons import Daemon, Died, Place
from tests.crash.driver import RECEIPTS, RESULT, Driver
from tests.crash.shim import Shim
from tests.crash.witness import (
    Effect,
    Left,
    check_effects,
    read_effects,
    read_left,
)

AT_END = "!end/at_end#1"
"""Key of the work that ``crash-whole`` has registered for its end."""

AT_ONCE = 2
"""Stories at once: they wait more than they compute."""


@dataclass
class Story:
    """A run of ``crash-whole`` over the deaths of its daemons.

    Attributes:
        source: Decides what is answered where nobody knows whether a step has happened.
        at_death: What happens to the disk when a daemon was killed.
        lefts: The databases that killed daemons have left, the oldest first.
    """

    place: Place
    source: random.Random
    at_death: Callable[[], object] = lambda: None
    lefts: list[Left] = field(default_factory=list)
    driver: Driver = field(init=False)

    def __post_init__(self) -> None:
        self.driver = Driver(self.place, self.decide)

    def decide(self, step: str) -> str:
        """Say truly that a step has happened or not, or let it be done again on purpose."""
        happened = any(
            effect.what == "end" and effect.step[1] == step
            for effect in read_effects(self.place.effects)
        )
        return "done" if happened and self.source.random() < 0.7 else "again"

    async def live(self, daemon: Daemon) -> dict[str, Any] | None:
        """Go on until the run has ended; None if the daemon died before."""
        try:
            return await self.driver.drive(daemon)
        except Died:
            await self.bury(daemon)
            return None

    async def bury(self, daemon: Daemon) -> None:
        """Look at what a killed daemon has left, and that it is what was promised."""
        assert await daemon.wait_ended() == -9, daemon.log.read_text()
        self.look()

    def look(self) -> None:
        """Look at the database, and that all that was acknowledged is in it."""
        self.at_death()
        left = read_left(self.place.database, boot=self.place.boots)
        self.lefts.append(left)
        assert left.integrity == "ok"
        run_id = self.driver.run_id
        if run_id is not None:
            assert left.names.get(self.driver.key) == run_id, "an acknowledged run is gone"
            assert self.driver.events <= set(left.events.get(run_id, ()))
        assert self.driver.steps <= left.recorded, "a step that was reported is gone"
        assert self.driver.answers <= left.answered, "an acknowledged answer is gone"

    async def live_killed(self, *shims: Shim) -> bool:
        """Live once with each kill and then without; False if none of them came."""
        for shim in shims:
            await self._live_under(shim)
        run = await self.live(await self.place.start())
        assert run is not None
        self.check_end(run)
        return bool(self.lefts)

    async def _live_under(self, shim: Shim) -> None:
        daemon = await self.place.spawn(shim)
        if not daemon.url:
            await self.bury(daemon)
        elif await self.live(daemon) is not None:
            daemon.stop()
            if await daemon.wait_ended() != 0:
                self.look()

    def check_end(self, run: dict[str, Any]) -> None:
        """Check that the run has ended as if nothing had been, and how often it has acted."""
        assert run["status"] == "completed", run
        assert run["output"] == RESULT
        effects = read_effects(self.place.effects)
        check_effects(effects, self.lefts)
        for step in RECEIPTS:
            self._check_once(effects, step)
        assert _ends(effects, AT_END) >= 1, "the work for the run's end was forgotten"

    def _check_once(self, effects: Sequence[Effect], step: str) -> None:
        """Check that a once-step has happened, and never again without having been told to."""
        answers = [
            answer
            for wait, given in self.driver.decisions.items()
            if wait.startswith(f"{step}:")
            for answer in given
        ]
        begun = sum(effect.what == "begin" and effect.step[1] == step for effect in effects)
        assert begun <= 1 + answers.count("again"), f"{step} was repeated unasked"
        assert _ends(effects, step) >= 1, f"{step} counts as done and has not happened"


def _ends(effects: Sequence[Effect], step: str) -> int:
    return sum(effect.what == "end" and effect.step[1] == step for effect in effects)


async def all_of(tell: Callable[[Any], Awaitable[bool]], points: Sequence[Any]) -> int:
    """Tell a story for each point, a few at once; return how many came to their point.

    Raises:
        AssertionError: some stories ended badly; the text says which and why.
    """
    places = asyncio.Semaphore(AT_ONCE)
    failures: list[str] = []

    async def one(point: Any) -> bool:
        async with places:
            try:
                return await tell(point)
            except (AssertionError, TimeoutError, Died) as error:
                failures.append(f"{point}: {type(error).__name__}: {error}")
                return True

    reached = await asyncio.gather(*(one(point) for point in points))
    assert failures == [], "\n\n".join(failures)
    return sum(reached)
