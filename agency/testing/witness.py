"""Watches what the code of workflows does over several lives of an engine."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from agency.core import json
from agency.core.json import NotJson
from agency.engine.branch import Branch
from agency.engine.context import Context
from agency.engine.definition import Definition, return_codec
from agency.engine.parts import StepInfo, current_step
from agency.engine.steps import StepCall
from agency.engine.suspension import Control
from agency.engine.verdict import Verdict
from agency.errors import ModelUnavailable, NotDone, ValueTooLarge

StepKey = tuple[str, str]
"""Id of a run and key of a step."""


@dataclass(slots=True)
class Try:
    """A try of a step that was begun.

    Attributes:
        life: In which life, from 1.
        attempt: The run's own attempt, from 1.
        args: The arguments as JSON, or None when they are no JSON.
        is_known_not_done: It has ended by an exception that says that nothing was done.
    """

    life: int
    attempt: int
    args: bytes | None
    is_known_not_done: bool = False


class Witness:
    """What was seen since `begin`.

    Attributes:
        life: Number of the present life.
        tries: The tries of each step, in order.
        results: What the functions of steps with effect="once" have returned, as JSON; told by
            the author's code, whether it was recorded or not.
        problems: What no workflow should do, one sentence each.
    """

    def __init__(self) -> None:
        self.on_work: Callable[[], None] = _nothing
        self.begin()

    def begin(self) -> None:
        """Forget everything: another try from the start."""
        self.life = 1
        self.tries: dict[StepKey, list[Try]] = {}
        self.results: dict[StepKey, Any] = {}
        self.problems: dict[str, None] = {}
        self.once: set[StepKey] = set()

    def report(self, problem: str) -> None:
        """Take note of something that should not be; twice the same counts once."""
        self.problems[problem] = None

    def watch(self, definition: Definition) -> Definition:
        """Give the definition whose runs are watched."""

        async def run(context: Context, *values: Any) -> Any:  # noqa: ANN401  author's values
            watched = WatchedContext(context, self)
            try:
                value = await definition.run(watched, *values)
            except (Control, asyncio.CancelledError):
                raise
            except BaseException as error:
                watched.check_left(definition, f"raised {error!r}")
                raise
            watched.check_left(definition, "returned")
            return value

        compensate = definition.compensate
        if compensate is None:
            return replace(definition, run=run)

        async def take_back(context: Context, cause: Verdict) -> Verdict:
            return await compensate(WatchedContext(context, self), cause)

        return replace(definition, run=run, compensate=take_back)

    def begun(self, info: StepInfo, attempt: int, args: tuple[Any, ...]) -> Try:
        """Take note that a step is being tried, before its function is called."""
        self.on_work()
        key = (info.run_id, info.key)
        now = Try(self.life, attempt, _as_json(args))
        tries = self.tries.setdefault(key, [])
        for before in tries:
            is_repeated = before.life < now.life and before.attempt == now.attempt
            if is_repeated and None not in (before.args, now.args) and before.args != now.args:
                self.report(
                    f"the step {info.key!r} was called with {_text(before.args)} before the kill "
                    f"and with {_text(now.args)} after it: its arguments are not made from what "
                    "is recorded"
                )
        tries.append(now)
        return now

    def repeated(self) -> Counter[str]:
        """Tell which steps were begun in more than one life, and how often again."""
        return Counter(
            {
                key: len({one.life for one in tries}) - 1
                for (_, key), tries in self.tries.items()
                if len({one.life for one in tries}) > 1
            }
        )


class WatchedContext(Context):
    """The context of a run whose steps are watched."""

    def __init__(self, context: Context, witness: Witness) -> None:
        """Stand in the place of ``context``, which is not used beside it."""
        vars(self).update(vars(context))
        self._witness = witness

    async def perform(self, call: StepCall) -> Any:  # noqa: ANN401  author's value
        """Do a step, and see to it that the witness hears when its function is called."""
        if call.isolation == "process":  # its function goes to another process
            return await super().perform(call)
        return await super().perform(replace(call, function=self._watched(call)))

    async def perform_as(self, branch: Branch, key: str, call: StepCall) -> Any:  # noqa: ANN401
        """Do a step that takes something back, watched as well."""
        return await super().perform_as(branch, key, replace(call, function=self._watched(call)))

    def at_end(self, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Register work for the end, watched as well."""
        super().at_end(self._watched(StepCall(name="at_end", function=function)), *args)

    def check_left(self, definition: Definition, how: str) -> None:
        """Report code that has ended in its own way although it was told to leave."""
        try:
            self.random()  # refused to whoever is told to leave; recorded nowhere
        except Control:
            self._witness.report(
                f"the code of {definition.name!r} swallows that it is left: it was told to leave "
                f"in the middle, by an exception that is no Exception, and {how} instead; "
                "let BaseException and CancelledError pass"
            )

    def _watched(self, call: StepCall) -> Callable[..., Any]:
        """Give the step's function, with the witness around it."""
        function, watch = call.function, _Watch(self._witness, call, self.attempt)
        if _is_async(function):

            async def watched(*args: Any) -> Any:  # noqa: ANN401  author's values
                with watch.trying(args) as done:
                    return done(await function(*args))

            return _imitating(watched, function)

        def watched_plain(*args: Any) -> Any:  # noqa: ANN401  author's values
            with watch.trying(args) as done:
                value = function(*args)
                return value if inspect.isawaitable(value) else done(value)

        return _imitating(watched_plain, function)


class _Watch:
    """What is noted of one call of a step."""

    def __init__(self, witness: Witness, call: StepCall, attempt: int) -> None:
        self._witness = witness
        self._attempt = attempt
        self._is_once = call.effect == "once"
        self._not_done_on: tuple[type[BaseException], ...] = (
            NotDone,
            ModelUnavailable,
            *call.not_done_on,
        )
        self._codec = return_codec(call.function)

    @contextmanager
    def trying(self, args: tuple[Any, ...]) -> Iterator[Callable[[Any], Any]]:
        """Note a try around its function; what it hands back goes through what is given."""
        info = current_step()
        key = (info.run_id, info.key)
        if self._is_once:
            self._witness.once.add(key)
        begun = self._witness.begun(info, self._attempt, args)

        def done(value: Any) -> Any:  # noqa: ANN401  author's value
            if self._is_once:
                with suppress(NotJson, ValueTooLarge):  # the engine finds it out, too
                    body = self._codec.encode(value)
                    self._witness.results[key] = json.decode(body)
            return value

        try:
            yield done
        except self._not_done_on:
            begun.is_known_not_done = True
            raise


def _imitating(watched: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the wrapper the return annotation that the engine reads results by."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if isinstance(inner, type):
        watched.__annotations__ = {"return": inner}
        return watched
    return functools.update_wrapper(watched, inner)


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  an object with an async __call__
    )


def _as_json(args: tuple[Any, ...]) -> bytes | None:
    try:
        return orjson.dumps(args, default=_dump)
    except TypeError:
        return None


def _dump(value: object) -> object:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError


def _text(args: bytes | None) -> str:
    text = (args or b"").decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _nothing() -> None:
    """Nobody listens."""
