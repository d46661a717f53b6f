"""Doing a step: tries, time limits, retries, effects that must not be repeated unasked."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Literal, Never

import orjson

from agency.core import ids, json
from agency.core.clock import to_text
from agency.core.limits import ARGUMENT_BYTES_MAX
from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.message import NewMessage
from agency.domain.wait import NewWait, Wait, WaitKind
from agency.engine import foreign
from agency.engine.branch import END_PATH, Branch
from agency.engine.definition import return_codec
from agency.engine.execution import AtEnd, Execution
from agency.engine.failure import describe, step_failed
from agency.engine.journal import name_of
from agency.engine.parts import CURRENT_STEP, StepInfo
from agency.engine.retry import NO_RETRY, Retry, next_delay_s
from agency.errors import (
    InvalidInput,
    ModelCrashed,
    ModelInterrupted,
    ModelUnavailable,
    NotDone,
    StepFailed,
    ValueTooLarge,
)

log = logging.getLogger(__name__)

DEATHS_MAX = 3
"""A call that dies this often while its server is healthy is a crash, not an outage."""
DEATH_PAUSE_S = 1.0
DECISIONS = ("done", "again", "fail")
PATIENT_WAITS = 3
"""So many waits for a resource that says it is there, and refuses, are made without a pause."""
PATIENCE_S_MAX = 30.0
_UNCOUNTED = frozenset({"in_doubt", ModelUnavailable.code})
"""Codes of recorded tries that do not use up an attempt."""

Effect = Literal["repeatable", "once"]
Isolation = Literal["none", "process"]


class StepTimedOut(TimeoutError):
    """A try reached its time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """A step as it was asked for.

    Attributes:
        messages: Makes the messages that are appended in the commit of the result.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any] = ()
    retry: Retry = NO_RETRY
    timeout_s: float | None = None
    effect: Effect = "repeatable"
    not_done_on: tuple[type[BaseException], ...] = ()
    isolation: Isolation = "none"
    messages: Callable[[Any], Sequence[NewMessage]] | None = field(default=None)


def decision_prefix(key: str, attempt: int) -> str:
    """What the keys of a step's decisions begin with, in one attempt of its run."""
    return f"{key}:decision{attempt}."


def decision_wait(key: str, name: str, serial: str, reason: str) -> NewWait:
    """Ask whether an effect has happened that was begun and has no recorded outcome.

    Args:
        key: Key of the step.
        name: Name of the step.
        serial: What tells the question from others about the same step.
        reason: Why it is in doubt.
    """
    return NewWait(
        key=f"{key}:decision{serial}",
        kind=WaitKind.DECISION,
        name=name,
        show={
            "step": key,
            "reason": reason,
            "answer": {"decision": " | ".join(DECISIONS), "result": "of the step, if done"},
        },
    )


async def perform(execution: Execution, branch: Branch, call: StepCall) -> Any:  # noqa: ANN401
    """Hand back a step's recorded outcome, or do it and record the outcome first.

    Raises:
        StepFailed: it failed for good; the same live and on replay.
    """
    key = branch.key(call.name)
    entry = execution.meet(branch, key)
    if entry is not None:
        return _replay(entry, call)
    branch.in_flight = call.name
    try:
        if call.effect == "once":
            return await _OnceStep(execution, branch, key, call).run()
        await execution.safe_point(branch)
        return await _Step(execution, branch, key, call).run()
    finally:
        branch.in_flight = None


async def perform_as(execution: Execution, branch: Branch, key: str, call: StepCall) -> Any:  # noqa: ANN401
    """As `perform`, under a key of the caller's choice, which is found without regard to order.

    Raises:
        StepFailed: it failed for good; the same live and on replay.
    """
    entry = execution.journal.find(key)
    if entry is not None:
        return _replay(entry, call)
    branch.in_flight = call.name
    try:
        await execution.safe_point(branch)
        return await _Step(execution, branch, key, call).run()
    finally:
        branch.in_flight = None


def _replay(entry: Entry, call: StepCall) -> Any:  # noqa: ANN401  author's value
    if entry.kind is EntryKind.FAILURE:
        raise step_failed(json.decode(entry.body), entry.key)
    return return_codec(call.function).decode(entry.body)


