"""Where runs, their journals and everything that belongs to them are kept.

Each method is **one atomic transaction**: all of it is durable when it returns, or nothing of it
is kept and it raises. No transaction crosses a method. A call that was cancelled by its caller may
still be carried out. The contract tests in ``tests/contract`` are these docstrings in code.

Every method may raise `StoreFull` (no room; nothing was kept) and `StoreBroken` (what the disk
holds is unknown; the process must end).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, overload

from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.event import Event
from agency.domain.message import NewMessage
from agency.domain.principal import Token
from agency.domain.run import NewRun, Phase, Run, RunError, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.wait import NewWait, Wait, WaitOutcome
from agency.errors import AgencyError
from agency.ports.approval import ApprovalStore
from agency.ports.connection import ConnectionStore
from agency.ports.definition import DefinitionStore
from agency.ports.fitness import FitnessStore
from agency.ports.lineage import LineageStore
from agency.ports.memory import CoreStore, NotebookStore, PassageStore
from agency.ports.peer import PeerStore
from agency.ports.push import PushStore
from agency.ports.queues import QueueStore
from agency.ports.secret import SecretStore
from agency.ports.session import SessionStore as SessionStore  # noqa: PLC0414  also found here
from agency.ports.task import TaskStore
from agency.ports.topic import TopicStore
from agency.ports.transfers import TransferStore
from agency.ports.updates import UpdateStore

if TYPE_CHECKING:  # they name records of this file
    from agency.ports.saga import SagaStore
    from agency.ports.schedule import ScheduleStore
    from agency.ports.upkeep import UpkeepStore


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write for a run, until another claim raises the epoch."""

    number: int
    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What a claimed run wants to have recorded together, in one commit.

    Attributes:
        entries: New journal entries; a key that is there already is a bug and raises.
        waits: Waits to open. One that can be answered at once (an event that is in the mailbox,
            a child that has ended) is opened and resolved in the same commit.
        closed_waits: Keys of waits whose branch has lost. Those that are open or resolved become
            CANCELLED, and an event that one of them had taken goes back to the mailbox, or to its
            topic: that one is spreading again then (`agency.ports.topic.TopicStore.spread`).
        children: Runs to start as children; insert-or-find by their id.
        messages: Messages to append to sessions, in this order; sessions are made as needed.
        superseded: Keys of failures (``K``), tries (``K~N``), intents (``K!N``), waits and children
            (``K``) that a retry has made void: they stay readable under another key and no longer
            count, and their keys are free again, from the same commit on. The same holds for
            waits with those keys, and for those of a step (``K:…``). An entry that is not there,
            or is of another kind, is left alone.
        progress: JSON value that replaces the run's progress, when ``has_progress``.
        phase: The run's phase from this commit on, with ``cause`` as its error; None leaves both.
            A run that is compensating is left to it by `RunStore.end`, and so are its children.
    """

    entries: Sequence[Entry] = ()
    waits: Sequence[NewWait] = ()
    closed_waits: Sequence[str] = ()
    children: Sequence[NewRun] = ()
    messages: Sequence[NewMessage] = ()
    superseded: Sequence[str] = ()
    progress: Any = None
    has_progress: bool = False
    phase: Phase | None = None
    cause: RunError | None = None

    @property
    def is_empty(self) -> bool:
        return not (
            self.entries
            or self.waits
            or self.closed_waits
            or self.children
            or self.messages
            or self.superseded
            or self.has_progress
            or self.phase is not None
        )


NOTHING = Writes()


@dataclass(frozen=True, slots=True)
class Wake:
    """A run that somebody has to hear of.

    ``pending``: it has a reason to go on and is to be claimed. ``running``: whoever has claimed it
    is to look at what was recorded for it: outcomes of waits, a hold, a wish for its end. Any
    other status: it has ended with its parent; whoever watches it is to be told.
    """

    number: int
    run_id: str
    status: RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run that was started, or found by its idempotency key or id (``is_new`` False)."""

    run: Run
    is_new: bool


