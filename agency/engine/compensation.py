"""Taking back what a run has done: how it is registered, begun, and found again.

A saga registers each leg before it is tried, as work for the run's end. When the run does not
complete, one commit writes down that it compensates and why; from then on no code of the way
forward runs again, whatever happens: neither a cancel nor a deadline stops it, and a restart goes
on where it was. What is taken back is done in the branch of the end, each leg as a step whose key
is that of its registration.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from agency.core import ids
from agency.core.backoff import delay_s
from agency.domain.entry import Entry, EntryKind
from agency.domain.wait import NewWait, Wait, WaitKind
from agency.engine import foreign
from agency.engine.branch import END_PATH
from agency.engine.context import Context
from agency.engine.patience import until_read
from agency.engine.retry import Retry
from agency.engine.steps import StepCall
from agency.errors import StepFailed
from agency.ports.store import Journal

log = logging.getLogger(__name__)


def registration_key(name: str) -> str:
    """Key of the entry that says that a leg was about to be tried."""
    return f"undo.{name}#1"


def undo_key(name: str) -> str:
    """Key of the step that takes a leg back."""
    return END_PATH + registration_key(name)


async def register(ctx: Context, name: str) -> None:
    """Record that a leg is about to be tried; when this returns it is durable.

    Raises:
        Control: the run is leaving or ending.
    """
    execution = ctx.execution
    branch = execution.enter("a saga's leg", name)
    key = registration_key(name)
    if execution.journal.find(key) is None:
        await execution.safe_point(branch)
        entry = Entry(key, EntryKind.AT_END, b"null", execution.now())
        await execution.recorder.commit(entry)


async def take_back(ctx: Context, name: str, call: StepCall) -> foreign.Returned | foreign.Raised:
    """Do the step that takes a leg back, unless it is recorded; its failure is a value."""
    execution = ctx.execution
    branch = execution.enter("a compensation", name)
    outcome = await foreign.attempt(ctx.perform_as(branch, undo_key(name), call))
    if isinstance(outcome, foreign.Raised):
        log.error(
            "compensation failed",
            extra={
                "run_id": execution.run.id,
                "leg": name,
                "error": foreign.text_of(outcome.error)[:500],
            },
        )
    return outcome


async def call_often(
    ctx: Context,
    workflow: str,
    value: Any,  # noqa: ANN401  JSON value
    *,
    name: str,
    retry: Retry,
    timeout_s: float | None,
) -> Any:  # noqa: ANN401  JSON value
    """Run another workflow as a child, and again while it fails and the policy allows.

    Raises:
        StepFailed: of the last child.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await ctx.call(workflow, value, name=f"{name}.{attempt}", timeout_s=timeout_s)
        except StepFailed as failed:
            if failed.is_permanent or attempt >= retry.attempts:
                raise
        await _pause(ctx, f"pause.{name}.{attempt}", attempt, retry)


async def _pause(ctx: Context, name: str, attempt: int, retry: Retry) -> None:
    def make(key: str) -> NewWait:
        delay = delay_s(
            attempt,
            base_s=retry.base_s,
            factor=retry.factor,
            cap_s=retry.cap_s,
            jitter=retry.jitter,
            source=ctx.execution.parts.source,
        )
        due_at = ctx.execution.now() + timedelta(seconds=delay)
        return NewWait(key=key, kind=WaitKind.TIMER, name=name, due_at=due_at)

    await ctx.wait("a saga's leg", name, make)


async def load(ctx: Context) -> Journal:
    """Read what is recorded of the run, with numbers and epochs."""
    execution = ctx.execution
    return await until_read(lambda: execution.parts.store.journal.load(execution.run.number))


async def stop_children(ctx: Context, journal: Journal) -> None:
    """Cancel the children that the way forward has left, as far as they live."""
    for wait in journal.waits:
        is_open_child = wait.kind is WaitKind.CHILD and wait.outcome is None
        if is_open_child and not wait.key.startswith(END_PATH):
            await ctx.execution.parts.cancel(wait.target)


async def child_ends(ctx: Context, name: str, waits: Sequence[Wait]) -> list[Wait]:
    """Wait until children of a leg have ended, so that nothing acts while it is taken back."""
    execution = ctx.execution
    branch = execution.enter("a compensation", name)
    return [await execution.block(branch, wait.key) for wait in waits]


def idempotency_key(run_id: str, key: str) -> str:
    """The key that a step hands to the system outside; see `agency.engine.parts.StepInfo`."""
    return ids.derive_id(run_id, "0", key)
