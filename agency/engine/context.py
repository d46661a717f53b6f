"""What an author's workflow works through.

Everything that a run must not do twice, or must find again after a restart, is asked of the
context. The rest of the function runs again on each replay: keep effects inside steps, and take
time, random numbers and ids from here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, Never, TypeVar, overload

from agency.core import ids, json
from agency.core.clock import from_micros, to_micros
from agency.core.names import DEFAULT_QUEUE
from agency.domain.approval import ApprovalDecision
from agency.domain.content import Content
from agency.domain.entry import Entry, EntryKind
from agency.domain.filter import check_where
from agency.domain.remote import CALL_WORKFLOW, RemoteAnswer, inherited_tags
from agency.domain.run import NewRun, RunStatus
from agency.domain.topic import TopicMode
from agency.domain.wait import NewWait, Wait, WaitKind
from agency.engine.branch import CURRENT_BRANCH, Branch
from agency.engine.codec import Codec, codec_for
from agency.engine.contents import content_for, label_of
from agency.engine.execution import Execution
from agency.engine.failure import describe, step_failed
from agency.engine.joins import Winner, as_work, close_branches, run_all, run_first
from agency.engine.journal import MARKS
from agency.engine.parts import CURRENT_STEP, current_step
from agency.engine.questions import (
    ApprovalCall,
    approval_wait,
    authorization_wait,
    decision_of,
    input_wait,
    payload_of,
)
from agency.engine.retry import NO_RETRY, Retry
from agency.engine.steps import Effect, Isolation, StepCall, perform, perform_as
from agency.engine.suspension import ContinuedAs, Control
from agency.engine.topics import check_topic
from agency.errors import (
    ForeignTask,
    InvalidInput,
    StepNameTaken,
    TopicFull,
    ValueTooLarge,
    WaitInsideTimeout,
    WorkflowDisabled,
    WorkflowNotFound,
)

T = TypeVar("T")
Delay = timedelta | float | int
_REFUSED_CHILDREN = (
    WorkflowNotFound,
    WorkflowDisabled,
    InvalidInput,
    json.NotJson,
    ValueTooLarge,
)
"""Why a child cannot be started: the call has failed then, and can be retried."""


class Operation(Generic[T]):
    """Something that the context was asked for; it begins when it is awaited.

    Handed to `Context.gather` or `Context.first` instead, it becomes a branch. One that is never
    awaited does nothing, and fails the run at its end: it was surely meant, unless its branch has
    lost to another.
    """

    __slots__ = ("_begin", "_begun", "_branch", "_branches", "_forgotten", "_name", "_what")

    def __init__(
        self,
        what: str,
        name: str,
        begin: Callable[[], Awaitable[T]],
        forgotten: Callable[[str], None],
        branches: Sequence[Awaitable[Any]] = (),
    ) -> None:
        self._what = what
        self._name = name
        self._begin = begin
        self._begun = False
        self._branch = CURRENT_BRANCH.get()
        self._branches = branches
        self._forgotten = forgotten

    def __await__(self) -> Generator[Any, Any, T]:
        if self._begun:
            raise RuntimeError("An operation of the context can be awaited only once.")
        self._begun = True
        return self._begin().__await__()

    def close(self) -> None:
        """Take back what is not to be awaited, as for coroutines, with the branches of it."""
        if not self._begun:
            self._begun = True
            close_branches(self._branches)

    def __del__(self) -> None:
        if not self._begun and not (self._branch is not None and self._branch.is_lost):
            self._forgotten(f"{self._what}({self._name!r})" if self._name else self._what)


class Context:
    """A run, as its author's code sees it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._forgotten = execution.forgotten.append

    @property
    def execution(self) -> Execution:
        """What stands behind it, for the interpreters; authors have no use for it."""
        return self._execution

    # --- what the run is --------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        return self._execution.run.id

    @property
    def name(self) -> str | None:
        """The caller's own name for the run."""
        return self._execution.run.name

    @property
    def attempt(self) -> int:
        """Try of the run as a whole, from 1."""
        return self._execution.run.attempt

    @property
    def provider(self) -> str | None:
        """Name of the provider that the run is pinned to."""
        return self._execution.run.provider

    @property
    def session_id(self) -> str | None:
        return self._execution.run.session_id

    # --- steps ------------------------------------------------------------------------------

    @overload
    def step(
        self,
        name: str,
        function: Callable[..., Awaitable[T]],
        *args: Any,  # noqa: ANN401  author's values
        retry: Retry = ...,
        timeout_s: float | None = ...,
        effect: Effect = ...,
        not_done_on: Sequence[type[BaseException]] = ...,
        isolation: Isolation = ...,
    ) -> Operation[T]: ...
    @overload
    def step(
        self,
        name: str,
        function: Callable[..., T],
        *args: Any,  # noqa: ANN401  author's values
        retry: Retry = ...,
        timeout_s: float | None = ...,
        effect: Effect = ...,
        not_done_on: Sequence[type[BaseException]] = ...,
        isolation: Isolation = ...,
    ) -> Operation[T]: ...
    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        retry: Retry = NO_RETRY,
        timeout_s: float | None = None,
        effect: Effect = "repeatable",
        not_done_on: Sequence[type[BaseException]] = (),
        isolation: Isolation = "none",
    ) -> Operation[Any]:
        """Do a piece of work whose outcome is recorded, and hand back its result.

        A step that is recorded never runs again. One that was interrupted may, unless
        ``effect="once"``: then the run is suspended and asks. What comes back is what the recorded
        JSON decodes to, typed by the function's return annotation, also the first time.

        Args:
            name: Of the step in this branch; used again it counts up.
            function: Async, or plain: then it runs in a thread.
            args: Handed to the function; recorded up to a bound, for the timeline.
            retry: When and how often a failed try is repeated; by default never.
            timeout_s: Seconds that one try may take. Async functions are cancelled; plain ones
                cannot be, and the next try begins only after they have returned.
            effect: ``"repeatable"``, or ``"once"`` for what must not happen twice.
            not_done_on: Exceptions after which a once-step is known to have done nothing.
            isolation: ``"process"`` runs a plain function in a process that can be killed.

        Raises:
            StepFailed: it failed for good; the same live and on replay.
        """
        return self._perform(
            StepCall(
                name=name,
                function=function,
                args=args,
                retry=retry,
                timeout_s=timeout_s,
                effect=effect,
                not_done_on=tuple(not_done_on),
                isolation=isolation,
            )
        )

    def _perform(self, call: StepCall) -> Operation[Any]:
        return Operation("ctx.step", call.name, lambda: self.perform(call), self._forgotten)

    def _operation(
        self,
        what: str,
        begin: Callable[[], Awaitable[T]],
        branches: Sequence[Awaitable[Any]] = (),
    ) -> Operation[T]:
        return Operation(what, "", begin, self._forgotten, branches)

    def _enter(self, operation: str, name: str, branches: Iterable[Awaitable[Any]]) -> Branch:
        """Find the branch of the caller; when it is refused, nobody will await ``branches``."""
        try:
            return self._execution.enter(operation, name)
        except (Control, ForeignTask, StepNameTaken):
            close_branches(branches)
            raise

    async def perform(self, call: StepCall) -> Any:  # noqa: ANN401  author's value
        """Do a step that was described before; what `step` and the interpreters share."""
        branch = self._execution.enter("ctx.step", call.name)
        return await perform(self._execution, branch, call)

    async def perform_as(self, branch: Branch, key: str, call: StepCall) -> Any:  # noqa: ANN401
        """Do a step under a key of the interpreter's choice; for what is taken back."""
        return await perform_as(self._execution, branch, key, call)

    # --- what is handed out before the end ----------------------------------------------------

    def deliver(
        self,
        name: str,
        *parts: Any,  # noqa: ANN401  parts and author's values
        append: bool = False,
        is_last: bool = True,
    ) -> Operation[None]:
        """Hand out content before the run's end, once: over A2A it is an artifact.

        Callers see it as soon as it is recorded, and find it with the run later.

        Args:
            name: Of the content; pieces with the same name belong together.
            parts: What it consists of: `agency.Part`; text and other values are made parts.
            append: It goes on with what was handed out under its name; else it replaces that.
            is_last: No more of it will come.

        Raises:
            InvalidInput, ValueTooLarge: it has too many parts, or is too large.
        """
        content = content_for(name, parts, append=append, is_last=is_last)
        return Operation("ctx.deliver", name, lambda: self._deliver(content), self._forgotten)

    async def _deliver(self, content: Content) -> None:
        execution = self._execution
        branch = execution.enter("ctx.deliver", content.name)
        key = branch.content_key(label_of(content.name))
        if execution.journal.find(key) is not None:
            return
        await execution.safe_point(branch)
        body = codec_for(Content).encode(content)
        branch.in_flight = content.name
        try:
            await execution.recorder.commit(Entry(key, EntryKind.STEP, body, execution.now()))
        finally:
            branch.in_flight = None

    # --- waiting ----------------------------------------------------------------------------

    def sleep(self, delay: Delay) -> Operation[None]:
        """Sleep for a time, in seconds or as a timedelta; also over restarts."""
        return self._operation("ctx.sleep", lambda: self._sleep(delay, None))

    def sleep_until(self, moment: datetime) -> Operation[None]:
        """Sleep until an aware moment; also over restarts."""
        return self._operation("ctx.sleep_until", lambda: self._sleep(None, moment))

    async def _sleep(self, delay: Delay | None, moment: datetime | None) -> None:
        due = moment if moment is not None else None
        if due is not None and due.tzinfo is None:
            raise InvalidInput("ctx.sleep_until needs a moment with a time zone.")
        await self._wait(
            "ctx.sleep",
            "sleep",
            lambda key: NewWait(
                key=key,
                kind=WaitKind.TIMER,
                name="sleep",
                due_at=due.astimezone(UTC) if due is not None else self._later(delay),
            ),
        )

    def wait_event(
        self,
        name: str,
        *,
        topic: str | None = None,
        where: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        schema: Any = None,  # noqa: ANN401  a type
    ) -> Operation[Any]:
        """Wait for an event of that name, and hand back its payload.

        One that came before is taken at once: from the run's own mailbox, or with ``topic`` from
        what that topic keeps.

        Args:
            name: Of the event.
            topic: Where it is published; by default events to this very run are waited for.
            where: Filter on the payload: ``{"order.id": 17, "total": {"gt": 100}}``. What it does
                not fit is left for others. See `agency.domain.filter`.
            timeout_s: Seconds to wait at most.
            schema: A type that the payload is converted to.

        Raises:
            WaitTimedOut: none came within ``timeout_s`` seconds.
            StepFailed: the payload does not fit ``schema``.
            InvalidInput: the filter or the topic cannot be used.
        """
        return self._operation(
            "ctx.wait_event", lambda: self._wait_event(name, topic, where, timeout_s, schema)
        )

    async def _wait_event(
        self,
        name: str,
        topic: str | None,
        where: Mapping[str, Any] | None,
        timeout_s: float | None,
        schema: Any,  # noqa: ANN401  a type
    ) -> Any:  # noqa: ANN401  author's value
        if topic is not None:
            check_topic(topic)
        checked = check_where(where)
        wait = await self._wait(
            "ctx.wait_event",
            f"event-{name}",
            lambda key: NewWait(
                key=key,
                kind=WaitKind.EVENT,
                name=name,
                due_at=self._later(timeout_s),
                show=None if checked is None else {"where": checked},
                target=topic or "",
            ),
        )
        return payload_of(wait, codec_for(schema) if schema is not None else None)

    def publish(
        self,
        topic: str,
        payload: Any = None,  # noqa: ANN401  author's value
        *,
        name: str | None = None,
        mode: Literal["queue", "broadcast"] = "queue",
        keep_s: float | None = None,
        retry: Retry = NO_RETRY,
    ) -> Operation[None]:
        """Publish an event in a topic, once, as a step.

        Its id derives from the run and the step, so that a try that is repeated after a crash
        counts once.

        Args:
            topic: Any name; it needs no making.
            payload: What those who wait are told.
            name: What they wait for; by default the topic's own name.
            mode: ``"queue"``: one wait takes it; ``"broadcast"``: all do.
            keep_s: Seconds that it is kept for waits to come; by default ``[engine] topic_keep_s``.
            retry: When and how often it is tried again when the topic is full.

        Raises:
            StepFailed: the topic is full (``topic_full``), or the event cannot be used.
        """
        body = codec_for(type(payload)).encode(payload)
        publish = self._execution.parts.publish

        async def deliver() -> None:
            await publish(
                topic,
                json.decode(body),
                name=name,
                event_id=current_step().idempotency_key,
                mode=TopicMode(mode),
                keep_s=keep_s,
            )

        # Names of topics may have characters that keys are made with.
        label = "".join("-" if one in MARKS else one for one in f"publish-{topic}"[:128])
        # A topic that is full has room again when somebody takes an event.
        patient = replace(retry, retry_on=(*retry.retry_on, TopicFull))
        return self._perform(StepCall(name=label, function=deliver, retry=patient))

    def approve(
        self,
        question: str,
        *,
        show: Any = None,  # noqa: ANN401  author's value
        risk: Literal["low", "medium", "high"] = "medium",
        expires_s: float | None = None,
        on_expiry: Literal["deny", "approve", "fail"] = "deny",
        schema: Any = None,  # noqa: ANN401  a type
        name: str = "approve",
    ) -> Operation[ApprovalDecision]:
        """Ask somebody whether something may be done; what comes back is true if it may.

        The question is a record, with who has asked, what was shown, and who has decided. A rule
        that somebody has made may decide it at once; that is recorded as well.

        Args:
            question: One sentence.
            show: What it is about; people see it, and rules look at it.
            risk: How bad a wrong answer would be; rules have a bound.
            expires_s: Seconds until it counts as decided in the way of ``on_expiry``.
            on_expiry: ``"deny"``, ``"approve"``, or ``"fail"`` to raise.
            schema: A type; whoever approves may then hand over an edited value that fits it.
            name: Of the approval, for rules and lists.

        Raises:
            WaitTimedOut: it has expired, with ``on_expiry="fail"``.
            InvalidInput, ValueTooLarge: it cannot be asked like that.
        """
        call = ApprovalCall(
            question=question,
            subject=show,
            risk=risk,
            on_expiry=on_expiry,
            schema=schema,
            name=name,
        )
        return self._operation("ctx.approve", lambda: self._approve(call, expires_s))

    async def _approve(self, call: ApprovalCall, expires_s: float | None) -> ApprovalDecision:
        wait = await self._wait(
            "ctx.approve",
            call.name,
            lambda key: approval_wait(self._execution.run, key, call, self._later(expires_s)),
        )
        return decision_of(wait, codec_for(call.schema) if call.schema is not None else None)

    def input(
        self,
        prompt: str,
        *,
        schema: Any = None,  # noqa: ANN401  a type
        timeout_s: float | None = None,
        name: str = "input",
    ) -> Operation[Any]:
        """Ask somebody for a value, and hand it back. It is checked when it is given.

        Args:
            prompt: What is shown to whoever answers.
            schema: A type that the answer must fit; any JSON without it.
            timeout_s: Seconds to wait at most.
            name: Of the wait, where a run asks several things at once.

        Raises:
            WaitTimedOut: nobody answered in time.
        """
        return self._operation("ctx.input", lambda: self._input(prompt, schema, timeout_s, name))

    async def _input(
        self,
        prompt: str,
        schema: Any,  # noqa: ANN401  a type
        timeout_s: float | None,
        name: str,
    ) -> Any:  # noqa: ANN401  author's value
        wait = await self._wait(
            "ctx.input",
            name,
            lambda key: input_wait(
                self._execution.run, key, name, prompt, schema, self._later(timeout_s)
            ),
        )
        return payload_of(wait, codec_for(schema) if schema is not None else None)

    def authorize(
        self, prompt: str, *, url: str = "", timeout_s: float | None = None, name: str = "authorize"
    ) -> Operation[None]:
        """Wait until somebody has authorized something elsewhere: signed in, given consent.

        Over A2A the task is AUTH_REQUIRED meanwhile. It goes on with the caller's next message,
        or when the wait is answered over REST; whatever is said then is not handed back, because
        secrets do not belong into messages. Whether it has worked is for the next step to find out.

        Args:
            prompt: What is to be authorized.
            url: Where.
            timeout_s: Seconds to wait at most.
            name: Of the wait, where a run asks several things at once.

        Raises:
            WaitTimedOut: nobody has answered in time.
        """
        return self._operation(
            "ctx.authorize", lambda: self._authorize(prompt, url, timeout_s, name)
        )

    async def _authorize(self, prompt: str, url: str, timeout_s: float | None, name: str) -> None:
        wait = await self._wait(
            "ctx.authorize",
            name,
            lambda key: authorization_wait(
                self._execution.run, key, name, prompt, url, self._later(timeout_s)
            ),
        )
        payload_of(wait, None)

    async def wait(self, operation: str, label: str, make: Callable[[str], NewWait]) -> Wait:
        """Open a wait and block on it; what the waits above and the interpreters share."""
        return await self._wait(operation, label, make)

    async def _wait(self, operation: str, label: str, make: Callable[[str], NewWait]) -> Wait:
        execution = self._execution
        branch = execution.enter(operation, label)
        _refuse_timeout(operation, branch)
        key = branch.key(label)
        if execution.meet(branch, key) is None:
            await execution.safe_point(branch)
            wait = make(key)
            body = json.encode({"kind": wait.kind, "name": wait.name})
            execution.recorder.keep(entry=Entry(key, EntryKind.WAIT, body, execution.now()))
            execution.recorder.keep(wait=wait)
        branch.in_flight = label
        try:
            return await execution.block(branch, key)
        finally:
            branch.in_flight = None

    def _later(self, delay: Delay | None) -> datetime | None:
        if delay is None:
            return None
        span = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        return self._execution.now() + span

    # --- other runs -------------------------------------------------------------------------

    def call(
        self,
        workflow: str,
        input: Any = None,  # noqa: ANN401  the word of the API; author's value
        *,
        name: str | None = None,
        concurrency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Operation[Any]:
        """Run another workflow as a child, wait for it, and hand back its output.

        The child survives on its own; cancelling this run cancels it.

        Args:
            workflow: Name of the workflow.
            input: Its input.
            name: Of the call in this branch; by default the workflow's name.
            concurrency_key: Of the live runs with the same key one at a time is worked on. A key
                that this run has, or one that it was called by, is not waited for.
            timeout_s: Seconds after which the child is timed out; by default its workflow's own.

        Raises:
            StepFailed: the child did not complete, or could not be started: there is no such
                workflow, or the input does not fit it. ``error_code`` and ``details`` say why.
        """
        return self._operation(
            "ctx.call",
            lambda: self._call(workflow, input, name or workflow, concurrency_key, timeout_s),
        )

    async def _call(
        self,
        workflow: str,
        value: Any,  # noqa: ANN401
        name: str,
        concurrency_key: str | None,
        timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        execution = self._execution
        branch = execution.enter("ctx.call", name)
        _refuse_timeout("ctx.call", branch)
        key = branch.key(name)
        entry = execution.meet(branch, key)
        if entry is None:
            await execution.safe_point(branch)
            await self._start_child(key, workflow, value, concurrency_key, timeout_s)
        elif entry.kind is EntryKind.FAILURE:
            raise step_failed(json.decode(entry.body), key)
        branch.in_flight = name
        try:
            wait = await execution.block(branch, key)
        finally:
            branch.in_flight = None
        definition = execution.parts.registry.find(workflow)
        return _child_output(wait, key, workflow, definition.output_codec if definition else None)

    def call_agent(
        self,
        agent: str,
        message: str | Content = "",
        *,
        data: Any = None,  # noqa: ANN401  author's value
        files: Mapping[str, str | bytes] | None = None,
        context_id: str | None = None,
        name: str | None = None,
        timeout_s: float | None = None,
    ) -> Operation[RemoteAnswer]:
        """Call an agent of another system over A2A, and wait for its answer.

        The call is a child run of the workflow ``call_agent``: after a crash it goes on watching
        the task that it has begun there. What the agent asks, that run asks; cancelling this run
        cancels the task.

        Args:
            agent: Name in ``[a2a.agents]``, or an address that ``[a2a] allowed_agents`` allows.
            message: What to say; `agency.Content` for several parts.
            data: JSON value that is sent beside it.
            files: Files that are sent beside it, by name.
            context_id: Of an earlier answer, to go on with its conversation.
            name: Of the call in this branch; by default ``call_agent``.
            timeout_s: Seconds after which the call is given up, and the task cancelled; by default
                never.

        Raises:
            StepFailed: the call has failed; ``error_code`` says how: ``remote_task_failed``,
                ``remote_task_rejected``, ``remote_agent_refused`` …
        """
        is_text = isinstance(message, str)
        wanted: dict[str, Any] = {
            "agent": agent,
            "message": message if is_text else "",
            "data": data if data is None else json.decode(codec_for(type(data)).encode(data)),
            "content": None if is_text else json.decode(codec_for(Content).encode(message)),
            "context_id": context_id or "",
        }
        if files:
            wanted["files"] = {name: _file_of(content) for name, content in files.items()}
        return self.call(CALL_WORKFLOW, wanted, name=name, timeout_s=timeout_s)

    async def _start_child(
        self,
        key: str,
        workflow: str,
        value: Any,  # noqa: ANN401
        concurrency_key: str | None,
        timeout_s: float | None,
    ) -> None:
        """Keep a child for the next commit; a call that cannot be made is recorded as a failure.

        Raises:
            StepFailed: there is no such workflow, or the input does not fit it.
        """
        execution = self._execution
        try:
            child = replace(
                self._child(key, workflow, value, timeout_s), concurrency_key=concurrency_key
            )
        except _REFUSED_CHILDREN as error:
            description = describe(error)
            await execution.recorder.commit(
                Entry(key, EntryKind.FAILURE, json.encode(description), execution.now())
            )
            raise step_failed(description, key) from None
        body = json.encode({"run_id": child.id})
        execution.recorder.keep(
            entry=Entry(key, EntryKind.CHILD, body, execution.now()),
            child=child,
            wait=NewWait(key=key, kind=WaitKind.CHILD, name=workflow, target=child.id),
        )

    def _child(self, key: str, workflow: str, value: Any, timeout_s: float | None) -> NewRun:  # noqa: ANN401
        execution = self._execution
        run = execution.run
        definition = execution.parts.registry.get_enabled(workflow)
        body = codec_for(type(value)).encode(value)
        definition.input_codec.decode(body)
        now = execution.now()
        limit_s = definition.timeout_s if timeout_s is None else timeout_s
        child_id = ids.derive_id(run.id, str(run.generation), key)
        return NewRun(
            id=child_id,
            workflow=workflow,
            version=definition.version,
            kind=definition.kind,
            input=json.decode(body),
            created_at=now,
            available_at=now,
            seed=_seed(run.seed, key),
            queue=definition.queue or DEFAULT_QUEUE,
            # What is urgent stays so in its parts.
            priority=run.priority,
            max_attempts=definition.retry.attempts,
            deadline_at=now + timedelta(seconds=limit_s) if limit_s else None,
            correlation_id=run.correlation_id,
            principal=run.principal,
            tags=inherited_tags(run.tags),
            provider=definition.provider() if definition.provider is not None else None,
        )

    # --- branches ---------------------------------------------------------------------------

    @overload
    def gather(
        self, *branches: Awaitable[Any], limit: int | None = ...
    ) -> Operation[list[Any]]: ...
    @overload
    def gather(
        self, *, limit: int | None = ..., **named: Awaitable[Any]
    ) -> Operation[dict[str, Any]]: ...
    def gather(
        self, *branches: Awaitable[Any], limit: int | None = None, **named: Awaitable[Any]
    ) -> Operation[Any]:
        """Run branches beside each other and wait for all of them.

        Branches are operations of the context, or coroutines that use it. Named ones come back as
        a dictionary, others as a list.

        Args:
            branches: Unnamed branches, in order.
            limit: How many run at once; by default all.
            named: Named branches.

        Raises:
            the exception of the first branch, in order, that raised one; after all have ended.
        """
        if branches and named:
            raise InvalidInput("ctx.gather takes named or unnamed branches, not both.")
        return self._operation(
            "ctx.gather",
            lambda: self._gather(branches, named, limit),
            [*branches, *named.values()],
        )

    async def _gather(
        self,
        branches: Sequence[Awaitable[Any]],
        named: dict[str, Awaitable[Any]],
        limit: int | None,
    ) -> Any:  # noqa: ANN401  author's values
        parent = self._enter("ctx.gather", "gather", [*branches, *named.values()])
        if named:
            works = {name: as_work(work) for name, work in named.items()}
            return await run_all(self._execution, parent, "gather", works, limit)
        works = {str(position): as_work(work) for position, work in enumerate(branches)}
        return list((await run_all(self._execution, parent, "gather", works, limit)).values())

    def map(
        self,
        name: str,
        items: Iterable[Any],
        function: Callable[..., Any],
        *,
        limit: int = 8,
        retry: Retry = NO_RETRY,
        timeout_s: float | None = None,
    ) -> Operation[list[Any]]:
        """Do one step for each item, ``limit`` at once, and hand back the results in order.

        Raises:
            StepFailed: of the first item, in order, whose step failed; after all have ended.
        """
        return self._operation(
            "ctx.map", lambda: self._map(name, list(items), function, limit, retry, timeout_s)
        )

    async def _map(
        self,
        name: str,
        items: list[Any],
        function: Callable[..., Any],
        limit: int,
        retry: Retry,
        timeout_s: float | None,
    ) -> list[Any]:
        parent = self._execution.enter("ctx.map", name)
        works = {
            str(position): as_work(
                self.step(name, function, item, retry=retry, timeout_s=timeout_s)
            )
            for position, item in enumerate(items)
        }
        return list((await run_all(self._execution, parent, f"map-{name}", works, limit)).values())

    def first(self, **branches: Awaitable[Any]) -> Operation[Winner]:
        """Run branches beside each other; hand back the first that ends and cancel the others.

        Raises:
            the exception of the winner, if it raised one.
        """
        return self._operation("ctx.first", lambda: self._first(branches), list(branches.values()))

    async def _first(self, branches: dict[str, Awaitable[Any]]) -> Winner:
        parent = self._enter("ctx.first", "first", branches.values())
        works = {name: as_work(work) for name, work in branches.items()}
        return await run_first(self._execution, parent, works)

    # --- what must come out the same --------------------------------------------------------

    def now(self) -> datetime:
        """Tell the time, aware and in UTC: on replay the same as the first time."""
        execution = self._execution
        branch = execution.enter("ctx.now", "now")
        key = branch.key("now")
        entry = execution.meet(branch, key)
        if entry is not None:
            return from_micros(json.decode(entry.body))
        moment = execution.now()
        body = json.encode(to_micros(moment))
        execution.recorder.keep(entry=Entry(key, EntryKind.NOW, body, moment))
        return moment

    def random(self) -> float:
        """Draw a number from 0 up to, not including, 1: on replay the same."""
        branch = self._execution.enter("ctx.random", "random")
        return _seed(self._execution.run.seed, branch.key("random")) / (1 << 53)

    def uuid(self) -> str:
        """Make a UUID: on replay the same."""
        branch = self._execution.enter("ctx.uuid", "uuid")
        return ids.derive_id(str(self._execution.run.seed), branch.key("uuid"))

    # --- the rest ---------------------------------------------------------------------------

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the run is. It rides with the next commit, at most half a second later.

        Raises:
            NotJson: one of the values is not a plain number or text.
        """
        execution = self._execution
        branch = execution.enter("ctx.progress", "progress")
        if execution.journal.at_frontier(branch.path):
            progress = json.encode({"done": done, "total": total, "note": note})
            execution.recorder.set_progress(json.decode(progress))

    def step_progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far a step is, from inside its function, as `progress`; elsewhere do nothing.

        Raises:
            NotJson: one of the values is not a plain number or text.
        """
        if CURRENT_STEP.get() is not None:
            progress = json.encode({"done": done, "total": total, "note": note})
            self._execution.recorder.set_progress(json.decode(progress))

    def token(self, text: str) -> None:
        """Show whoever watches the run a piece of what a step is making; it is not kept.

        For functions of steps that make their result bit by bit, as models do; elsewhere it does
        nothing. The step's result must have the whole.
        """
        info = CURRENT_STEP.get()
        if info is not None:
            self._execution.parts.token(info.run_id, info.key, text)

    def at_end(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Register work for the real end of the run, however it ends; last registered, first done.

        It runs as a step, so it may be repeated after a crash but is not forgotten. Use it instead
        of ``finally`` for what has an effect outside: ``finally`` also runs at each suspension.
        """
        execution = self._execution
        branch = execution.enter("ctx.at_end", "at_end")
        key = branch.key("at_end")
        if execution.journal.find(key) is None:
            execution.recorder.keep(entry=Entry(key, EntryKind.AT_END, b"null", execution.now()))
        execution.at_end.append((key, function, args))

    def continue_as(self, input: Any) -> Never:  # noqa: ANN401  the word of the API
        """End this run and start its successor with another input, in one transaction.

        Name, session, parent and deadline go over; the journal begins anew.
        """
        execution = self._execution
        execution.enter("ctx.continue_as", "continue_as")
        body = codec_for(type(input)).encode(input)
        execution.definition.input_codec.decode(body)
        raise execution.leave_by(ContinuedAs(json.decode(body)))


def _file_of(content: str | bytes) -> str | dict[str, str]:
    """Write a file as JSON has it."""
    return content if isinstance(content, str) else {"base64": base64.b64encode(content).decode()}


def _seed(seed: int, key: str) -> int:
    """Derive a number of 53 bits, which every JSON reader keeps exactly."""
    digest = hashlib.sha256(f"{seed}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 11


def _child_output(wait: Wait, key: str, workflow: str, codec: Codec | None) -> Any:  # noqa: ANN401
    end = wait.payload
    if end["status"] == "completed":
        return codec.decode(json.encode(end["output"])) if codec is not None else end["output"]
    error = end.get("error") or {}
    is_undone = end["status"] in {RunStatus.COMPENSATED, RunStatus.COMPENSATION_FAILED}
    raise step_failed(
        {
            "message": f"The child run of {workflow!r} ended as {end['status']}"
            + (f": {error['message']}" if error.get("message") else "."),
            # An author decides by whether the child has taken back what it did.
            "code": end["status"] if is_undone else error.get("code") or end["status"],
            "error_class": "ChildFailed",
            "details": {"run_id": wait.target, "output": end.get("output"), "error": error or None},
        },
        key,
    )


def _refuse_timeout(operation: str, branch: Branch) -> None:
    """Refuse a durable wait inside ``asyncio.timeout``: the timer would not survive the wait.

    The timeout may also be around the gather or first that the branch is in. asyncio has no public
    way to ask; the timers that it has set for the tasks are looked for.

    Raises:
        WaitInsideTimeout: there is one.
    """
    tasks = set(branch.tasks())
    for handle in getattr(asyncio.get_running_loop(), "_scheduled", ()):
        owner = getattr(getattr(handle, "_callback", None), "__self__", None)
        if (
            type(owner) is asyncio.Timeout
            and not handle.cancelled()
            and getattr(owner, "_task", None) in tasks
        ):
            raise WaitInsideTimeout(operation)