@dataclass(frozen=True, slots=True)
class Claimed(Sequence[Run]):
    """The runs of a claim, in their order.

    Attributes:
        next_at: When to look again: a queue has used up its rate, and would hand out more. None
            if no rate holds anything up.
    """

    runs: Sequence[Run]
    next_at: datetime | None = None

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | Sequence[Run]:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """What became of the wish to suspend.

    Either ``snapshot_id`` is set and the run is suspended, or ``resolved`` holds those of the
    waits it was blocked on that have their outcome already, and the run stays claimed.

    ``wakes`` is empty unless the run's end was asked for under this very claim: see `suspend`.
    The run itself is among them only if it became pending.
    """

    snapshot_id: str | None
    resolved: Sequence[Wait]
    wakes: Sequence[Wake] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of the wish to end a run and its descendants.

    Attributes:
        ended: Ids of runs that have ended by this call.
        asked: Ids of runs whose end was recorded as wanted: claimed ones, and those with work
            registered for their end or with an effect in doubt.
        wakes: Runs to be claimed or told.
        compensating: Ids of runs that take back what they have done already, and go on with it.
    """

    ended: Sequence[str]
    asked: Sequence[str]
    wakes: Sequence[Wake]
    compensating: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a daemon found of a dead one.

    Attributes:
        requeued: Runs that were claimed and are pending again.
        suspects: Ids of those that have crashed twice with nothing recorded, to be run alone.
        quarantined: Ids of those that crashed a third time, alone; they are dead letters now.
    """

    requeued: int
    suspects: Sequence[str]
    quarantined: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run with what is asked for beside it.

    Attributes:
        waits: Its open waits, oldest first.
        steps_executed: Entries of kind STEP.
        snapshot_id: Its newest snapshot while it is suspended, else None.
        behind: Id of the live run of the same session that it waits for, or None.
    """

    run: Run
    waits: Sequence[Wait]
    steps_executed: int
    snapshot_id: str | None
    behind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; None means any. ``statuses`` empty means any."""

    statuses: frozenset[RunStatus] = frozenset()
    workflow: str | None = None
    name: str | None = None
    session_id: str | None = None
    parent_id: str | None = None
    is_named: bool | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFilter:
    run_name: str | None = None
    reason: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event that was put into a mailbox. ``wakes`` holds the run if a wait took it."""

    event_id: str
    wakes: Sequence[Wake]


@dataclass(frozen=True, slots=True)
class Void:
    """The place of an entry that a retry has made void; its key ends in ``^`` and its number."""

    key: str
    kind: EntryKind
    number: int


@dataclass(frozen=True, slots=True)
class Journal:
    """A run's journal: entries in the order they were recorded, and all its waits.

    ``voids`` are the entries that were superseded; they and their waits are in neither list.
    """

    entries: Sequence[Entry]
    waits: Sequence[Wait]
    voids: Sequence[Void] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What came due, and when to look again (None: nothing is scheduled)."""

    wakes: Sequence[Wake]
    overdue: Sequence[str] = field(default=())
    """Ids of live runs past their deadline; the caller ends them."""
    next_at: datetime | None = None


