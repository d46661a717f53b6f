"""Branches beside each other: all of them, a bounded number of them, or the first."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from agency.core import json
from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.wait import WaitKind, WaitOutcome
from agency.engine import foreign
from agency.engine.branch import Branch, Join, check_name
from agency.engine.execution import STUBBORN_S, Execution
from agency.engine.failure import note_beside
from agency.engine.patience import until_read
from agency.engine.steps import ask_about, do_at_end
from agency.engine.suspension import Mismatch
from agency.errors import InvalidInput

log = logging.getLogger(__name__)
T = TypeVar("T")

CATCH_UP_TURNS_MAX = 10_000
"""Turns of the loop that losers of a replay get to come to where they were."""
Work = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Winner:
    """The branch of a ``first`` that was first, and what it returned."""

    name: str
    value: Any


async def run_all(
    execution: Execution, parent: Branch, label: str, works: Mapping[str, Work], limit: int | None
) -> dict[str, Any]:
    """Run all branches, ``limit`` at once, and wait for all of them.

    Raises:
        the exception of the first branch, in the order of ``works``, that raised one.
    """
    group = parent.key(label)
    for name in works:
        check_name(name)
    if limit is not None and limit < 1:
        raise InvalidInput(f"The limit of {label!r} is {limit}; 1 or more is needed.")
    waiting = list(works.items())
    waiting.reverse()
    places = limit or len(waiting)
    join = Join(lambda join: not join.running if not waiting else len(join.running) < places)
    parent.in_flight = label
    try:
        while waiting or join.running:
            while waiting and len(join.running) < places:
                name, work = waiting.pop()
                _launch(execution, parent, group, join, name, work)
            await _joined(execution, join)
    finally:
        parent.in_flight = None
        _close(execution, waiting)
    for task in join.done.values():
        _raise_control(task)
    outcomes = [join.done[name].result() for name in works]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, foreign.Raised)]
    if errors:
        note_beside(errors[0], errors[1:])
    return {name: _value(join.done[name]) for name in works}


async def run_first(execution: Execution, parent: Branch, works: Mapping[str, Work]) -> Winner:
    """Run branches until one has ended, record it as the winner, and cancel the others.

    On replay only the recorded winner is run. Waits of the others are closed in the commit that
    records the winner, and an event that nobody has seen goes back to the mailbox.

    Raises:
        the exception of the winner, if it raised one.
    """
    if not works:
        raise InvalidInput("ctx.first needs at least one branch.")
    group = parent.key("first")
    for name in works:
        check_name(name)
    recorded = execution.journal.find(group)
    join = Join(lambda join: bool(join.done))
    waiting = list(works.items())
    waiting.reverse()
    try:
        if recorded is not None:
            waiting = await _only_winner(execution, parent, group, recorded, waiting)
        parent.in_flight = "first"
        while waiting:
            name, work = waiting.pop()
            _launch(execution, parent, group, join, name, work)
        await _joined(execution, join)
        winner = next(iter(join.done))
        # What has left by control flow has not won: the run is leaving.
        _raise_control(join.done[winner])
        if recorded is None:
            await _catch_up(execution, [b.path for n, b in join.branches.items() if n != winner])
            await _record_winner(execution, parent, group, winner, join)
    finally:
        parent.in_flight = None
        _close(execution, waiting)
    return Winner(winner, _value(join.done[winner]))


async def _only_winner(
    execution: Execution,
    parent: Branch,
    group: str,
    recorded: Entry,
    works: list[tuple[str, Work]],
) -> list[tuple[str, Work]]:
    """Leave of the branches of a ``first`` the one that is recorded to have won.

    Raises:
        Mismatch: there is no branch of that name.
    """
    winner = json.decode(recorded.body)["name"]
    left = [(name, work) for name, work in works if name == winner]
    if not left:
        asked = ", ".join(name for name, _ in reversed(works))
        raise execution.leave_by(
            Mismatch(branch=parent.path, recorded=f"{group}.{winner}", asked=asked)
        )
    await _cancel_children(execution, [f"{group}.{name}/" for name, _ in works if name != winner])
    _close(execution, [(name, work) for name, work in works if name != winner])
    return left


def _launch(
    execution: Execution, parent: Branch, group: str, join: Join, name: str, work: Work
) -> None:
    branch = Branch(f"{group}.{name}/", parent)
    join.branches[name] = branch
    has_begun = False

    async def begin() -> foreign.Returned | foreign.Raised:
        nonlocal has_begun
        has_begun = True
        return await foreign.attempt(work())

    task = execution.spawn(branch, begin)
    join.running[name] = task

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # looked at here; raised again by whoever joins
        if not has_begun:
            discard(execution, work)  # cancelled before its first turn
        if name in join.running and not join.finish(name, task) and not branch.is_left:
            execution.deactivate()

    task.add_done_callback(ended)


def _raise_control(task: asyncio.Task[Any]) -> None:
    """Raise what a branch was left by, if its code was left and has not ended."""
    if task.cancelled():
        raise asyncio.CancelledError
    error = task.exception()
    if error is not None:
        raise error


def _value(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401  author's value
    outcome = task.result()
    if isinstance(outcome, foreign.Raised):
        raise outcome.error
    return outcome.value


async def _joined(execution: Execution, join: Join) -> None:
    """Wait until the join is satisfied; inactive meanwhile."""
    ready = join.arm()
    if ready is not None:
        await execution.inactive(ready)


async def _catch_up(execution: Execution, losers: Sequence[str]) -> None:
    """Let losers register again what they had registered for the end in an earlier life.

    On replay the winner may be done before the others have had their turn. Replaying takes turns
    of the loop and no time.
    """
    for _ in range(CATCH_UP_TURNS_MAX):
        if not execution.lacks_at_end(tuple(losers)):
            return
        await asyncio.sleep(0)
    log.error("work for the end of a losing branch is unknown", extra={"branches": list(losers)})


async def _record_winner(
    execution: Execution, parent: Branch, group: str, winner: str, join: Join
) -> None:
    losers = [branch.path for name, branch in join.branches.items() if name != winner]
    tasks: set[asyncio.Task[Any]] = set()
    closed: list[str] = []
    for name, branch in join.branches.items():
        if name != winner:
            below, keys = execution.cut_off(branch.path)
            tasks |= below
            closed.extend(keys)
            closed.extend(_unused_event(execution, branch))
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=STUBBORN_S)
        for task in late:
            log.error("code of a losing branch does not stop", extra={"task": task.get_name()})
    parent.in_flight = None
    # Also of steps that a loser had begun in an earlier life and has not come to in this one.
    doubtful = dict.fromkeys(key for key, _ in execution.journal.unsettled()) | execution.doubts
    for key in [key for key in doubtful if key.startswith(tuple(losers))]:
        await ask_about(execution, parent, key, doubtful[key])
    for path in losers:
        # What they have registered for the end is done now: on replay they do not run again.
        await do_at_end(execution, parent, execution.at_end_below(path))
    entry = Entry(group, EntryKind.WINNER, json.encode({"name": winner}), execution.now())
    await execution.recorder.commit(entry, closed_waits=closed)
    execution.journal.decide(group, winner)
    await _cancel_children(execution, losers)


def _unused_event(execution: Execution, branch: Branch) -> list[str]:
    """Key of the wait whose event a losing branch was handed and did nothing with."""
    wait = execution.journal.waits.get(branch.last_key)
    is_unused = (
        wait is not None and wait.kind is WaitKind.EVENT and wait.outcome is WaitOutcome.ANSWERED
    )
    return [branch.last_key] if is_unused else []


async def _cancel_children(execution: Execution, losers: Sequence[str]) -> None:
    """Cancel the child runs of branches that have lost; on replay once more, in case of a crash.

    A child may have gone on as its successor: its wait then names that one, in the store.
    """
    keys = [
        key
        for key, wait in execution.journal.waits.items()
        if wait.kind is WaitKind.CHILD and key.startswith(tuple(losers))
    ]
    journal = execution.parts.store.journal
    targets: set[str] = set()
    while keys:
        waits = await until_read(lambda: journal.waits(execution.run.number, keys))
        fresh = {wait.target for wait in waits} - targets
        if not fresh:
            return
        targets |= fresh
        for target in sorted(fresh):
            await execution.parts.cancel(target)


def _close(execution: Execution, works: list[tuple[str, Work]]) -> None:
    for _, work in works:
        discard(execution, work)


def as_work(awaitable: Awaitable[T]) -> Callable[[], Awaitable[T]]:
    """Make a branch of what an author hands over; nothing of it runs before the branch does."""
    if not inspect.isawaitable(awaitable):
        shown = foreign.repr_of(awaitable)
        raise InvalidInput(f"A branch must be awaitable, and {shown} is not.")

    def work() -> Awaitable[T]:
        return awaitable

    return work


def close_branches(branches: Iterable[Awaitable[Any]]) -> None:
    """Close what was to become branches and will never be awaited, so that nobody complains."""
    for branch in branches:
        close = getattr(branch, "close", None)
        if callable(close):
            close()


def discard(execution: Execution, work: Work) -> None:
    """Close what will never be awaited, and what it was handed, so that nobody complains."""
    known = len(execution.forgotten)
    close = getattr(work(), "close", None)
    if callable(close):
        close()
    del execution.forgotten[known:]
