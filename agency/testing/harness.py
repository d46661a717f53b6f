"""Workflows under test: a real engine on a real store, driven from plain test functions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from agency.core import json
from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import ENDED, RunError, RunStatus
from agency.domain.topic import TopicMode
from agency.domain.wait import Wait, WaitKind
from agency.engine.definition import MARK, Definition, make_definition
from agency.engine.registry import load_registry
from agency.engine.runs import StartRequest
from agency.errors import (
    ConfigurationInvalid,
    Fault,
    InvalidInput,
    RunEnded,
    RunNotSuspended,
    WorkflowNameTaken,
)
from agency.ports.store import RunDetail
from agency.testing.answers import DECIDED_BY, make_decision, to_json
from agency.testing.clock import MovedClock
from agency.testing.life import AgentMaker, Life, open_life
from agency.testing.loop import LoopThread
from agency.testing.model import ScriptedModel
from agency.testing.proof import KILLS_MAX, Proof, Prover, Subject
from agency.workflows.saga.saga import Saga

T = TypeVar("T")

GUARD_S = 30.0
"""Real seconds that anything may take before the test fails: a step that hangs, most often."""
PROOF_GUARD_S = 600.0
STEPS_MAX = 10_000
"""Entries of a journal that a view shows; longer ones are read with the API."""

Workflow = str | Definition | Saga | Callable[..., Any]
"""A workflow: its name, a saga, or the function that `agency.workflow` has marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step of a run has come to.

    Attributes:
        key: Branch, name and occurrence: ``charge#1``, ``gather#1.left/charge#1``.
        value: What it has handed back, as JSON; of a failed one None.
        error: Message of its final failure, or None.
    """

    key: str
    value: Any = None
    error: str | None = None

    @property
    def name(self) -> str:
        """Its name alone: ``charge``."""
        return self.key.rpartition("/")[2].partition("#")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as it was when it was looked at; `Harness.get` looks again.

    Attributes:
        status: ``completed``, ``failed``, ``suspended`` …
        output: What it has handed back, as JSON.
        error: Why it did not succeed, or None.
        steps: Recorded outcomes of steps, in the order in which they were recorded.
        waits: What it waits for, oldest first.
        progress: What it has last said about how far it is.
        attempt: Try of the run as a whole, from 1.
    """

    id: str
    workflow: str
    status: str
    output: Any
    error: RunError | None
    steps: Sequence[Step]
    waits: Sequence[Wait]
    progress: Any
    attempt: int

    def step(self, name: str) -> Step:
        """Find a step by its key, or the first of that name.

        Raises:
            LookupError: there is none; the message names those that there are.
        """
        for step in self.steps:
            if name in (step.key, step.name):
                return step
        known = ", ".join(step.key for step in self.steps) or "none"
        raise LookupError(f"The run has no step {name!r}. Recorded are: {known}.")

    def wait(self, name: str) -> Wait:
        """Find an open wait by its key or name.

        Raises:
            LookupError: there is none; the message names those that there are.
        """
        for wait in self.waits:
            if name in (wait.key, wait.name):
                return wait
        known = ", ".join(f"{wait.key} ({wait.kind})" for wait in self.waits) or "nothing"
        raise LookupError(f"The run does not wait for {name!r}, but for {known}.")


Run = RunView | str
"""A run: a view of it, or its id."""