class RunStore(Protocol):
    """The life of runs, from start to end."""

    async def start(self, new: NewRun) -> Started:
        """Store a run as pending.

        With an idempotency key that its principal has used before: the run of that key comes back
        with ``is_new`` False if the request hash is the same.

        Raises:
            QueueFull: the queue has as many pending runs as it may. A run that is known by its key
                or id is found all the same; children and successors are never refused.
            NameTaken: a live run has the name.
            IdempotencyMismatch: the key was used with another request hash.
            MessageIdTaken: it is a task, and the message's id was used for another one; see
                `agency.ports.task`.
            SessionBusy: the session's newest live run is suspended, and somebody has to answer
                what it waits for. Behind one that goes on by itself (timer, resource, child) the
                new run queues.
        """
        ...

    async def start_many(self, new: Sequence[NewRun]) -> Sequence[Started | AgencyError]:
        """Store many runs in one commit, in this order; each stands for itself.

        Returns:
            For each of them what `start` would return or raise.
        """
        ...

    async def claim(
        self, *, limit: int, owner: str, now: datetime, only: str | None = None
    ) -> Claimed:
        """Hand up to ``limit`` ready runs to the caller, each to at most one caller.

        A run is ready when it is pending, no older live run has its session or its concurrency key
        (except an ancestor), and the moment has come to which its start or its release has put it
        off. One that was not put off is ready whatever the clock says, which may have been set back
        since it was accepted or woken.

        Those ready the longest go first, a point of priority counting as ``limits.AGEING_S``
        seconds of waiting. Left out are runs of a queue that is paused, or has as many claimed runs
        as it may or no token left of its rate, and of a workflow that has as many claimed runs as
        it may. Each claim raises the epoch, sets the owner and, the first time, ``started_at``.
        With ``only`` just that run is considered, under the same limits.
        """
        ...

    async def record(self, claim: Claim, writes: Writes, *, now: datetime) -> Sequence[Wait]:
        """Record for a claimed run. Returns the waits that this commit has resolved.

        Those are opened waits that could be answered at once, and waits that have taken an event
        which a closed wait has given back.

        Raises:
            Fenced: the claim is over; nothing was recorded.
        """
        ...

    async def suspend(
        self,
        claim: Claim,
        writes: Writes,
        *,
        blocked_on: Sequence[str],
        snapshot_id: str,
        reason: str,
        now: datetime,
    ) -> Suspension:
        """Record, and suspend the run unless it can go on.

        The run goes on when one of the waits named in ``blocked_on`` is resolved: a delivery that
        came before or between is never lost, in whichever order the two transactions run. A run
        with an operator's hold is suspended all the same, with a wait of kind OPERATOR opened
        beside the others under the key ``!operator#N``. With nothing in ``blocked_on`` and no hold
        (it was lifted meanwhile) there is nothing that would wake the run, and it goes on, too.

        A suspended run has no owner. Its snapshot is stored in the same commit.

        If `end` was called under this very claim, what it does to a suspended run is done in the
        same commit, because its caller has been told that the run is claimed: the run ends, or
        becomes pending for its work at the end, or stays suspended until decided; and so do its
        descendants, with those that this commit has started.

        Raises:
            Fenced: the claim is over; nothing was recorded.
        """
        ...

    def finish(
        self,
        claim: Claim,
        writes: Writes,
        *,
        status: RunStatus,
        output: Any,  # noqa: ANN401  JSON value
        error: RunError | None,
        successor: NewRun | None = None,
        now: datetime,
    ) -> Awaitable[Sequence[Wake]]:
        """Record, and end the run; its open waits become CANCELLED.

        A wait of kind CHILD on this run is answered with ``{"status", "output", "error"}`` and its
        run woken, in the same commit. Its live descendants are cancelled in the same commit, in
        the way of `end`: no child outlives its parent, except for an end that has to be worked
        off. (The same holds for a run that `recover` makes a dead letter.)

        With a ``successor`` that run is started in its place: it takes over the name, the session,
        the parent, the wait of whoever waited for this one, and the live children. If the end of
        this one was wanted, its successor is ended at once, as `end` does.

        Returns:
            The parent if it has a reason to go on, the next run of the same session, and of the
            descendants those that have ended (with their status), those that are claimed and to
            be told that their end is wanted, and those that are pending for it.

        Raises:
            Fenced: the claim is over; nothing was recorded.
        """
        ...

    async def release(
        self,
        claim: Claim,
        writes: Writes,
        *,
        available_at: datetime,
        failed: RunError | None = None,
        now: datetime,
    ) -> None:
        """Record, and put the run back to pending. ``failed`` raises ``attempt`` and is stored.

        The run is not claimed before ``available_at`` if that is later than ``now``.

        A run whose end was asked for meanwhile can be claimed at once, whatever ``available_at``
        says, and keeps the error that it is to end with.

        Raises:
            Fenced: the claim is over; nothing was recorded.
        """
        ...

    async def end(
        self, run_id: str, *, status: RunStatus, error: RunError, now: datetime
    ) -> Ending:
        """Cancel (CANCELLED) or time out (TIMED_OUT) a run and all its live descendants.

        Pending and suspended runs end at once, unless there is something to be done or decided
        before; then the wanted end is recorded. With an open wait of kind DECISION a suspended run
        stays so until decided. Otherwise, with entries of kind AT_END or an effect in doubt, it
        becomes pending, to work or to ask. An effect is in doubt when an INTENT ``K!N`` that is
        not superseded has no outcome: neither an entry ``K`` nor one ``K~N``.

        A run that is compensating is left to it, and so are the children that it does it with.

        Claimed runs get the wanted end recorded. A hold is lifted. A run that ends answers its
        parent's wait as `finish` does.

        Raises:
            RunNotFound: there is none.
            RunEnded: it has ended.
        """
        ...

    async def hold(
        self, run_id: str, *, reason: str, snapshot_id: str, now: datetime
    ) -> tuple[Snapshot | None, Sequence[Wake]]:
        """Ask for a run to be suspended until an operator lets it go on.

        A pending run is suspended at once with a wait of kind OPERATOR. A suspended one gets that
        wait beside its others and keeps its snapshot, whose reason is ``reason`` from now on;
        nothing wakes it until the hold is lifted, while what arrives is recorded. A claimed one
        has its hold recorded and comes back as None with a wake, to be suspended at its next safe
        point. Twice is the same as once.

        Raises:
            RunNotFound: there is none.
            RunEnded: it has ended.
        """
        ...

    async def recover(self, *, owner: str, now: datetime) -> Recovery:
        """Put every run that another daemon of this store had claimed back to pending.

        Called once at start, before any claim. A run with no entry recorded under its last epoch
        has one crash more, others have none. ``suspects`` includes those of earlier recoveries
        that nobody has claimed since. Two crashes make a suspect; a suspect that was
        claimed alone (the only claimed run) and crashed again becomes a DEAD_LETTER with the error
        code ``crash``, and answers its parent's wait.
        """
        ...

    async def fire_due(self, *, now: datetime, limit: int) -> Due:
        """Resolve up to ``limit`` open waits that are due, and wake their runs.

        Timers become FIRED, others TIMED_OUT. Also tells which live runs are past their deadline.
        ``next_at`` is the earliest moment of an open wait, a pending run that was put off, or a
        deadline, that is later than ``now``; it is ``now`` itself if ``limit`` was reached.
        """
        ...

    async def strays(self, *, owner: str) -> Sequence[str]:
        """Tell which runs may have no reason to go on, for the sweeper.

        Those are suspended runs with neither an open wait nor a hold, and all claimed runs: those
        of another than ``owner``, and those of ``owner`` itself, which leaves out what it works
        on. At the moment of its claim or its end one of its own may be told although it is well:
        look twice.
        """
        ...

    async def get(self, run_id: str) -> RunDetail:
        """Read one run.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def find_named(self, name: str) -> RunDetail | None:
        """Read the live run of that name, else the newest ended one, else None."""
        ...

    async def list(self, which: RunFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        """Read runs, newest first; ``before`` is the number after which to go on (paging)."""
        ...

    async def count_by_status(self) -> Mapping[RunStatus, int]:
        """Tell how many runs have each status; kept, not counted. Absent means 0."""
        ...


class JournalStore(Protocol):
    """Reading what runs have recorded."""

    async def load(self, number: int) -> Journal:
        """Read the whole journal of a run, but superseded entries and those for watchers only.

        Entries for watchers only (`entry.WATCHED_ONLY`) are not part of what a run has recorded:
        see `agency.ports.updates`.
        """
        ...

    async def waits(self, number: int, keys: Sequence[str]) -> Sequence[Wait]:
        """Read those of a run's waits that have the given keys, open or resolved."""
        ...

    async def entries(self, run_id: str, *, after: int, limit: int) -> Sequence[Entry]:
        """Read a page of a run's entries, oldest first, those with ``number`` above ``after``.

        Those for watchers only are left out.

        Raises:
            RunNotFound: there is none.
        """
        ...