class _Step:
    """One step at the frontier."""

    def __init__(self, execution: Execution, branch: Branch, key: str, call: StepCall) -> None:
        self.execution = execution
        self.branch = branch
        self.key = key
        self.call = call
        self.parts = execution.parts
        self.codec = return_codec(call.function)
        # Written before the function can change them.
        self._shown_args = _show(call.args) if call.args else None
        self.number = 0
        self.deaths = 0
        self.attempt = 1
        for tried in execution.journal.tries(key):
            self.number += 1
            if tried.get("code") == ModelInterrupted.code:
                self.deaths += 1
            elif tried.get("code") not in _UNCOUNTED:
                self.attempt += 1

    async def run(self) -> Any:  # noqa: ANN401  author's value
        await self._prepare()
        await self._wait_again()
        while True:
            started_at = self.execution.now()
            outcome = await self.attempt_once()
            if isinstance(outcome, foreign.Returned):
                outcome = self._encoded(outcome.value)
            if isinstance(outcome, foreign.Returned):
                body, value = outcome.value
                return await self.record(body, value, started_at)
            await self.after_failure(outcome.error)

    async def _prepare(self) -> None:
        """Find out before any work is done that the result could not be read.

        Raises:
            StepFailed: the return annotation cannot be read from JSON.
        """
        try:
            self.codec.prepare()
        except InvalidInput as error:
            await self.fail(error)

    async def attempt_once(self) -> foreign.Returned | foreign.Raised:
        """Try once, with the time limit. Control flow passes through."""
        run = self.execution.run
        info = StepInfo(run.id, self.key, self.attempt)
        token = CURRENT_STEP.set(info)
        try:
            return await _call(self.execution, self.call)
        finally:
            CURRENT_STEP.reset(token)

    def _encoded(self, value: Any) -> foreign.Returned | foreign.Raised:  # noqa: ANN401
        """Turn a result into its record and what that decodes to, the same as on replay."""
        try:
            body = self.codec.encode(value)
            return foreign.Returned((body, self.codec.decode(body)))
        except (json.NotJson, ValueTooLarge, InvalidInput) as error:
            return foreign.Raised(error)

    async def record(self, body: bytes, value: Any, started_at: datetime) -> Any:  # noqa: ANN401
        """Record the result, and hand back what the record decodes to."""
        execution = self.execution
        entry = Entry(self.key, EntryKind.STEP, body, execution.now(), self._meta(started_at))
        messages = self.call.messages(value) if self.call.messages is not None else ()
        await execution.recorder.commit(entry, messages=messages)
        return value

    async def after_failure(self, error: Exception) -> None:
        """Wait for what the next try needs; raise when there is none.

        Raises:
            StepFailed: the failure is final; it is recorded.
        """
        if isinstance(error, ModelUnavailable):
            await self._await_resource(error.resource, error.reason)
            return
        if isinstance(error, ModelInterrupted):
            if not await self.parts.is_healthy(error.resource):
                await self._await_resource(error.resource, error.reason)
                return
            await self._died(error)
            return
        delay = next_delay_s(error, self.attempt, self.call.retry, self.parts.source)
        if delay is None:
            await self.fail(error)
        await self._note_try(describe(error))
        self.attempt += 1
        if delay <= self.parts.settings.memory_delay_s:
            await asyncio.sleep(delay)
            await self.execution.safe_point(self.branch)
        else:
            await self._stored_wait(
                NewWait(
                    key=f"{self.key}:retry{self.execution.run.attempt}.{self.number}",
                    kind=WaitKind.TIMER,
                    name=self.call.name,
                    due_at=self.execution.now() + timedelta(seconds=delay),
                    show={"retry": self.attempt, "error": foreign.text_of(error)[:500]},
                )
            )

    async def fail(self, error: BaseException) -> Never:
        """Record the final failure and raise it.

        Raises:
            StepFailed: always.
        """
        description = describe(error)
        await self._record_failure(description)
        log.info(
            "step failed",
            exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
            extra={
                "run_id": self.execution.run.id,
                "step": self.key,
                "error": description["message"][:500],
            },
        )
        # Without the cause, because on replay there is none.
        raise step_failed(description, self.key) from None

    async def _record_failure(self, description: dict[str, Any]) -> None:
        now = self.execution.now()
        await self.execution.recorder.commit(
            Entry(self.key, EntryKind.FAILURE, json.encode(description), now, self._meta(now))
        )

    async def _died(self, error: ModelInterrupted) -> None:
        self.deaths += 1
        if self.deaths >= DEATHS_MAX:
            await self.fail(
                ModelCrashed(
                    f"The call died {DEATHS_MAX} times while its server was healthy: "
                    f"{error.reason}."
                )
            )
        await self._note_try(describe(error))
        await asyncio.sleep(DEATH_PAUSE_S * self.deaths)
        await self.execution.safe_point(self.branch)

    async def _note_try(self, description: dict[str, Any]) -> None:
        self.number += 1
        entry = Entry(
            f"{self.key}~{self.number}",
            EntryKind.ATTEMPT,
            json.encode(description),
            self.execution.now(),
        )
        await self.execution.recorder.commit(entry)
        self.execution.journal.add(entry)

    async def _await_resource(self, resource: str, reason: str) -> None:
        waits = self.execution.journal.waits
        prefix = f"{self.key}:resource"
        number = sum(1 for key in waits if key.startswith(prefix)) + 1
        if number > PATIENT_WAITS:
            # It says that it is there and refuses all the same: ask it less and less often.
            await asyncio.sleep(min(PATIENCE_S_MAX, 0.5 * 2.0 ** min(number - PATIENT_WAITS, 10)))
            await self.execution.safe_point(self.branch)
        await self._stored_wait(
            NewWait(
                key=f"{prefix}{number}",
                kind=WaitKind.RESOURCE,
                name=resource,
                target=resource,
                show={"reason": reason},
            )
        )

    async def _wait_again(self) -> None:
        """Go on with a wait of this step that was open when the run left memory."""
        journal = self.execution.journal
        if not journal.left_open:
            return
        prefix = f"{self.key}:"
        for key in journal.left_open:
            wait = journal.waits[key]
            is_own = wait.kind in {WaitKind.TIMER, WaitKind.RESOURCE}
            if is_own and wait.outcome is None and key.startswith(prefix):
                await self.execution.block(self.branch, key)
                await self.execution.safe_point(self.branch)

    async def _stored_wait(self, wait: NewWait) -> Wait:
        self.execution.recorder.keep(wait=wait)
        resolved = await self.execution.block(self.branch, wait.key)
        await self.execution.safe_point(self.branch)
        return resolved

    def _meta(self, started_at: datetime) -> bytes:
        meta: dict[str, Any] = {"started_at": to_text(started_at), "attempt": self.attempt}
        if self._shown_args is not None:
            if len(self._shown_args) <= ARGUMENT_BYTES_MAX:
                meta["args"] = orjson.Fragment(self._shown_args)
            else:
                meta["args_bytes"] = len(self._shown_args)
        return orjson.dumps(meta)


