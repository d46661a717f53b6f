"""A call of an author's function by an MCP client: what `agency.McpCall` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast, get_args

import mcp_types as types
from mcp.server.connection import allowed_log_levels

from agency.engine.offers import (
    Elicit,
    Elicited,
    Listed,
    LogLevel,
    Needs,
    Question,
    Reply,
    Root,
    Roots,
    Sample,
    Sampled,
)
from agency.engine.suspension import Control
from agency.errors import ClientRefused, InvalidInput
from agency.mcp.calls import SESSION
from agency.mcp.changes import Changes
from agency.mcp.offerings import Context, caller_of
from agency.mcp.questions import (
    can,
    capability_of,
    check_can,
    is_modern,
    reply_of,
    request_of,
    send,
    together,
)
from agency.mcp.rounds import Round

LEVELS: tuple[str, ...] = get_args(LogLevel)
"""Levels of logs, the least severe first. Source: RFC 5424, section 6.2.1."""


class Asked(Control):
    """The function has asked what its client has not replied to yet."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        super().__init__(", ".join(questions))
        self.questions = questions


class Levels:
    """The level of logs that each session has asked for."""

    SESSIONS_MAX = 10_000
    """Sessions that are remembered; of those before them everything is sent."""

    def __init__(self) -> None:
        self._levels: dict[str, str] = {}

    def set(self, ctx: Context, level: str) -> None:
        """Note what a session wants from now on."""
        session = _session_of(ctx)
        self._levels.pop(session, None)
        self._levels[session] = level
        while len(self._levels) > self.SESSIONS_MAX:
            del self._levels[next(iter(self._levels))]

    def is_wanted(self, ctx: Context, level: str) -> bool:
        """Tell whether a line of this level is to be sent."""
        if level not in allowed_log_levels(ctx.protocol_version, ctx.meta):
            return False
        least = self._levels.get(_session_of(ctx), "debug")
        return is_modern(ctx) or LEVELS.index(level) >= LEVELS.index(least)


class Turn:
    """A place to work in and the time that there is; neither is used up while a client is asked."""

    def __init__(self, places: asyncio.Semaphore, *, timeout_s: float) -> None:
        """Take what is shared.

        Args:
            places: One of them is held.
            timeout_s: Longest work, in seconds.
        """
        self._places = places
        self._timeout_s = timeout_s
        self._limit = asyncio.Timeout(None)
        self._has_place = False

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Work.

        Raises:
            TimeoutError: it has taken too long.
        """
        await self._take()
        try:
            async with self._limit:
                self._limit.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                yield
        finally:
            self._leave()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Wait for somebody else. Who is cancelled meanwhile goes at once, and needs no place."""
        loop = asyncio.get_running_loop()
        due, began = self._limit.when(), loop.time()
        self._limit.reschedule(None)
        self._leave()
        is_cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            if not is_cancelled:
                await self._take()
                if due is not None:
                    self._limit.reschedule(due + loop.time() - began)

    async def _take(self) -> None:
        await self._places.acquire()
        self._has_place = True

    def _leave(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.release()


def _session_of(ctx: Context) -> str:
    assert ctx.request is not None
    found: str = ctx.request.headers.get(SESSION, "")
    return found


class Call:
    """One call."""

    def __init__(
        self,
        ctx: Context,
        began: Round,
        responses: Mapping[str, Any],
        *,
        turn: Turn,
        changes: Changes,
        levels: Levels,
    ) -> None:
        """Take the request.

        Args:
            ctx: The request.
            began: What earlier rounds of it have left.
            responses: What the client has sent with this one.
            turn: What it has to work in; given up while the client is asked.
            changes: Where clients are told of changes.
            levels: Which logs the client wants.
        """
        self._ctx = ctx
        self._responses: dict[str, Any] = {**began.replies, **responses}
        self._changes = changes
        self._levels = levels
        self._turn = turn
        self.used: dict[str, Any] = {}

    @property
    def principal(self) -> str:
        return caller_of(self._ctx).principal

    @property
    def client(self) -> str:
        params = self._ctx.session.client_params
        return params.client_info.name if params is not None else ""

    def can(self, capability: Needs) -> bool:
        return can(self._ctx, capability)

    async def log(self, level: LogLevel, message: Any, *, logger: str = "") -> None:  # noqa: ANN401
        if level not in LEVELS:
            raise InvalidInput(f"{level!r} is no level of logs; those are {', '.join(LEVELS)}.")
        if not self._levels.is_wanted(self._ctx, level):
            return
        params = types.LoggingMessageNotificationParams(
            level=level, data=message, logger=logger or None
        )
        await self._ctx.session.send_notification(
            types.LoggingMessageNotification(params=params), self._ctx.request_id
        )

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        await self._ctx.session.report_progress(done, total, message or None)

    async def elicit(self, message: str, schema: Any, *, key: str = "input") -> Elicited:  # noqa: ANN401
        return cast(
            Elicited, (await self.ask(**{key: Elicit(message=message, schema=schema)}))[key]
        )

    async def sample(self, prompt: str, *, tokens_max: int = 1000, key: str = "sample") -> Sampled:
        return cast(
            Sampled, (await self.ask(**{key: Sample(prompt=prompt, tokens_max=tokens_max)}))[key]
        )

    async def roots(self, *, key: str = "roots") -> Sequence[Root]:
        return cast("Sequence[Root]", (await self.ask(**{key: Roots()}))[key])

    async def ask(self, **questions: Question) -> Mapping[str, Reply]:
        for question in questions.values():
            check_can(self._ctx, capability_of(question))
        if is_modern(self._ctx):
            return self._known(questions)
        return await self._live(questions)

    def _known(self, questions: Mapping[str, Question]) -> Mapping[str, Reply]:
        """Give the replies that have come with the request; what has not is asked for."""
        replies: dict[str, Reply] = {}
        for key, question in questions.items():
            response = self._responses.get(key)
            try:
                reply = reply_of(question, response)
            except InvalidInput:
                continue  # what does not fit is asked for again, as the form says what fits
            if reply is not None:
                replies[key] = reply
                self.used[key] = response
        missing = {key: one for key, one in questions.items() if key not in replies}
        if missing:
            raise Asked(missing)
        return replies

    async def _live(self, questions: Mapping[str, Question]) -> Mapping[str, Reply]:
        """Ask while the call waits, everything at once.

        Raises:
            ClientRefused: it would not answer, or has sent what is no reply to what was asked.
            InvalidInput: what was filled in does not fit.
        """
        requests = [request_of(question) for question in questions.values()]
        async with self._turn.paused():
            responses = await together([send(self._ctx, request) for request in requests])
        replies: dict[str, Reply] = {}
        for (key, question), response in zip(questions.items(), responses, strict=True):
            reply = reply_of(question, response)
            if reply is None:
                raise ClientRefused(f"its response to {key!r} is of another kind.")
            replies[key] = reply
        return replies

    async def tell_changed(self, what: Listed) -> None:
        self._changes.tell_listed(what)

    async def tell_updated(self, uri: str) -> None:
        self._changes.tell_updated(uri)

    async def close_stream(self) -> None:
        if self._ctx.close_sse_stream is not None:
            await self._ctx.close_sse_stream()
