"""Proving that a workflow is safe to resume: it is killed at every place, and has to come through.

A run is started once and the database with it copied for each try, so that all tries are of the
very same run: same id, same seed, same moment. The first goes through undisturbed. Each other is
killed before or after one of its transactions and goes on in a second life, over what was committed
and nothing else. Killed *before*, it has also forgotten its memory, as a process that was started
anew has; killed *after*, its memory is as it was, as that of a daemon from which a suspended run
was dropped. Both have to end as the undisturbed run did.

Steps may hand back something else at each try: where their results differ, the end is not compared
with that of the undisturbed run, but with what a replay over the very same results ends with.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from typing import Any

from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import ENDED, RunKind, RunStatus
from agency.domain.wait import Wait, WaitKind
from agency.engine.definition import Definition
from agency.engine.runs import StartRequest
from agency.errors import Conflict, NotFound, ShuttingDown
from agency.ports.store import RunDetail, RunFilter, Writes
from agency.storage.sqlite.store import SqliteStore
from agency.testing.answers import make_decision, to_json
from agency.testing.clock import MovedClock
from agency.testing.code import unsteady_calls
from agency.testing.effects import listening
from agency.testing.gate import Cut, Look, Write
from agency.testing.life import LIVE_RUNS_MAX, AgentMaker, Life, open_life
from agency.testing.memory import Memory
from agency.testing.model import ScriptedModel
from agency.testing.store import copy_store
from agency.testing.witness import StepKey, Witness
from agency.workflows.saga.interpreter import Interpreter

KILLS_MAX = 1000
"""Places at which one run is killed; of more, so many are taken, evenly spread."""
TURNS_MAX = 1000
"""Answers that one try is given: a run that asks more often does not end."""
FAILURES_MAX = 3
"""Failing tries after which no others are made: they most often say the same."""
_HEAD_START = timedelta(seconds=1)
_ENTRIES_MAX = 100_000
_DECIDED = (EntryKind.STEP, EntryKind.FAILURE, EntryKind.NOW, EntryKind.WINNER)
_OUTCOMES = (EntryKind.STEP, EntryKind.FAILURE)

Answers = Mapping[str, Any]


class NotResumable(AssertionError):
    """A workflow is not safe to resume; the text says where it was killed, and what went wrong.

    Attributes:
        problems: What was found, one sentence each.
    """

    def __init__(self, workflow: str, problems: Sequence[str], kills: int) -> None:
        lines = [f"The workflow {workflow!r} is not safe to resume ({kills} kills were tried):"]
        lines += [f"  {number}. {problem}" for number, problem in enumerate(problems, 1)]
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class AnswerMissing(ValueError):
    """The run waits for somebody, and the test has not said what the answer is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was tried.

    Attributes:
        status: What every try ended as.
        output: What the undisturbed run handed back; JSON.
        kills: How many times the run was killed.
        places: At how many places it could have been; more than ``kills`` only beyond a limit.
        steps: Keys of the steps that the undisturbed run has recorded, in order.
        repeated: Steps that were done a second time after a kill, and in how many tries: their
            outcome was not yet recorded. Their effects happen twice.
    """

    status: str
    output: Any
    kills: int
    places: int
    steps: Sequence[str]
    repeated: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is proven, and what it needs.

    Attributes:
        definitions: All workflows that it may call, itself among them.
        answers: What is answered to waits, by their key or name; see `Harness.prove_resumable`.
        outside: Objects in memory that stand for what is outside of the process.
        reset: Called before each try, to put outside things back to their beginning.
        ends_as: The status that it has to end with.
        guard_s: Seconds of real time that one life may take.
    """

    workflow: str
    input: Any
    definitions: Sequence[Definition]
    answers: Answers = field(default_factory=dict)
    outside: Sequence[object] = ()
    reset: Callable[[], None] | None = None
    ends_as: str = "completed"
    kills_max: int = KILLS_MAX
    guard_s: float = 15.0


@dataclass(frozen=True, slots=True)
class _End:
    """How a try has ended: status, output and error of the run, and all that was decided."""

    status: str
    output: Any
    error: str
    decided: Mapping[tuple[StepKey, EntryKind], bytes]

    def text(self) -> str:
        shown = f"{self.status}, {self.error}" if self.error else f"{self.status}: {self.output!r}"
        return shown if len(shown) <= 400 else f"{shown[:400]}…"

    def is_like(self, other: _End) -> bool:
        return (self.status, self.output, self.error) == (other.status, other.output, other.error)