class _OnceStep(_Step):
    """A step whose effect outside must not be repeated unasked.

    The intent is committed before each try. Whatever ends a try without a recorded outcome, and is
    not known to have left nothing behind, leaves it in doubt: the run asks.
    """

    async def run(self) -> Any:  # noqa: ANN401  author's value
        await self._prepare()
        intent = self.execution.journal.intents(self.key)
        if intent > self.number:
            settled = await self._ask(intent, "the daemon stopped while it was tried")
            if settled is not None:
                return settled.value
        await self._wait_again()
        while True:
            await self.execution.safe_point(self.branch)
            intent += 1
            await self._intend(intent)
            started_at = self.execution.now()
            outcome = await self._guarded()
            if isinstance(outcome, foreign.Returned):
                outcome = self._encoded(outcome.value)
            if isinstance(outcome, foreign.Returned):
                body, value = outcome.value
                await self.record(body, value, started_at)
                self.execution.doubts.pop(self.key, None)
                return value
            if self._is_known_not_done(outcome.error):
                self.execution.doubts.pop(self.key, None)
                # The try is noted first, so that a crash in the pause does not leave a doubt.
                await self._after_not_done(outcome.error)
                continue
            settled = await self._ask(intent, _reason(outcome.error))
            self.execution.doubts.pop(self.key, None)
            if settled is not None:
                return settled.value

    async def settle(self, intent: int) -> None:
        """Ask, and record what was decided, without ever trying again."""
        outcome = await foreign.attempt(self._ask(intent, "its branch has lost to another"))
        if isinstance(outcome, foreign.Raised) and not isinstance(outcome.error, StepFailed):
            raise outcome.error

    async def _guarded(self) -> foreign.Returned | foreign.Raised:
        self.execution.doubts[self.key] = self.call
        return await self.attempt_once()

    async def _intend(self, intent: int) -> None:
        entry = Entry(
            f"{self.key}!{intent}",
            EntryKind.INTENT,
            json.encode({"idempotency_key": ids.derive_id(self.execution.run.id, "0", self.key)}),
            self.execution.now(),
        )
        await self.execution.recorder.commit(entry)
        self.execution.journal.add(entry)

    def _is_known_not_done(self, error: Exception) -> bool:
        return isinstance(error, (NotDone, ModelUnavailable, *self.call.not_done_on))

    async def _after_not_done(self, error: Exception) -> None:
        if isinstance(error, ModelUnavailable):
            await self._note_try(describe(error))
            await self._await_resource(error.resource, error.reason)
            return
        await self.after_failure(error)

    async def _ask(self, intent: int, reason: str) -> foreign.Returned | None:
        """Suspend until somebody decides.

        Returns:
            The result that was decided on, recorded; or None: try again.

        Raises:
            StepFailed: it was decided that it failed.
        """
        execution = self.execution
        execution.doubts[self.key] = self.call
        answer = await self._answer(intent, reason)
        decision = answer.get("decision") if isinstance(answer, dict) else None
        if decision == "done":
            body, value = answer["body"], answer["value"]
            await self.record(body, value, execution.now())
            execution.doubts.pop(self.key, None)
            return foreign.Returned(value)
        if decision == "fail":
            failed = StepFailed(
                f"The step {self.call.name!r} was decided to have failed.",
                error_code="decided_failed",
                error_class="DecidedFailed",
            )
            execution.doubts.pop(self.key, None)
            await self.fail(failed)
        await self._note_try({"code": "in_doubt", "message": reason, "error_class": "InDoubt"})
        execution.doubts.pop(self.key, None)
        return None

    async def _answer(self, intent: int, reason: str) -> dict[str, Any]:
        """Ask until the answer can be used: a result that does not fit is asked for again."""
        execution = self.execution
        waits = execution.journal.waits
        number = 0
        while True:
            number += 1
            serial = f"{execution.run.attempt}.{intent}" + (f".{number}" if number > 1 else "")
            wait = decision_wait(self.key, self.call.name, serial, reason)
            if wait.key not in waits:
                execution.recorder.keep(wait=wait)
            decided = await execution.block(self.branch, wait.key, is_decision=True)
            answer = decided.payload if isinstance(decided.payload, dict) else {}
            if answer.get("decision") != "done":
                return answer
            body = json.encode(answer.get("result"))
            try:
                return {"decision": "done", "body": body, "value": self.codec.decode(body)}
            except InvalidInput as error:
                reason = f"the result that was given does not fit: {error.message}"


