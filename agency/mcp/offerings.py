"""What an MCP server offers, from several sources, in the order in which they are asked.

A source answers None to what is not its own. Lists are put together and cut into pages here.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import Any, Protocol, TypeVar

from mcp.server.context import HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    ReadResourceRequestParams,
    ReadResourceResult,
    RequestParams,
    Resource,
    ResourceTemplate,
    Tool,
)

from agency.core import json
from agency.core.records import dataclass
from agency.mcp.caller import CALLER, Caller
from agency.ports.store import RunDetail

PAGE_ITEMS_MAX = 500
"""Tools and prompts of one page; many clients read only the first."""

Context = ServerRequestContext[Any, Any]

ToolAnswer = CallToolResult | InputRequiredResult | dict[str, Any]
Item = TypeVar("Item")


class Tools(Protocol):
    """A source of tools."""

    async def tools(self, caller: Caller) -> Sequence[Tool]:
        """List those that the caller may use, always in the same order."""
        ...

    async def call(self, ctx: Context, params: CallToolRequestParams) -> ToolAnswer | None:
        """Answer a call; None when there is no tool of this name here."""
        ...


class Resources(Protocol):
    """A source of resources."""

    async def resources(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Resource], str | None]:
        """List a page of those that the caller may read, and where the next one begins."""
        ...

    async def templates(self) -> Sequence[ResourceTemplate]:
        """List the forms of addresses that can be read and are not listed."""
        ...

    async def read(
        self, ctx: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult | InputRequiredResult | None:
        """Read one; None when there is none of this address here."""
        ...

    async def has(self, caller: Caller, uri: str) -> bool:
        """Tell whether the caller may read what has this address."""
        ...


class Prompts(Protocol):
    """A source of prompts."""

    async def prompts(self, caller: Caller) -> Sequence[Prompt]:
        """List them, always in the same order."""
        ...

    async def get(
        self, ctx: Context, params: GetPromptRequestParams
    ) -> GetPromptResult | InputRequiredResult | None:
        """Write one; None when there is none of this name here."""
        ...


Complete = Callable[[Caller, CompleteRequestParams], Awaitable[Sequence[str] | None]]
"""Proposes values of an argument; None when the argument is not its own."""

CallNext = Callable[[], Awaitable[HandlerResult]]

Intercept = Callable[[Context, CallToolRequestParams, CallNext], Awaitable[HandlerResult]]
"""Stands around each call of a tool; the first of them is outermost."""

Ask = Callable[[Context, RunDetail], Awaitable[ToolAnswer | bool]]
"""Asks the client what a run waits for that a call has started: True when it was answered and the
call goes on waiting, False when this client cannot be asked, else what the call is answered with.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A request beside those that the protocol itself has.

    Attributes:
        params: Model of its parameters, a `RequestParams`.
    """

    name: str
    params: type[RequestParams]
    answer: Callable[[Context, Any], Awaitable[HandlerResult]]


@dataclass(slots=True)
class Offerings:
    """All sources.

    Attributes:
        extensions: Told to clients as capabilities: identifier and its settings.
        middleware: Stands around every request, before anything of it is looked at.
        ask: Asks a client in the middle of a call; None when nobody does.
        waiting: Calls that wait for their runs now, by principal.
    """

    tools: list[Tools] = field(default_factory=list)
    resources: list[Resources] = field(default_factory=list)
    prompts: list[Prompts] = field(default_factory=list)
    completions: list[Complete] = field(default_factory=list)
    intercepts: list[Intercept] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    extensions: dict[str, dict[str, Any]] = field(default_factory=dict)
    middleware: list[ServerMiddleware[Any]] = field(default_factory=list)
    ask: Ask | None = None
    waiting: Counter[str] = field(default_factory=Counter)

    async def list_tools(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Tool], str | None]:
        """List a page of tools. One whose name another has is left out."""
        found: dict[str, Tool] = {}
        for source in self.tools:
            for one in await source.tools(caller):
                found.setdefault(one.name, one)
        return _cut(list(found.values()), cursor)

    async def list_prompts(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Prompt], str | None]:
        """List a page of prompts. One whose name another has is left out."""
        found: dict[str, Prompt] = {}
        for source in self.prompts:
            for one in await source.prompts(caller):
                found.setdefault(one.name, one)
        return _cut(list(found.values()), cursor)

    async def list_resources(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Resource], str | None]:
        """List a page of resources: of each source what it gives, up to one that has more."""
        index, inner = 0, None
        if cursor is not None:
            index, inner = _place_of(cursor)
        found: list[Resource] = []
        for at, source in enumerate(self.resources[index:], start=index):
            page, after = await source.resources(caller, inner)
            found += page
            if after is not None:
                return found, make_cursor([at, after])
            inner = None
        return found, None

    async def has_resource(self, caller: Caller, uri: str) -> bool:
        """Tell whether the caller may read what has this address."""
        for source in self.resources:
            if await source.has(caller, uri):
                return True
        return False


def caller_of(ctx: Context) -> Caller:
    """Tell who makes a request."""
    assert ctx.request is not None, "every request of this server comes over HTTP"
    caller: Caller = ctx.request.scope[CALLER]
    return caller


def make_cursor(value: Any) -> str:  # noqa: ANN401  JSON value
    """Write where the next page begins, so that nobody builds on what it says."""
    return base64.urlsafe_b64encode(json.encode(value)).decode().rstrip("=")


def parse_cursor(cursor: str) -> Any:  # noqa: ANN401  JSON value
    """Read what `make_cursor` has written.

    Raises:
        MCPError: it was not written here.
    """
    try:
        return json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, json.NotJson) as error:
        raise _unknown_cursor() from error


def _unknown_cursor() -> MCPError:
    return MCPError(INVALID_PARAMS, "The cursor is not one of ours: list from the beginning.")


def _place_of(cursor: str) -> tuple[int, str | None]:
    value = parse_cursor(cursor)
    match value:
        case [int(index), str() | None as inner] if index >= 0:
            return index, inner
    raise _unknown_cursor()


def _cut(items: Sequence[Item], cursor: str | None) -> tuple[Sequence[Item], str | None]:
    after = 0
    if cursor is not None:
        after = parse_cursor(cursor)
        if not isinstance(after, int) or after < 0:
            raise _unknown_cursor()
    page = items[after : after + PAGE_ITEMS_MAX]
    reached = after + len(page)
    return page, make_cursor(reached) if reached < len(items) else None