class Prover:
    """Tries one workflow."""

    def __init__(
        self,
        folder: Path,
        subject: Subject,
        *,
        clock: MovedClock,
        model: ScriptedModel,
        make_agent: AgentMaker | None = None,
    ) -> None:
        self._folder = folder
        self._subject = subject
        self._clock = clock
        self._began_at = clock.now()
        self._model = model
        self._make_agent = make_agent
        self._witness = Witness()
        self._watched = [self._witness.watch(one) for one in subject.definitions]
        self._memory = Memory(
            [function for one in subject.definitions for function in _code_of(one)],
            subject.outside,
        )
        self._noted = self._memory.note()
        self._decided_again: Counter[StepKey] = Counter()
        self._run_id = ""
        self._tries = 0
        self._kills = 0
        self._repeated: Counter[str] = Counter()
        self._problems: dict[str, None] = {}

    async def prove(self) -> Proof:
        """Try it at every place.

        Raises:
            NotResumable: it does not come through somewhere.
            AnswerMissing: it waits for something that no answer was given for.
        """
        try:
            with listening(self._hear):
                return await self._prove()
        finally:
            self._fresh()

    async def _prove(self) -> Proof:
        for definition in self._subject.definitions:
            if definition.kind is RunKind.FUNCTION:
                self._problems.update(dict.fromkeys(unsteady_calls(definition.run)))
        await self._start()
        whole, writes = await self._undisturbed()
        if whole.status != self._subject.ends_as:
            self._problems[
                f"left undisturbed it ended as {whole.text()}; expected was {self._subject.ends_as}"
            ] = None
            self._refuse()
        places = [
            Cut(number, when)
            for number in range(1, len(writes) + 1)
            for when in ("before", "after")
        ]
        chosen = _spread(places, self._subject.kills_max)
        failed = 0
        for cut in chosen:
            found = await self._killed(cut, whole)
            for problem in found:
                self._problems[f"killed {_describe(cut, writes)}: {problem}"] = None
            failed += bool(found)
            if failed >= FAILURES_MAX:
                break
        if self._problems:
            self._refuse()
        return Proof(
            status=whole.status,
            output=whole.output,
            kills=self._kills,
            places=len(places),
            steps=[key for (_, key), kind in whole.decided if kind is EntryKind.STEP],
            repeated=self._repeated,
        )

    def _refuse(self) -> None:
        raise NotResumable(self._subject.workflow, list(self._problems), self._kills)

    # --- the tries ----------------------------------------------------------------------------

    async def _start(self) -> None:
        """Have the run accepted, and not yet begun, in a database to be copied."""
        async with self._life(self._folder / "start") as life:
            started = await life.runs.start(
                StartRequest(
                    workflow=self._subject.workflow,
                    input=self._subject.input,
                    available_at=self._began_at + _HEAD_START,
                )
            )
            self._run_id = started.run.id

    async def _undisturbed(self) -> tuple[_End, Sequence[Write]]:
        folder = self._begin()
        async with self._life(folder) as life:
            await self._drive(life)
            end = await self._end(life.store)
            writes = list(life.gate.writes)
        self._problems.update(self._witness.problems)
        return end, writes

    async def _killed(self, cut: Cut, whole: _End) -> list[str]:
        """Try once with a kill, and tell what was wrong."""
        folder = self._begin()
        async with self._life(folder, at=cut) as life:
            try:
                await self._drive(life)
            except ShuttingDown:
                assert life.is_killed
            recorded = await self._recorded(life.store)
            if not life.is_killed:
                # There were fewer transactions than in the undisturbed run; it is judged as that.
                return self._judge(await self._end(life.store), whole)
        self._kills += 1
        if cut.when == "before":
            self._memory.restore(self._noted, with_outside=False)
        try:
            found = await self._second_life(folder, cut, whole)
        except TimeoutError:
            found = [f"it did not come to its end within {self._subject.guard_s:g} s"]
        except _Differs as differs:
            found = [str(differs)]
        found += self._check_repeated(recorded)
        self._repeated.update(dict.fromkeys(self._witness.repeated(), 1))
        return [*found, *self._witness.problems]

    async def _second_life(self, folder: Path, cut: Cut, whole: _End) -> list[str]:
        """Go on after the kill to the end; where steps gave other results, replay over them."""
        self._witness.life += 1
        before: _End | None = None

        async def look(write: Write) -> bool:
            nonlocal before
            if write.what != "runs.finish" or write.positional[0].run_id != self._run_id:
                return False
            now = await self._end(life.store)
            if now.decided == whole.decided:
                return False
            error = write.named["error"]
            before = _End(
                write.named["status"].value,
                write.named["output"],
                error.message if error is not None else "",
                now.decided,
            )
            return True

        with self._looking_at_memory(is_wanted=cut.when == "after"):
            async with self._life(folder, look=look) as life:
                try:
                    await self._drive(life)
                except ShuttingDown:
                    assert before is not None
                if before is None:
                    return self._judge(await self._end(life.store), whole)
        if before.status != whole.status:
            return self._judge(before, whole)
        self._witness.life += 1
        async with self._life(folder) as life:
            await self._drive(life)
            return self._judge(await self._end(life.store), before)

    def _judge(self, end: _End, expected: _End) -> list[str]:
        is_same = end.is_like(expected)
        if end.decided != expected.decided:  # steps gave other results, and it had ended before
            is_same = end.status == expected.status
        if is_same:
            return []
        return [f"it ended as {end.text()}, and without the kill as {expected.text()}"]

    # --- before and after ---------------------------------------------------------------------

    def _begin(self) -> Path:
        """Put everything back to the beginning, and give a copy of the database."""
        self._fresh()
        self._tries += 1
        folder = self._folder / f"try-{self._tries}"
        shutil.rmtree(self._folder / f"try-{self._tries - 1}", ignore_errors=True)
        copy_store(self._folder / "start", folder)
        self._clock.set(self._began_at + _HEAD_START)
        return folder

    def _fresh(self) -> None:
        self._memory.restore(self._noted, with_outside=True)
        self._model.rewind()
        self._witness.begin()
        self._decided_again.clear()
        self._clock.set(self._began_at)
        if self._subject.reset is not None:
            self._subject.reset()

    def _life(
        self, folder: Path, *, at: Cut | None = None, look: Look | None = None
    ) -> AbstractAsyncContextManager[Life]:
        return open_life(
            folder,
            self._watched,
            clock=self._clock,
            model=self._model,
            at=at,
            look=look,
            make_agent=self._make_agent,
        )

    def _hear(self, effect: str) -> None:
        self._witness.report(f"{effect} outside of a step: it happens again with each replay")

    @contextmanager
    def _looking_at_memory(self, *, is_wanted: bool) -> Iterator[None]:
        """See to it that a replay changes nothing in memory before it comes to a step."""
        noted = self._memory.note() if is_wanted else {}

        def compare() -> None:
            self._witness.on_work = _nothing
            for change in self._memory.changes(noted):
                self._witness.report(
                    f"{change}, changed outside of a step while recorded work was replayed"
                )

        if is_wanted:
            self._witness.on_work = compare
        try:
            yield
        finally:
            if self._witness.on_work is compare:
                compare()

    def _check_repeated(self, recorded: frozenset[StepKey]) -> Iterator[str]:
        for key, tries in self._witness.tries.items():
            lives = [one.life for one in tries]
            if key in recorded and any(life > 1 for life in lives):
                yield f"the step {key[1]!r} was done again although its outcome was recorded"
            perhaps_done = {one.life for one in tries if not one.is_known_not_done}
            if key in self._witness.once and len(perhaps_done) > 1 + self._decided_again[key]:
                yield f'the step {key[1]!r} with effect="once" was done again unasked'

    # --- what a run needs to come to its end --------------------------------------------------

    async def _drive(self, life: Life) -> None:
        """Answer what the runs of a life wait for, until the run has ended.

        Raises:
            ShuttingDown: the engine was killed.
            TimeoutError: it does not end.
        """
        async with asyncio.timeout(self._subject.guard_s):
            for _ in range(TURNS_MAX):
                await life.settle()
                if life.is_killed:
                    raise ShuttingDown
                run = (await life.store.runs.get(self._run_id)).run
                if run.status in ENDED:
                    return
                try:
                    await self._help(life)
                except (Conflict, NotFound):
                    continue  # it has gone on by itself
        raise TimeoutError

    async def _help(self, life: Life) -> None:
        which = RunFilter(statuses=frozenset({RunStatus.SUSPENDED}))
        runs = await life.store.runs.list(which, before=None, limit=LIVE_RUNS_MAX)
        suspended = [await life.store.runs.get(run.id) for run in reversed(runs)]
        waits = [(detail, wait) for detail in suspended for wait in detail.waits]
        for detail, wait in waits:
            if await self._answer(life, detail, wait):
                return
        moments = [wait.due_at for _, wait in waits if wait.due_at is not None]
        if moments:
            await life.advance(min(moments))
            return
        asked = ", ".join(
            f"{wait.key!r} ({wait.kind})" for _, wait in waits if wait.kind is not WaitKind.CHILD
        )
        raise AnswerMissing(
            f"The run waits for {asked or 'nothing that is known'}. Say what is answered, by key "
            "or name: answers={…}."
        )

    async def _answer(self, life: Life, detail: RunDetail, wait: Wait) -> bool:
        """Answer a wait, if there is an answer to it."""
        if wait.kind is WaitKind.VERSION:
            raise _Differs(
                f"its code asks for {wait.show['asked']!r} where {wait.show['recorded']!r} is "
                "recorded next: it is not deterministic"
            )
        if wait.kind is WaitKind.DECISION:
            await self._resume(life, detail, wait, await self._decide(detail, wait))
            return True
        given = _find(self._subject.answers, wait)
        if given is _NOTHING:
            return False
        value = given(wait) if callable(given) else given
        if wait.kind is WaitKind.APPROVAL:
            await life.engine.approvals.decide(wait.show["approval_id"], make_decision(value))
        else:
            await self._resume(life, detail, wait, value)
        return True

    async def _decide(self, detail: RunDetail, wait: Wait) -> Any:  # noqa: ANN401  JSON value
        """Say of a once-step what is true: its function had come to its end, or it had not."""
        given = _find(self._subject.answers, wait)
        if given is not _NOTHING:
            answer = given(wait) if callable(given) else given
        else:
            key = (detail.run.id, wait.show["step"])
            if key in self._witness.results:
                return {"decision": "done", "result": self._witness.results[key]}
            answer = {"decision": "again"}
        if answer.get("decision") == "again":
            self._decided_again[detail.run.id, wait.show["step"]] += 1
        return answer

    async def _resume(self, life: Life, detail: RunDetail, wait: Wait, value: Any) -> None:  # noqa: ANN401
        assert detail.snapshot_id is not None
        await life.runs.resume(
            detail.snapshot_id, wait=wait.key, input=to_json(value), has_input=True
        )

    # --- what is recorded ---------------------------------------------------------------------

    async def _end(self, store: SqliteStore) -> _End:
        run = (await store.runs.get(self._run_id)).run
        decided = {
            ((run_id, entry.key), entry.kind): entry.body
            async for run_id, entry in _entries(store)
            if entry.kind in _DECIDED
        }
        error = run.error.message if run.error is not None else ""
        return _End(run.status.value, run.output, error, decided)

    async def _recorded(self, store: SqliteStore) -> frozenset[StepKey]:
        return frozenset(
            [
                (run_id, entry.key)
                async for run_id, entry in _entries(store)
                if entry.kind in _OUTCOMES
            ]
        )