class MailStore(Protocol):
    """What reaches runs from outside: events and answers."""

    async def deliver(
        self,
        run_id: str,
        *,
        event_id: str,
        name: str,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Delivery:
        """Put an event into a run's mailbox; the oldest open wait that it fits takes it.

        It fits a wait for its name without a topic, whose filter, if there is one, it passes.

        The same ``event_id`` twice is delivered once. The run is woken in the same commit: a
        suspended one becomes pending (unless held), a claimed one comes back as a wake.

        Raises:
            RunNotFound: there is none.
            RunEnded: it has ended.
        """
        ...

    async def answer(
        self,
        run_id: str,
        *,
        wait: str,
        outcome: WaitOutcome,
        payload: Any,  # noqa: ANN401  JSON value
        snapshot_id: str | None,
        now: datetime,
        by: str = "",
    ) -> Sequence[Wake]:
        """Resolve one open wait by its key, and wake the run.

        A wait of kind OPERATOR lifts the hold and wakes the run whatever else it waits for. The
        record of an input (`agency.ports.approval`) is answered in the same commit.

        Args:
            snapshot_id: If given, it must be the run's newest and the run must be suspended.
            by: Principal who answers.

        Raises:
            RunNotFound: there is none.
            RunEnded: it has ended.
            SnapshotSpent: the run has gone on since that snapshot.
            WaitNotFound: the run never had a wait of that key.
            WaitTaken: the wait is not open any more.
        """
        ...

    async def wake_waiting_for(self, resource: str, *, limit: int, now: datetime) -> Sequence[Wake]:
        """Answer up to ``limit`` open waits of kind RESOURCE for that target, oldest first."""
        ...

    async def resources(self) -> Sequence[str]:
        """Tell which resources open waits are for, each once."""
        ...

    async def events(self, run_id: str, *, limit: int) -> Sequence[Event]:
        """Read the newest events of a run's mailbox, oldest first.

        Raises:
            RunNotFound: there is none.
        """
        ...


class SnapshotStore(Protocol):
    """Snapshots of suspended runs."""

    async def get(self, snapshot_id: str) -> Snapshot:
        """Read one snapshot with the waits that it was made with.

        Raises:
            SnapshotNotFound: there is none.
        """
        ...

    async def list(
        self, which: SnapshotFilter, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Read snapshots, newest first; ``before`` is the id after which to go on (paging)."""
        ...

    async def delete(self, snapshot_id: str) -> None:
        """Delete a snapshot.

        Raises:
            SnapshotNotFound: there is none.
            SnapshotLive: it is the newest of a run that has not ended.
        """
        ...


class TokenStore(Protocol):
    """API tokens; only hashes are kept."""

    async def add(self, token: Token) -> None:
        """Store a token.

        Raises:
            TokenNameTaken: a token that was not revoked has the name.
        """
        ...

    async def list(self) -> Sequence[Token]:
        """Read all tokens that were not revoked, oldest first."""
        ...

    async def revoke(self, name: str, *, now: datetime) -> None:
        """Revoke a token; it stops working at once.

        Raises:
            TokenNotFound: no token that works has the name.
        """
        ...


class Store(Protocol):
    """All of it. Open it with ``async with``; closing waits for what was submitted."""

    @property
    def runs(self) -> RunStore: ...
    @property
    def journal(self) -> JournalStore: ...
    @property
    def mail(self) -> MailStore: ...
    @property
    def snapshots(self) -> SnapshotStore: ...
    @property
    def sessions(self) -> SessionStore: ...
    @property
    def connections(self) -> ConnectionStore: ...
    @property
    def tokens(self) -> TokenStore: ...
    @property
    def secrets(self) -> SecretStore: ...
    @property
    def core(self) -> CoreStore: ...
    @property
    def passages(self) -> PassageStore: ...
    @property
    def notebooks(self) -> NotebookStore: ...
    @property
    def lineage(self) -> LineageStore: ...
    @property
    def transfers(self) -> TransferStore: ...
    @property
    def approvals(self) -> ApprovalStore: ...
    @property
    def topics(self) -> TopicStore: ...
    @property
    def updates(self) -> UpdateStore: ...
    @property
    def queues(self) -> QueueStore: ...
    @property
    def schedules(self) -> ScheduleStore: ...
    @property
    def upkeep(self) -> UpkeepStore: ...
    @property
    def definitions(self) -> DefinitionStore: ...
    @property
    def sagas(self) -> SagaStore: ...
    @property
    def fitness(self) -> FitnessStore: ...
    @property
    def tasks(self) -> TaskStore: ...
    @property
    def pushes(self) -> PushStore: ...
    @property
    def peers(self) -> PeerStore: ...

    async def check(self, *, timeout_s: float) -> bool:
        """Tell whether a read and an empty write both get through in time."""
        ...

    def has_room(self) -> bool:
        """Tell whether new work would be taken, or the disk is too full for it."""
        ...
