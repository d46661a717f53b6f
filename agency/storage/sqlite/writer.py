"""The one writer: a thread that owns the only write connection and commits in groups.

Coroutines hand in whole transactions. The thread takes everything that waits, runs it in one
``BEGIN IMMEDIATE``, commits once and answers all of it through one wake-up of the loop. There is no
artificial delay: while the disk syncs one group, the next one gathers.

**Waves.** When a group is answered, the coroutines that awaited it go on, one after another in the
same turn of the loop, and most of them hand in their next transaction at once. These are gathered
and handed over together when the last of them has had its turn. Handed over one by one they would
wake the thread at the first, which then fights the loop for the interpreter and commits a handful.

**Fast lane.** By far the most writes are a claimed run's new journal entries and nothing else.
Those that follow one another in a group go into one statement that fences and inserts at once; a
group of nothing else needs no BEGIN and COMMIT either. Each statement gives up and takes back the
interpreter, and that, not SQLite, is what a busy loop makes expensive. For the same reason the
process must call ``sys.setswitchinterval(1e-4)``: with the default of 5 ms a coroutine that
computes between its awaits starves this thread.

**Order.** Everything is carried out in the order in which it was handed in: within a group, from
wave to wave, and when a group is undone and run again. Two branches of one run hand in without
waiting for each other, and what one of them has handed in first may ride in a transaction of any
sort; were it carried out after the other's, the journal would tell another order than the one in
which the code has met it, and a replay would find a mismatch that is none. So the fast lane
overtakes nothing: a transaction of another sort ends its statement, and what follows begins a new
one in the same commit. For the same reason one that finds no room takes along what else its run has
handed in before the loop has heard of it: what needs less room would be carried out before it.

**Sorts.** Members of the same sort that stand beside each other (ends, starts) are handed to their
work together, so that one statement may do for all of them. They share a savepoint.

**Faults.** What a member raises is rolled back to the savepoint; those who share it are carried out
again, each with one of its own, so that its neighbours are not touched.
When an error has ended the whole transaction (a full disk), nothing of the group is answered and
its members run again one by one. A commit or a sync that fails for another reason is final: what
the disk holds is unknown, so everything that waits and everything that comes is refused with
`StoreBroken` and ``on_broken`` is called.

Source: the batch limit and the effect of each measure are in the notes on group commit; that
SQLITE_FULL and SQLITE_IOERR may end a transaction is in https://sqlite.org/lang_transaction.html,
section 3.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

from agency.core import limits
from agency.core.clock import monotonic_s
from agency.errors import Fenced, JournalKeyTaken, ShuttingDown, StoreBroken, StoreFull
from agency.ports.store import Claim
from agency.storage.sqlite import faults, upkeep
from agency.storage.sqlite.log import Log
from agency.storage.sqlite.statements import ENTRY_VALUES, RECORD_SIZES, load_record_statements
from agency.storage.sqlite.steps import StepCounts
from agency.storage.sqlite.transaction import Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
Future = asyncio.Future[Any]
WorkOnAll = Callable[[Transaction, Sequence[Any]], Sequence[Any]]

_IDLE_S = 1.0
"""Quiet seconds after which the write-ahead log is copied into the database."""

_ROWS_MAX = RECORD_SIZES[-1]
_SIZES = {
    rows: next(size for size in RECORD_SIZES if size >= rows) for rows in range(1, _ROWS_MAX + 1)
}
_NULLS = (None,) * (_ROWS_MAX * ENTRY_VALUES)

_FULL = "The disk of the data directory is full."

_BEGIN = "BEGIN IMMEDIATE"
_COMMIT = "COMMIT"
_ROLLBACK = "ROLLBACK"
_SAVEPOINT = "SAVEPOINT member"
_BACK = "ROLLBACK TO member"
_RELEASE = "RELEASE member"


class Operation:
    """A transaction that waits for the writer: any work on any tables.

    Attributes:
        work: Does several of them at once, those of its sort that stand beside each other, and
            gives for each its result or what is raised instead; such a one has changed nothing.
            What it raises itself undoes all of them.
        item: What it is to work on for this one.
        run: Number of the claimed run that it is of; 0: it is of none.
        fulls: As in `Recording`.
    """

    __slots__ = ("error", "fulls", "future", "item", "result", "run", "work")

    def __init__(self, work: WorkOnAll, item: object, future: Future, run: int, fulls: int) -> None:
        self.work = work
        self.item = item
        self.future = future
        self.run = run
        self.fulls = fulls
        self.result: Any = None
        self.error: Exception | None = None


class Recording:
    """A transaction of the fast lane: journal entries of one claim and nothing else.

    Attributes:
        values: Parameters of ``record_entries``, `ENTRY_VALUES` for each entry, in one flat list.
        rows: How many entries, 1 or more.
        steps: How many of them are of kind STEP.
        fulls: How often the loop had heard that there was no room when it was handed in.
    """

    __slots__ = ("claim", "error", "fulls", "future", "result", "rows", "run", "steps", "values")

    def __init__(
        self,
        claim: Claim,
        values: Sequence[Any],
        rows: int,
        steps: int,
        future: Future,
        fulls: int,
    ) -> None:
        self.fulls = fulls
        self.run = claim.number
        self.claim = claim
        self.values = values
        self.rows = rows
        self.steps = steps
        self.future = future
        self.result: Any = ()
        self.error: Exception | None = None


Member = Operation | Recording
Segment = list[Recording] | tuple[Operation, ...]


class _Undone(Exception):
    """The group was rolled back as a whole; its members are to be run one by one."""


class Writer:
    """Takes transactions from the loop and carries them out in its thread.

    A transaction that was handed in is carried out, also when whoever waits for it is cancelled.

    Attributes:
        steps: Steps that the claimed runs have recorded since they were claimed.
        full_at_s: When a write last found no room, on the monotonic clock.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        on_broken: Callable[[], None],
        log_beside: Log | None = None,
    ) -> None:
        self._log = log_beside
        self.steps = StepCounts()
        self.full_at_s = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[list[Member] | None] = queue.SimpleQueue()
        self._is_closing = False
        self._gathered: list[Member] = []
        self._is_gathering = False
        self._left: list[Member] = []
        self._broken: StoreBroken | None = None
        self._opened = self._loop.create_future()
        self._closed = self._loop.create_future()
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._connection: sqlite3.Connection
        self._transaction: Transaction
        self._record_statements = load_record_statements()
        self._is_dirty = True
        self._fulls = 0
        self._without_room: dict[int, int] = {}
        self._fulls_heard = 0
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` on the loop after each group, until what comes back is called."""
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    async def submit(self, work: Callable[[Transaction], T], *, run: int = 0) -> T:
        """Carry out a transaction, and give what it returns once that is durable.

        Args:
            work: What is done in it.
            run: Number of the claimed run that it is of. What a run hands in is carried out in
                that order, or refused, also when the disk is full.

        Raises:
            ShuttingDown: the store is closing.
            StoreFull: there is no room; nothing was kept.
            StoreBroken: what the disk holds is unknown.
        """
        result: T = await self.submit_alike(each, work, run=run)
        return result

    def submit_alike(
        self,
        work: Callable[[Transaction, Sequence[Item]], Sequence[T | Exception]],
        item: Item,
        *,
        run: int = 0,
    ) -> asyncio.Future[T]:
        """Hand in a transaction to be carried out together with others of its sort.

        Args:
            work: As in `Operation`; by it the others are known.
            item: What it is to work on for this one.
            run: As in `submit`.

        Returns:
            Done when it is durable; it raises as `submit` does, and what ``work`` gives or raises.

        Raises:
            ShuttingDown, StoreBroken: as `submit`.
        """
        future = self._loop.create_future()
        self._put(Operation(work, item, future, run, self._fulls_heard))
        return future

    def record(self, claim: Claim, values: Sequence[Any], rows: int, steps: int) -> Future:
        """Hand in a transaction of the fast lane; the future ends when it is durable.

        Args:
            claim: Whose entries they are.
            values: As in `Recording`.
            rows: Number of entries, 1 or more.
            steps: How many of them are of kind STEP.

        Raises:
            ShuttingDown, StoreBroken: as `submit`.
        """
        future = self._loop.create_future()
        self._put(Recording(claim, values, rows, steps, future, self._fulls_heard))
        return future

    def _put(self, member: Member) -> None:
        if self._broken is not None:
            raise self._broken
        if self._is_closing:
            raise ShuttingDown
        if self._is_gathering:
            self._gathered.append(member)
        elif type(member) is not Recording:
            # Claims, starts and ends come in crowds, too: what else is handed in during this turn
            # of the loop goes with it.
            self._gathered.append(member)
            self._gather()
        else:
            self._queue.put([member])

    def _hand_over(self) -> None:
        """Give the thread what the last wave has handed in."""
        self._is_gathering = False
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    def _answered(self, batch: list[Member], fulls: int) -> None:
        """Answer a group, and gather what comes back from those who awaited it."""
        self._fulls_heard = fulls
        _answer(batch)
        for listener in self._listeners:
            listener()
        if not self._is_gathering:
            self._gather()

    def _gather(self) -> None:
        self._is_gathering = True
        # The loop calls in the order of asking: those just answered have their turn before.
        self._loop.call_soon(self._hand_over)

    async def open(self) -> None:
        """Start the thread and wait until the connection is open.

        Raises:
            AgencyError, sqlite3.Error, OSError: as ``connect``.
        """
        self._thread.start()
        await self._opened

    async def close(self) -> None:
        """Refuse what comes from now on, and wait until all that was handed in is answered."""
        if not self._is_closing:
            self._is_closing = True
            self._hand_over()
            self._queue.put(None)
        # Also when the caller is cancelled the thread goes on to the end by itself.
        await asyncio.shield(self._closed)

    # All that follows runs in the thread.

    def _serve(self) -> None:
        try:
            self._connection = self._connect()
            self._transaction = Transaction(self._connection, self.steps)
        except BaseException as error:  # noqa: BLE001  it is raised where the store is opened
            self._call(_end, self._opened, error)
            return
        self._call(_end, self._opened, None)
        try:
            is_last = False
            while not is_last:
                batch, is_last = self._take()
                self._carry_out(batch)
                self._call(self._answered, batch, self._fulls)
                self._look_at_log()
        finally:
            upkeep.close(self._connection)
            self._call(_end, self._closed, None)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            log.debug("nobody waits for the store any more: the loop is closed")

    def _take(self) -> tuple[list[Member], bool]:
        """Wait for work, and take all there is, up to the limit; also tell whether it is over."""
        waiting, batch_max = self._queue, limits.BATCH_TRANSACTIONS_MAX
        if self._left:
            batch, self._left = self._left[:batch_max], self._left[batch_max:]
            return batch, False
        while self._is_dirty and waiting.empty():
            try:
                first = waiting.get(timeout=_IDLE_S)
                break
            except queue.Empty:
                self._tidy()
        else:
            first = waiting.get()
        if first is None:
            return [], True
        batch = first
        while len(batch) < batch_max:
            try:
                members = waiting.get_nowait()
            except queue.Empty:
                break
            if members is None:
                return batch, True
            batch += members
        self._left = batch[batch_max:]
        return batch[:batch_max], False

    def _carry_out(self, batch: list[Member]) -> None:
        if not batch:
            return
        self._is_dirty = True
        try:
            if len(batch) == 1 and type(batch[0]) is Operation:
                self._alone(batch[0])
                return
            try:
                self._together(batch)
            except _Undone:
                for member in batch:
                    self._alone(member)
        except Exception as error:  # noqa: BLE001  whatever it is, nobody may wait for ever
            self._break(error)
            for member in batch:
                member.error = member.error or self._broken

    def _together(self, batch: list[Member]) -> None:
        """Carry out all members in one commit, in the order in which they were handed in.

        Raises:
            _Undone: nothing of it was kept.
        """
        if self._broken is not None:
            raise _Undone
        if self._without_room and any(map(self._must_wait, batch)):
            raise _Undone
        segments = _segments(batch)
        first = segments[0]
        # One statement is a transaction of its own.
        is_bare = len(segments) == 1 and type(first) is list and _count_rows(first) <= _ROWS_MAX
        is_committing = is_bare
        try:
            if not is_bare:
                self._connection.execute(_BEGIN)
            for segment in segments:
                self._carry_out_segment(segment)
            if not is_bare:
                is_committing = True
                self._connection.execute(_COMMIT)
        except Exception as error:
            self._roll_back()
            for member in batch:
                member.error = None
            if is_committing and faults.is_fatal(error):
                # A sync that failed must not be tried again: the second one may succeed although
                # the pages of the first are lost.
                self._break(error)
            raise _Undone from error
        self.steps.commit()

    def _carry_out_segment(self, segment: Segment) -> None:
        if type(segment) is list:
            self._record(segment)
        else:
            assert type(segment) is tuple
            self._protected(segment)

    def _protected(self, members: Sequence[Operation]) -> None:
        """Carry out members of one sort; what one of them raises is undone and touches no other."""
        connection = self._connection
        mark = self.steps.mark()
        connection.execute(_SAVEPOINT)
        try:
            self._work_on(members)
        except Exception as error:
            has_ended = not connection.in_transaction
            if has_ended or faults.is_full(error) or faults.is_fatal(error):
                raise
            connection.execute(_BACK)
            self.steps.undo(mark)
            if len(members) == 1:
                members[0].error = error
            else:
                for member in members:
                    member.error = None
                    self._protected((member,))
        connection.execute(_RELEASE)

    def _work_on(self, members: Sequence[Operation]) -> None:
        outcomes = members[0].work(self._transaction, [member.item for member in members])
        for member, outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, Exception):
                member.error = outcome
            else:
                member.result = outcome

    def _alone(self, member: Member) -> None:
        """Carry out one member in a commit of its own."""
        if self._broken is not None:
            member.error = self._broken
            return
        if self._must_wait(member):
            member.error = StoreFull(_FULL)
            return
        try:
            self._begin()
            if type(member) is Operation:
                self._work_on((member,))
            else:
                assert type(member) is Recording
                self._record([member])
            self._connection.execute(_COMMIT)
        except Exception as error:  # noqa: BLE001  it is raised where the member is awaited
            self._roll_back()
            member.error = self._explain(error, member)
        else:
            self.steps.commit()

    def _must_wait(self, member: Member) -> bool:
        """Tell whether an earlier one of its run found no room, unknown to who handed this in."""
        if member.fulls == self._fulls:
            self._without_room.clear()  # all that came before has been heard of
        return member.fulls < self._without_room.get(member.run, 0)

    def _begin(self) -> None:
        while True:
            try:
                self._connection.execute(_BEGIN)
                return
            except sqlite3.OperationalError as error:
                if not faults.is_busy(error):
                    raise
                if self._is_closing:
                    raise ShuttingDown from error
                log.warning("another process holds the database; waiting for it")

    def _roll_back(self) -> None:
        self.steps.undo()
        if self._connection.in_transaction:
            self._connection.execute(_ROLLBACK)

    def _record(self, recordings: Sequence[Recording]) -> None:
        """Fence and insert the entries of all recordings, in as few statements as possible."""
        rows = _count_rows(recordings)
        if len(recordings) == 1:
            values = recordings[0].values
        else:
            values = []
            for recording in recordings:
                values += recording.values
        inserted = 0
        for start in range(0, rows, _ROWS_MAX):
            count = min(rows - start, _ROWS_MAX)
            size = _SIZES[count]
            part = values
            if count < rows:
                part = values[start * ENTRY_VALUES : (start + count) * ENTRY_VALUES]
            if count < size:
                part = [*part, *_NULLS[: (size - count) * ENTRY_VALUES]]
            inserted += self._connection.execute(self._record_statements[size], part).rowcount
        note = self.steps.note
        if inserted != rows:
            recordings = self._list_unfenced(recordings)
        for recording in recordings:
            if recording.steps:
                note(recording.claim.run_id, recording.claim.epoch, recording.steps)

    def _list_unfenced(self, recordings: Sequence[Recording]) -> Sequence[Recording]:
        """Tell whose entries were inserted; the others get their error."""
        unfenced = []
        for recording in recordings:
            claim = recording.claim
            if self._transaction.one("fence", (claim.number, claim.epoch)) is None:
                recording.error = Fenced(claim.run_id, claim.epoch)
            else:
                unfenced.append(recording)
        return unfenced

    def _explain(self, error: Exception, member: Member) -> Exception:
        if faults.is_full(error):
            self.full_at_s = monotonic_s()
            self._fulls += 1
            if member.run:
                self._without_room[member.run] = self._fulls
            return StoreFull(_FULL)
        if faults.is_fatal(error):
            return self._break(error)
        if isinstance(error, sqlite3.IntegrityError) and type(member) is Recording:
            return JournalKeyTaken(member.claim.run_id, member.values[4::ENTRY_VALUES])
        return error

    def _break(self, error: Exception) -> StoreBroken:
        if self._broken is None:
            self._broken = StoreBroken(f"The database could not be written: {error}.")
            log.critical("the store is broken", extra={"reason": str(error)})
            self._call(self._on_broken)
        return self._broken

    def _look_at_log(self) -> None:
        if self._log is None or self._broken is not None:
            return
        try:
            self._log.look(self._connection)
        except sqlite3.Error as error:
            # Nothing that was promised depends on it; a full disk is met by the next commit, too.
            if faults.is_fatal(error):
                self._break(error)
            else:
                log.warning("the log was not copied", extra={"reason": str(error)})

    def _tidy(self) -> None:
        try:
            self._is_dirty = not upkeep.tidy(self._connection)
        except Exception as error:  # noqa: BLE001  nothing that was promised depends on it
            # The next commit makes it due again.
            self._is_dirty = False
            if faults.is_fatal(error):
                self._break(error)
            else:
                log.warning("the database was not tidied", extra={"reason": str(error)})


def each(tx: Transaction, works: Sequence[Callable[[Transaction], Any]]) -> Sequence[Any]:
    """Carry out what has nothing in common with others; the work of `Writer.submit`."""
    return [work(tx) for work in works]


def _segments(batch: Sequence[Member]) -> list[Segment]:
    """Put together what is alike and follows one another in a group; the order stays."""
    segments: list[Segment] = []
    for sort, members in itertools.groupby(batch, _sort):
        if sort is Recording:
            segments.append(cast(list[Recording], list(members)))
        else:
            segments.append(cast(tuple[Operation, ...], tuple(members)))
    return segments


def _sort(member: Member) -> object:
    if type(member) is not Operation:
        return Recording
    # What has nothing in common shares no savepoint: it may be dear to carry out again.
    return member if member.work is each else member.work


def _count_rows(recordings: Sequence[Recording]) -> int:
    return sum([recording.rows for recording in recordings])


def _answer(batch: list[Member]) -> None:
    for member in batch:
        future = member.future
        if future.done():
            continue
        if member.error is None:
            future.set_result(member.result)
        else:
            future.set_exception(member.error)


def _end(future: Future, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


@asynccontextmanager
async def open_writer(
    connect: Callable[[], sqlite3.Connection],
    *,
    on_broken: Callable[[], None],
    log_beside: Log | None = None,
) -> AsyncIterator[Writer]:
    """Open the writer; at the end all that was handed in is carried out, and the rest refused.

    Args:
        connect: Opens the write connection; called in the thread.
        on_broken: Called once, on the loop, when the store is broken.
        log_beside: The write-ahead log, which is not to grow for ever.

    Raises:
        AgencyError, sqlite3.Error, OSError: as ``connect``.
    """
    writer = Writer(connect, on_broken=on_broken, log_beside=log_beside)
    await writer.open()
    try:
        yield writer
    finally:
        await writer.close()