async def ask_about(execution: Execution, branch: Branch, key: str, call: StepCall | None) -> None:
    """Settle the doubt that a cancelled step with effect="once" has left; its result is not used.

    Nothing is asked when its outcome was recorded after all.

    Args:
        call: The step, if this life has come to it: a result that somebody gives must fit its type,
            because a crash before the winner is recorded lets the next life read it.
    """
    await execution.recorder.barrier()
    intent = dict(execution.journal.unsettled()).get(key)
    if intent is None:
        execution.doubts.pop(key, None)
        return

    async def nothing() -> None:
        """The step itself is not done again: its branch has lost."""

    unmet = StepCall(name=name_of(key), function=nothing, effect="once")
    step = _OnceStep(execution, branch, key, unmet if call is None else call)
    await step.settle(intent)


async def do_at_end(execution: Execution, branch: Branch, works: Sequence[AtEnd]) -> None:
    """Do work that was registered for the end, each as a step that is named by its registration.

    A failure is recorded and logged, and does not keep the others from being done. What is cut off
    is done at the real end, unless it turns out to have been recorded.
    """
    if any(key in execution.begun_at_end for key, _, _ in works):
        await execution.recorder.barrier()
    for key, function, args in works:
        call = StepCall(name="at_end", function=function, args=args)
        recorded = f"{END_PATH}{key}"
        if execution.journal.find(recorded) is not None:
            execution.done_at_end(key)
            continue
        await execution.safe_point(branch)
        execution.begun_at_end.add(key)
        outcome = await foreign.attempt(_Step(execution, branch, recorded, call).run())
        if isinstance(outcome, foreign.Raised):
            log.error(
                "work at a run's end failed",
                extra={
                    "run_id": execution.run.id,
                    "step": recorded,
                    "error": foreign.text_of(outcome.error),
                },
            )
        execution.done_at_end(key)


