"""What all executions of a daemon share."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import datetime

from agency.config.schema import Engine as EngineSettings
from agency.core import ids
from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.engine.isolated import ProcessPool
from agency.engine.pool import ThreadPool
from agency.engine.registry import Registry
from agency.ports.store import Store, Wake


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The surroundings of an execution.

    Attributes:
        source: Randomness for jitter only; what authors see derives from the run's seed.
        is_healthy: Tells whether a resource (``model:ollama``) answers now.
        expect: Tells the timer of a moment at which something comes due.
        expect_resource: Tells the watcher of resources that a run waits for one.
        wake: Hands on what a transaction has woken.
        nudge: Tells the worker that a run may be ready.
        cancel: Cancels a run, and does nothing when it has ended.
        changed: Tells whoever watches or waits for a run that its status may be another.
        recorded: Tells whoever watches a run that it has recorded something and goes on.
        publish: Publishes an event in a topic: `Topics.publish`.
        spread: Takes note that a topic's event was given back and is to be handed on.
        token: Shows watchers what a model says in a step of a run: `Updates.token`.
    """

    store: Store
    clock: Clock
    settings: EngineSettings
    registry: Registry
    threads: ThreadPool
    processes: ProcessPool
    source: random.Random
    is_healthy: Callable[[str], Awaitable[bool]]
    expect: Callable[[datetime], None]
    expect_resource: Callable[[str], None]
    wake: Callable[[Sequence[Wake]], None]
    nudge: Callable[[], None]
    cancel: Callable[[str], Awaitable[None]]
    changed: Callable[[str], None]
    recorded: Callable[[str], None]
    publish: Callable[..., Awaitable[object]]
    spread: Callable[[], None]
    token: Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class StepInfo:
    """The step that is being tried, for the function that does its work.

    Attributes:
        key: Key of the step in the run's journal.
        attempt: From 1.
    """

    run_id: str
    key: str
    attempt: int

    @property
    def idempotency_key(self) -> str:
        """The same for every try of this step, also after a crash.

        Hand it to the system outside, so that a repeated request is recognised there.
        """
        return ids.derive_id(self.run_id, "0", self.key)


CURRENT_STEP: ContextVar[StepInfo | None] = ContextVar("agency_current_step", default=None)


def current_step() -> StepInfo:
    """Tell a step's function which step it is doing.

    Raises:
        LookupError: called from elsewhere.
    """
    info = CURRENT_STEP.get()
    if info is None:
        raise LookupError("current_step() was called outside of a step.")
    return info