class _Differs(Exception):
    """The code asks for another thing than is recorded."""


_NOTHING = object()


def _nothing() -> None:
    """Nobody looks."""


async def _entries(store: SqliteStore) -> AsyncIterator[tuple[str, Entry]]:
    for run in await store.runs.list(RunFilter(), before=None, limit=LIVE_RUNS_MAX):
        for entry in await store.journal.entries(run.id, after=0, limit=_ENTRIES_MAX):
            yield run.id, entry


def _code_of(definition: Definition) -> list[Callable[..., Any]]:
    """List the functions that a workflow is made of."""
    if isinstance(definition.outline, Interpreter):
        legs = definition.outline.saga.legs
        return [code for leg in legs for code in (leg.do, leg.undo) if callable(code)]
    return [definition.run]


def _find(answers: Answers, wait: Wait) -> Any:  # noqa: ANN401  author's value
    """Find the answer to a wait: by its whole key first, then by its name."""
    for name in (wait.key, wait.key.rpartition("/")[2], wait.name):
        if name in answers:
            return answers[name]
    return _NOTHING


def _spread(places: Sequence[Cut], count: int) -> Sequence[Cut]:
    """Take some of the places, evenly, the last always among them."""
    if len(places) <= count:
        return places
    return [places[(number + 1) * len(places) // count - 1] for number in range(count)]


def _describe(cut: Cut, writes: Sequence[Write]) -> str:
    """Say where a kill was, in the words of the workflow."""
    write = writes[cut.number - 1]
    keys: list[str] = []
    for argument in write.positional:
        if isinstance(argument, Writes):
            keys = [entry.key for entry in argument.entries] or [one.key for one in argument.waits]
    subject = {
        "runs.record": f"{', '.join(map(repr, keys)) or 'something'} was recorded",
        "runs.suspend": "it was suspended" + (f" for {', '.join(map(repr, keys))}" if keys else ""),
        "runs.finish": "its end was recorded",
        "runs.release": "it was put back to be tried again",
        "approvals.decide": "an approval was decided",
        "topics.publish": "an event was published",
        "mail.answer": f"{write.named.get('wait')!r} was answered",
    }.get(write.what, f"{write.what} was carried out")
    return f"just {cut.when} {subject}"