async def _call(execution: Execution, call: StepCall) -> foreign.Returned | foreign.Raised:
    if call.isolation == "process":
        work = execution.parts.processes.call(call.function, call.args, timeout_s=call.timeout_s)
        outcome = await foreign.attempt(work)
        if isinstance(outcome, foreign.Raised) and isinstance(outcome.error, TimeoutError):
            return _timed_out(call.timeout_s)
        return outcome
    if not is_async(call.function):
        return await _in_thread(execution, call)
    if call.timeout_s is None:
        return await foreign.attempt(_awaited(call.function, call.args))
    try:
        async with asyncio.timeout(call.timeout_s):
            return await foreign.attempt(_awaited(call.function, call.args))
    except TimeoutError:
        return _timed_out(call.timeout_s)


def _timed_out(timeout_s: float | None) -> foreign.Raised:
    limit = f"{timeout_s:g} s" if timeout_s is not None else "its step"
    return foreign.Raised(StepTimedOut(f"The step did not end within its time limit of {limit}."))


async def _awaited(function: Callable[..., Any], args: Sequence[Any]) -> Any:  # noqa: ANN401
    return await function(*args)


async def _in_thread(execution: Execution, call: StepCall) -> foreign.Returned | foreign.Raised:
    """Run a plain function in the pool; when it is late, wait for it before any other try."""
    started = asyncio.get_running_loop().create_future() if call.timeout_s is not None else None
    future = execution.parts.threads.submit(
        functools.partial(call.function, *call.args),
        on_start=functools.partial(_start, started) if started is not None else None,
    )
    future.add_done_callback(_look_at)
    try:
        if started is not None:
            await started  # waiting for a thread does not count towards the limit
        _, late = await asyncio.wait([future], timeout=call.timeout_s)
    except asyncio.CancelledError:
        future.cancel()  # a function that still waits for a thread is not wanted any more
        raise
    if late:
        await asyncio.wait([future])
        return foreign.Raised(
            StepTimedOut(
                f"The step did not end within its time limit of {call.timeout_s:g} s; "
                "as a plain function it could not be stopped and has ended later."
            )
        )
    outcome = await foreign.attempt(future)
    if isinstance(outcome, foreign.Returned) and inspect.isawaitable(outcome.value):
        return await foreign.attempt(outcome.value)
    return outcome


def _start(started: asyncio.Future[None]) -> None:
    if not started.done():
        started.set_result(None)


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take note of a late function's exception, which nobody else will look at."""
    if not future.cancelled():
        future.exception()


def _show(args: Sequence[Any]) -> bytes:
    """Write arguments for the timeline, whatever they are."""
    try:
        return orjson.dumps(args, default=foreign.repr_of)
    except TypeError:  # nested too deeply, or a key that is not a string
        return orjson.dumps(foreign.repr_of(args)[:ARGUMENT_BYTES_MAX])


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {foreign.text_of(error)[:1000]}"


@functools.lru_cache(maxsize=1024)
def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a step's function is awaited, or run in a thread."""
    if isinstance(function, functools.partial):
        return is_async(function.func)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  an object with an async __call__
    )
