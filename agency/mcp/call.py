"""A call of an author's function by an MCP client: what `agency.McpCall` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from pydantic import ValidationError

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
from agency.errors import InvalidInput
from agency.mcp.calls import SESSION
from agency.mcp.changes import Changes
from agency.mcp.offerings import Context, caller_of
from agency.mcp.questions import (
    can,
    capability_of,
    check_can,
    is_modern,
    missing_capability,
    reply_of,
    request_of,
    send,
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


def _session_of(ctx: Context) -> str:
    assert ctx.request is not None
    found: str = ctx.request.headers.get(SESSION, "")
    return found


class Call:
    """One call. The time in which the client is asked does not count as the function's."""

    def __init__(
        self,
        ctx: Context,
        began: Round,
        responses: Mapping[str, Any],
        *,
        changes: Changes,
        levels: Levels,
    ) -> None:
        """Take the request.

        Args:
            ctx: The request.
            began: What earlier rounds of it have left.
            responses: What the client has sent with this one.
            changes: Where clients are told of changes.
            levels: Which logs the client wants.
        """
        self._ctx = ctx
        self._responses: dict[str, Any] = {**began.replies, **responses}
        self._changes = changes
        self._levels = levels
        self._limit: asyncio.Timeout | None = None
        self.used: dict[str, Any] = {}

    def within(self, limit: asyncio.Timeout) -> None:
        """Stop this time limit whenever the client is asked."""
        self._limit = limit

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
            if is_modern(self._ctx) and not can(self._ctx, capability := capability_of(question)):
                raise missing_capability({capability: {}})
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
            InvalidInput: what the client sends is no reply to what was asked.
        """
        loop = asyncio.get_running_loop()
        limit, began = self._limit, loop.time()
        due = limit.when() if limit is not None else None
        if limit is not None:
            limit.reschedule(None)
        try:
            async with asyncio.TaskGroup() as group:
                asked = {
                    key: group.create_task(send(self._ctx, request_of(question)))
                    for key, question in questions.items()
                }
        except* ValidationError as errors:
            raise InvalidInput("The client's response is none of the protocol.") from errors
        finally:
            if limit is not None and due is not None:
                limit.reschedule(due + loop.time() - began)
        replies: dict[str, Reply] = {}
        for key, question in questions.items():
            reply = reply_of(question, asked[key].result())
            if reply is None:
                raise InvalidInput(f"The client's response to {key!r} is of another kind.")
            replies[key] = reply
        return replies

    async def tell_changed(self, what: Listed) -> None:
        self._changes.tell_listed(what)

    async def tell_updated(self, uri: str) -> None:
        self._changes.tell_updated(uri)

    async def close_stream(self) -> None:
        if self._ctx.close_sse_stream is not None:
            await self._ctx.close_sse_stream()
