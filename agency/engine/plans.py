"""What of a journal a verb keeps: decided from its outline, the same for previews and deeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from agency.domain.entry import ORDERED, EntryKind
from agency.domain.lineage import EntryLine, ForkPlan, Outline, RetryPlan, WaitLine
from agency.domain.run import Phase, Run
from agency.domain.wait import WaitKind, WaitOutcome
from agency.engine.branch import END_PATH
from agency.engine.journal import branch_of, has_lost
from agency.errors import RunTakenBack

_MARKS: Mapping[EntryKind, str] = {EntryKind.ATTEMPT: "~", EntryKind.INTENT: "!"}
_FAILED = frozenset({EntryKind.FAILURE, EntryKind.WAIT, EntryKind.CHILD})
_VERSION = "!version#"


def plan_retry(outline: Outline) -> RetryPlan:
    """Decide what a retry makes void: the failures that the run's error names, and nothing else.

    With a failure go its tries, intents and waits. What the run's end has cut off is opened anew,
    but for timers, which go on to their moment. Work for the end is done again at the next one; but
    what a run has taken back stays so.
    """
    is_forward = outline.run.phase is Phase.FORWARD
    entries = [entry for entry in outline.entries if not entry.is_void]
    by_key = {entry.key: entry for entry in entries}
    winners = _winners(entries)
    named = {key for key in _named(outline.run) if key in by_key and by_key[key].kind in _FAILED}
    gone = {by_key[key].number for key in named}
    void_waits: list[str] = []
    reopened: list[str] = []
    for wait in outline.waits:
        owner = _owner_of_wait(wait.key)
        if wait.key in named or owner in named:
            void_waits.append(wait.key)
        elif wait.outcome is WaitOutcome.CANCELLED and not has_lost(branch_of(wait.key), winners):
            entry = by_key.get(wait.key)
            if entry is not None and wait.kind is WaitKind.TIMER:
                reopened.append(wait.key)
            else:
                void_waits.append(wait.key)
                if entry is not None:
                    gone.add(entry.number)
    for entry in entries:
        is_of_named = _owner(entry) in named
        if is_of_named or (is_forward and _is_end_work(entry, winners)):
            gone.add(entry.number)
    return RetryPlan(entries=sorted(gone), waits=void_waits, reopened=reopened)


def plan_fork(
    outline: Outline, at: int, *, open_keys: frozenset[str] | None = None, is_move: bool = False
) -> ForkPlan:
    """Decide what another run begins with when it begins after entry ``at`` of this one.

    A wait is kept if it had its outcome at that point: if its branch had gone on, or, of branches
    that had not, by the moment. Open ones are left out with their entries, so that they are
    opened anew; so are children that had not ended, and tries of steps that were not done.

    Args:
        outline: The run.
        at: Newest number that is kept.
        open_keys: Keys of the waits that were open, if that was recorded: of a snapshot.
        is_move: It is to be the same run elsewhere: tries, and effects that may have happened,
            count there, too, and open timers keep their moments.

    Raises:
        RunTakenBack: it compensates, or has: what it had done is not there to be shared.
    """
    if outline.run.phase is Phase.COMPENSATING:
        raise RunTakenBack(outline.run.id)
    live = [entry for entry in outline.entries if not entry.is_void]
    kept = [entry for entry in live if entry.number <= at]
    following = next((entry for entry in live if entry.number > at), None)
    moment = following.at if following is not None else None
    winners = _winners(kept)
    by_key = {entry.key: entry for entry in kept}
    newest = _newest_by_branch(kept if following is None else [*kept, following])
    dropped = {
        entry.number
        for entry in kept
        if (not is_move and entry.kind in _MARKS and _owner(entry) not in by_key)
        or _is_end_work(entry, winners)
    }
    waits: list[str] = []
    for wait in outline.waits:
        entry = by_key.get(wait.key)
        if entry is None:
            if wait.key.startswith(_VERSION) and _was_resolved(wait, moment):
                waits.append(wait.key)
            continue
        if has_lost(branch_of(wait.key), winners):
            continue
        is_open_timer = wait.kind is WaitKind.TIMER and wait.outcome is None
        if (is_move and is_open_timer) or _had_outcome(wait, entry, newest, moment, open_keys):
            waits.append(wait.key)
        else:
            dropped.add(entry.number)
    return ForkPlan(at=at, dropped=sorted(dropped), waits=waits, moment=moment)


def find_point(outline: Outline, at: int | str) -> int | None:
    """Find the newest number before a point; None if the run has no such point.

    Args:
        outline: The run.
        at: Number or key of the first entry that is not kept. Of a key the first number counts
            that belongs to it, tries included; ``charge`` is ``charge#1``.
    """
    live = [entry for entry in outline.entries if not entry.is_void]
    if isinstance(at, int):
        return at - 1 if any(entry.number == at for entry in live) else None
    for key in (at, f"{at}#1"):
        numbers = [entry.number for entry in live if key in (entry.key, _owner(entry))]
        if numbers:
            return min(numbers) - 1
    return None


def failed_compensations(outline: Outline) -> frozenset[int]:
    """Find what is done again when a compensation is retried: what has failed of it."""
    kinds = {EntryKind.FAILURE, EntryKind.ATTEMPT}
    return frozenset(
        entry.number
        for entry in outline.entries
        if not entry.is_void and entry.kind in kinds and entry.key.startswith(END_PATH)
    )


def newest_of(outline: Outline) -> int:
    """Tell the newest number of a run; 0 if it has recorded nothing."""
    return max((entry.number for entry in outline.entries), default=0)


def split(
    outline: Outline, gone: frozenset[int], at: int | None = None
) -> tuple[list[EntryLine], list[EntryLine]]:
    """Split what is recorded in order into what stays and what would be done again."""
    stays: list[EntryLine] = []
    again: list[EntryLine] = []
    for entry in outline.entries:
        if entry.is_void or entry.kind not in ORDERED or entry.kind is EntryKind.NOW:
            continue
        is_kept = entry.number not in gone and (at is None or entry.number <= at)
        (stays if is_kept else again).append(entry)
    return stays, again


def _named(run: Run) -> Iterator[str]:
    if run.error is not None:
        yield from run.error.steps
        if run.error.step and not run.error.steps:  # of a run from before steps were named
            yield run.error.step


def _winners(entries: Sequence[EntryLine]) -> dict[str, str]:
    return {entry.key: entry.winner for entry in entries if entry.kind is EntryKind.WINNER}


def _owner(entry: EntryLine) -> str:
    """Key of the step that a try or an intent belongs to; empty for others."""
    mark = _MARKS.get(entry.kind)
    return "" if mark is None else entry.key.rpartition(mark)[0]


def _owner_of_wait(key: str) -> str:
    """Key of the step that a wait belongs to; empty for others."""
    branch = branch_of(key)
    step, mark, _ = key[len(branch) :].partition(":")
    return branch + step if mark else ""


def _is_end_work(entry: EntryLine, winners: Mapping[str, str]) -> bool:
    """Tell whether it is work for the end that will be done at the next end again.

    What was registered in a branch that has lost was done when that lost, and is not known again.
    """
    if not entry.key.startswith(END_PATH):
        return False
    return not has_lost(branch_of(entry.key.removeprefix(END_PATH)), winners)


def _newest_by_branch(entries: Sequence[EntryLine]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for entry in entries:
        if entry.kind not in _MARKS:
            newest[branch_of(entry.key)] = entry.number
    return newest


def _was_resolved(wait: WaitLine, moment: datetime | None) -> bool:
    if wait.outcome is None or wait.outcome is WaitOutcome.CANCELLED:
        return False
    assert wait.resolved_at is not None, wait.key
    return moment is None or wait.resolved_at <= moment


def _had_outcome(
    wait: WaitLine,
    entry: EntryLine,
    newest: Mapping[str, int],
    moment: datetime | None,
    open_keys: frozenset[str] | None,
) -> bool:
    if wait.outcome is None or wait.outcome is WaitOutcome.CANCELLED:
        return False
    if open_keys is not None:
        return wait.key not in open_keys
    branch = branch_of(wait.key)
    while True:
        if newest.get(branch, 0) > entry.number:
            return True
        if not branch:
            return _was_resolved(wait, moment)
        branch = branch_of(branch[:-1])