class Harness:
    """Runs workflows in a test, over as many lives of the engine as it wants.

    The engine works in a thread of its own, so that tests are plain functions: each method returns
    when everything has settled, that is, when all runs have ended or wait for somebody or for a
    later moment. Time stands still until it is moved. The fixture ``workflows`` is one of these.

    Attributes:
        clock: The time of the workflows; `advance` moves it.
        model: What answers when the agent or a workflow asks a model.
    """

    def __init__(self, folder: Path | None = None, *, make_agent: AgentMaker | None = None) -> None:
        """Take the folder of the database; by default a temporary one.

        Args:
            folder: The folder.
            make_agent: Makes the agent of each life, with tools and settings of the test's choice;
                by default one without tools.
        """
        self._make_agent = make_agent
        self.clock = MovedClock()
        self.model = ScriptedModel()
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="agency-test-")
        self._folder = folder or Path(self._temporary.name if self._temporary else "")
        self._definitions: dict[str, Definition] = {}
        self._workflows: dict[str, Workflow] = {}
        self._loop = LoopThread("workflows-under-test")
        self._stack = AsyncExitStack()
        self._life: Life | None = None
        self._proofs = 0
        self._end_watch = self.clock.watch(self._moved)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine, and remove the temporary folder."""
        self._end_watch()
        try:
            if not self._loop.is_stuck:
                self._run(self._stack.aclose())
        finally:
            self._loop.close(timeout_s=GUARD_S)
            if self._temporary is not None:
                self._temporary.cleanup()

    # --- workflows ----------------------------------------------------------------------------

    def add(self, *workflows: Workflow) -> None:
        """Make workflows known, for calls by name; those that are run are added by themselves.

        Raises:
            InvalidInput: it is no workflow, or its parameters cannot be used.
            WorkflowNameTaken: another has its name.
        """
        for workflow in workflows:
            definition = _definition(workflow)
            known = self._definitions.get(definition.name)
            if known is not None:
                if workflow is not self._workflows.get(definition.name):
                    raise WorkflowNameTaken(definition.name, definition.source, known.source)
                continue
            self._definitions[definition.name] = definition
            self._workflows[definition.name] = workflow
            if self._life is not None:
                self._life.registry.add(definition)

    def load(self, *paths: str | Path) -> None:
        """Load files, or folders of them, as ``[workflows] paths`` does.

        Raises:
            ConfigurationInvalid: one of them cannot be loaded.
        """
        registry = load_registry(paths)
        if registry.failures:
            raise ConfigurationInvalid(
                f"{registry.failures[0].path!r} cannot be loaded: {registry.failures[0].reason}",
                faults=[Fault(where=one.path, what=one.reason) for one in registry.failures],
            )
        self.add(*registry)

    # --- runs ---------------------------------------------------------------------------------

    def run(self, workflow: Workflow, input: Any = None, **options: Any) -> RunView:  # noqa: ANN401  the word of the API
        """Start a run, and look at it when it has ended or waits.

        Args:
            workflow: The function, or its name.
            input: Its input: JSON, or a value of the type that it takes.
            options: As of `start`.

        Raises:
            InvalidInput: the input does not fit.
            TimeoutError: it does not settle: a step hangs.
        """
        run_id = self.start(workflow, input, **options).id
        return self.settle(run_id)

    def start(
        self,
        workflow: Workflow,
        input: Any = None,  # noqa: ANN401  the word of the API
        *,
        name: str | None = None,
        session_id: str | None = None,
        timeout_s: float | None = None,
        delay: timedelta | None = None,
    ) -> RunView:
        """Start a run, and look at it at once.

        Args:
            workflow: The function, or its name.
            input: Its input.
            name: The caller's own name for it.
            session_id: Conversation that it belongs to.
            timeout_s: It is timed out this long after its start.
            delay: It is not begun before.
        """
        if not isinstance(workflow, str):
            self.add(workflow)
        request = StartRequest(
            workflow=workflow if isinstance(workflow, str) else _definition(workflow).name,
            input=to_json(input),
            name=name,
            session_id=session_id,
            timeout_s=timeout_s,
            available_at=self.clock.now() + delay if delay is not None else None,
        )

        async def start() -> RunView:
            life = await self._alive()
            started = await life.runs.start(request)
            return await _view(life, started.run.id)

        return self._run(start())

    def get(self, run: Run) -> RunView:
        """Look at a run again, without waiting for anything. Raises: RunNotFound."""

        async def get() -> RunView:
            return await _view(await self._alive(), _id(run))

        return self._run(get())

    def settle(self, run: Run) -> RunView:
        """Wait until nothing goes on by itself, and look at a run.

        Raises:
            TimeoutError: something goes on and on.
        """

        async def settle() -> RunView:
            life = await self._alive()
            await life.settle()
            return await _view(life, _id(run))

        return self._run(settle())

    # --- time, events, answers ----------------------------------------------------------------

    def advance(self, span: timedelta | None = None, **units: float) -> None:
        """Let time pass: what comes due on the way is woken at its moment, in order.

        Args:
            span: How long; or as units: ``advance(days=2, hours=1)``.
            units: As of `datetime.timedelta`.
        """
        until = self.clock.now() + (span or timedelta(**units))

        async def advance() -> None:
            await (await self._alive()).advance(until)

        self._run(advance())

    def send_event(self, run: Run, name: str, payload: Any = None) -> RunView:  # noqa: ANN401
        """Send an event to a run, and look at it when it has settled.

        Raises:
            RunNotFound, RunEnded.
        """

        async def send() -> None:
            life = await self._alive()
            await life.runs.send(_id(run), name=name, payload=to_json(payload))

        self._run(send())
        return self.settle(run)

    def answer(self, run: Run, value: Any = None, *, wait: str | None = None) -> RunView:  # noqa: ANN401
        """Answer what a suspended run waits for, and look at it when it has settled.

        Args:
            run: The run.
            value: The input; of a decision ``{"decision": "done", "result": …}``; of a timer
                nothing: it ends now.
            wait: Key or name of the wait, where there are several.

        Raises:
            InvalidInput: the value does not fit.
            RunEnded, RunNotSuspended: it does not wait.
            Conflict: it is to be answered in another way.
        """

        async def answer() -> None:
            life = await self._alive()
            await life.settle()
            detail = await life.runs.get(_id(run))
            if detail.snapshot_id is None:
                is_ended = detail.run.status in ENDED
                raise (RunEnded if is_ended else RunNotSuspended)(_id(run), detail.run.status)
            await life.runs.resume(
                detail.snapshot_id, wait=wait, input=to_json(value), has_input=value is not None
            )

        self._run(answer())
        return self.settle(run)

    def approve(
        self,
        run: Run,
        *,
        wait: str | None = None,
        comment: str = "",
        by: str = DECIDED_BY,
        **edited: Any,  # noqa: ANN401  JSON value
    ) -> RunView:
        """Approve what a run asks with ``ctx.approve``, and look at it when it has settled.

        Args:
            run: The run.
            wait: Key or name of the approval, where there are several.
            comment: For the record.
            by: Who has decided.
            edited: ``value=…`` hands over an edited value.

        Raises:
            LookupError: it asks for no such approval.
            InvalidInput: the value does not fit.
        """
        given = {"decision": "approve", "comment": comment, "by": by, **edited}
        return self._decide(run, wait, given)

    def deny(
        self, run: Run, *, wait: str | None = None, comment: str = "", by: str = DECIDED_BY
    ) -> RunView:
        """Deny what a run asks with ``ctx.approve``; as `approve`."""
        return self._decide(run, wait, {"decision": "deny", "comment": comment, "by": by})

    def _decide(self, run: Run, name: str | None, given: Mapping[str, Any]) -> RunView:
        view = self.settle(run)
        asked = [wait for wait in view.waits if wait.kind is WaitKind.APPROVAL]
        chosen = [wait for wait in asked if name in {None, wait.key, wait.name}]
        if len(chosen) != 1:
            keys = ", ".join(wait.key for wait in asked) or "none"
            raise LookupError(f"Name one approval with wait=…. The run asks for: {keys}.")
        request = make_decision(given)

        async def decide() -> None:
            life = await self._alive()
            await life.engine.approvals.decide(chosen[0].show["approval_id"], request)

        self._run(decide())
        return self.settle(run)

    def publish(
        self,
        topic: str,
        payload: Any = None,  # noqa: ANN401  author's value
        *,
        name: str | None = None,
        is_broadcast: bool = False,
    ) -> None:
        """Publish an event in a topic, and wait until all has settled.

        Args:
            topic: The topic.
            payload: JSON, or a value of an author's type.
            name: What waits ask for; by default the topic's own name.
            is_broadcast: All waits take it that it fits, and not the oldest alone.
        """

        async def publish() -> None:
            life = await self._alive()
            mode = TopicMode.BROADCAST if is_broadcast else TopicMode.QUEUE
            await life.engine.topics.publish(topic, to_json(payload), name=name, mode=mode)
            await life.settle()

        self._run(publish())

    def cancel(self, run: Run, reason: str = "") -> RunView:
        """Cancel a run, and look at it when it has settled. Raises: RunNotFound, RunEnded."""

        async def cancel() -> None:
            await (await self._alive()).runs.cancel(_id(run), reason=reason)

        self._run(cancel())
        return self.settle(run)

    # --- crashes ------------------------------------------------------------------------------

    def restart(self) -> None:
        """Kill the engine in the middle of what it does, and open another on the same database.

        What was not committed is gone, as after ``kill -9``.
        """

        async def restart() -> None:
            life = await self._alive()
            life.gate.close()
            await self._close_life()
            await self._alive()

        self._run(restart())

    def prove_resumable(
        self,
        workflow: Workflow,
        input: Any = None,  # noqa: ANN401  the word of the API
        *,
        answers: Mapping[str, Any] | None = None,
        ends_as: RunStatus | str = RunStatus.COMPLETED,
        outside: Sequence[object] = (),
        reset: Callable[[], None] | None = None,
        kills_max: int = KILLS_MAX,
    ) -> Proof:
        """Kill a run of a workflow at every place, and see that each time it ends the same.

        It is killed before and after each of its commits, and goes on over what was committed.
        Then it has to end with the same status, output and error; its code has to ask for the same
        things in the same order, and steps for the same arguments; no step whose outcome was
        recorded, and none with ``effect="once"``, may be done again; and nothing may happen outside
        of its steps.

        Args:
            workflow: The function, or the name of one that was added.
            input: Its input.
            answers: What is answered to the run, by key or name of the wait: payloads of events,
                inputs, decisions. A function is called with the wait. Events and inputs that are
                not named are left to time out.
            ends_as: Status that it ends with.
            outside: Objects in memory that stand for what is outside of the process, as a fake
                shop or a list of what was sent: a kill does not forget them. Everything else that
                the workflows' modules keep in plain values is forgotten.
            reset: Called before each try, to clean up what is really outside: files, a server.
            kills_max: Tries at most; of more places, so many are taken, evenly spread.

        Returns:
            How often it was killed, and which steps were repeated.

        Raises:
            NotResumable: it does not come through; the message says where, and what differs.
            AnswerMissing: it waits for something that is not answered.
        """
        self.add(*([] if isinstance(workflow, str) else [workflow]))
        name = workflow if isinstance(workflow, str) else _definition(workflow).name
        self._proofs += 1
        subject = Subject(
            workflow=name,
            input=to_json(input),
            definitions=list(self._definitions.values()),
            answers=answers or {},
            outside=outside,
            reset=reset,
            ends_as=str(ends_as),
            kills_max=kills_max,
        )
        prover = Prover(
            self._folder / f"proof-{self._proofs}",
            subject,
            clock=MovedClock(self.clock.now()),
            model=self.model,
            make_agent=self._make_agent,
        )
        return self._run(prover.prove(), timeout_s=PROOF_GUARD_S)

    # --- inside -------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        return self._loop.run(work, timeout_s=GUARD_S if timeout_s is None else timeout_s)

    async def _alive(self) -> Life:
        """Give the present life; the first begins when it is needed."""
        if self._life is None:
            self._life = await self._stack.enter_async_context(
                open_life(
                    self._folder / "data",
                    self._definitions.values(),
                    clock=self.clock,
                    model=self.model,
                    make_agent=self._make_agent,
                )
            )
        return self._life

    async def _close_life(self) -> None:
        self._life = None
        await self._stack.aclose()

    def _moved(self) -> None:
        """Somebody has moved the clock by himself: wake what is due."""
        if not self._loop.is_current():
            self._run(self._catch_up())

    async def _catch_up(self) -> None:
        if self._life is not None:
            await self._life.catch_up()
            await self._life.settle()


def _definition(workflow: Workflow) -> Definition:
    if isinstance(workflow, Definition):
        return workflow
    if isinstance(workflow, Saga):
        return workflow.definition()
    if isinstance(workflow, str) or not hasattr(workflow, MARK):
        raise InvalidInput(
            f"{workflow!r} is no workflow.", hint='Mark the function with @workflow("name").'
        )
    return make_definition(workflow)


def _id(run: Run) -> str:
    return run if isinstance(run, str) else run.id


async def _view(life: Life, run_id: str) -> RunView:
    detail: RunDetail = await life.store.runs.get(run_id)
    entries = await life.store.journal.entries(run_id, after=0, limit=STEPS_MAX)
    run = detail.run
    return RunView(
        id=run.id,
        workflow=run.workflow,
        status=run.status.value,
        output=run.output,
        error=run.error,
        steps=[_step(entry) for entry in entries if entry.kind in _OUTCOMES],
        waits=detail.waits,
        progress=run.progress,
        attempt=run.attempt,
    )


_OUTCOMES = (EntryKind.STEP, EntryKind.FAILURE)


def _step(entry: Entry) -> Step:
    body = json.decode(entry.body)
    if entry.kind is EntryKind.FAILURE:
        return Step(key=entry.key, error=body["message"])
    return Step(key=entry.key, value=body)
