"""The server of the SDK over what is offered, and what all of it is put together of.

This module and those that it imports load the SDK; the door loads it in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial, wraps
from typing import Any, TypeVar

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CancelledNotificationParams,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from agency.core import json
from agency.core.records import dataclass
from agency.engine.offers import Offers
from agency.errors import AgencyError, InvalidInput
from agency.mcp.agent_prompts import COMPLETIONS_MAX, AgentPrompts, RunCompletions
from agency.mcp.asgi import Receive, Scope, Send
from agency.mcp.caller import CALLER, Caller
from agency.mcp.calls import Calls
from agency.mcp.changes import NOT_FOUND, Changes
from agency.mcp.extras import add_extras
from agency.mcp.means import Means
from agency.mcp.offerings import CallNext, Context, Intercept, Offerings, caller_of
from agency.mcp.parts import Parts
from agency.mcp.published_tools import PublishedTools
from agency.mcp.replays import ReplayingManager
from agency.mcp.run_resources import RunResources
from agency.mcp.run_verbs import RunVerbs

log = logging.getLogger(__name__)

NAME = "agency"

INSTRUCTIONS = """\
Agency runs agents and workflows that survive crashes. Each tool that is not named run_… or runs_…
starts a run and waits for it. A run that takes longer is answered with its run_id: it goes on by
itself, and run_result waits for it. When a run waits for somebody, ask the user, and give what they
say with run_answer or run_approve."""

LISTS_KEPT_MS = 5_000
"""A list may be kept so long by clients that are not told when it changes."""

Params = TypeVar("Params")
Result = TypeVar("Result")
Handler = Callable[[Context, Params], Awaitable[Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A server that answers.

    Attributes:
        manager: Has the sessions.
    """

    manager: StreamableHTTPSessionManager
    parts: Parts

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A session is only there for who has begun it."""
        caller: Caller = scope[CALLER]
        token = AccessToken(
            token="",
            client_id=caller.principal,
            scopes=[],
            subject="token" if caller.has_token else "local",
        )
        scope["user"] = AuthenticatedUser(token)
        await self.manager.asgi_app(scope, receive, send)

    def end_streams(self) -> None:
        """Let all streams end that wait for changes."""
        self.parts.changes.end_streams()


def make_parts(means: Means) -> Parts:
    """Put together what is offered."""
    offerings = Offerings()
    calls = Calls(means.services.runs)
    published = PublishedTools(means, offerings, calls)
    offerings.tools += [RunVerbs(means, offerings), published]
    offerings.resources.append(RunResources(means))
    offerings.prompts.append(AgentPrompts(means))
    offerings.completions.append(RunCompletions(means).complete)
    changes = Changes(means, offerings)
    return Parts(
        means=means, offerings=offerings, published=published, calls=calls, changes=changes
    )


@asynccontextmanager
async def open_server(means: Means) -> AsyncIterator[Opened]:
    """Open the server; all its sessions end with it."""
    parts = make_parts(means)
    await add_extras(parts)
    settings = means.services.settings
    manager = ReplayingManager(
        app=make_server(parts),
        # Host and Origin were checked before, by the same rules as for every other door.
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        session_idle_timeout=settings.mcp.serve_session_idle_s,
        max_sessions=settings.mcp.serve_sessions_max,
        max_request_body_size=settings.server.body_bytes_max,
    )
    async with manager.run():
        telling = asyncio.ensure_future(parts.changes.serve())
        telling.add_done_callback(_look_at)
        try:
            yield Opened(manager=manager, parts=parts)
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([telling])


def make_server(parts: Parts) -> Server[Any]:
    """Make the SDK's server over what is offered."""
    answers = Answers(parts)
    changes = parts.changes
    server: Server[Any] = _TellingServer(
        NAME,
        version=parts.means.services.version,
        title="Agency",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=partial(_mirrored, parts.means.offers),
        on_list_tools=safely(answers.list_tools),
        on_call_tool=safely(answers.call_tool),  # type: ignore[arg-type]  # extensions answer more
        on_list_resources=safely(answers.list_resources),
        on_list_resource_templates=safely(answers.list_templates),
        on_read_resource=safely(answers.read_resource),
        on_subscribe_resource=safely(changes.subscribe),
        on_unsubscribe_resource=safely(changes.unsubscribe),
        on_subscriptions_listen=safely(changes.listen),
        on_list_prompts=safely(answers.list_prompts),
        on_get_prompt=safely(answers.get_prompt),
        on_completion=safely(answers.complete),
    )
    server.add_notification_handler(
        "notifications/initialized", NotificationParams, changes.initialized
    )
    server.add_notification_handler(
        "notifications/cancelled", CancelledNotificationParams, parts.calls.cancelled
    )
    for method in parts.offerings.methods:
        server.add_request_handler(method.name, method.params, safely(method.answer))
    server.extensions.update(parts.offerings.extensions)
    server.middleware += parts.offerings.middleware
    return server


class _TellingServer(Server[Any]):
    """A server that says that it tells of changes; a session's options come from here."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(
            prompts_changed=True, resources_changed=True, tools_changed=True
        )
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class Answers:
    """What the requests of the protocol are answered with."""

    def __init__(self, parts: Parts) -> None:
        """Take what is offered."""
        self._offerings = parts.offerings

    async def list_tools(
        self, ctx: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """List a page of tools."""
        tools, cursor = await self._offerings.list_tools(caller_of(ctx), _cursor(params))
        return ListToolsResult(
            tools=list(tools), next_cursor=cursor, ttl_ms=LISTS_KEPT_MS, cache_scope="private"
        )

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        """Call a tool, through all that stands around calls."""

        async def innermost() -> HandlerResult:
            for source in self._offerings.tools:
                answer = await source.call(ctx, params)
                if answer is not None:
                    return answer
            # Source: MCP 2025-11-25, tools, section "Error Handling".
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:256]}")

        call: CallNext = innermost
        for intercept in reversed(self._offerings.intercepts):
            call = _around(intercept, ctx, params, call)
        return await call()

    async def list_resources(
        self, ctx: Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """List a page of resources."""
        found, cursor = await self._offerings.list_resources(caller_of(ctx), _cursor(params))
        return ListResourcesResult(resources=list(found), next_cursor=cursor)

    async def list_templates(
        self, ctx: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """List the forms of addresses; there are few, on one page."""
        sources = self._offerings.resources
        found = [one for source in sources for one in await source.templates()]
        return ListResourceTemplatesResult(resource_templates=found)

    async def read_resource(
        self, ctx: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult | InputRequiredResult:
        """Read a resource."""
        for source in self._offerings.resources:
            found = await source.read(ctx, params)
            if found is not None:
                return found
        uri = str(params.uri)
        is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        code = INVALID_PARAMS if is_modern else NOT_FOUND
        raise MCPError(code, f"There is no resource {uri[:1024]!r}.", {"uri": uri})

    async def list_prompts(
        self, ctx: Context, params: PaginatedRequestParams | None
    ) -> ListPromptsResult:
        """List a page of prompts."""
        prompts, cursor = await self._offerings.list_prompts(caller_of(ctx), _cursor(params))
        return ListPromptsResult(
            prompts=list(prompts), next_cursor=cursor, ttl_ms=LISTS_KEPT_MS, cache_scope="private"
        )

    async def get_prompt(
        self, ctx: Context, params: GetPromptRequestParams
    ) -> GetPromptResult | InputRequiredResult:
        """Write a prompt."""
        for source in self._offerings.prompts:
            found = await source.get(ctx, params)
            if found is not None:
                return found
        raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name[:256]}")

    async def complete(self, ctx: Context, params: CompleteRequestParams) -> CompleteResult:
        """Propose values of an argument."""
        for complete in self._offerings.completions:
            found = await complete(caller_of(ctx), params)
            if found is not None:
                values = list(found[:COMPLETIONS_MAX])
                has_more = len(found) > len(values)
                return CompleteResult(
                    completion=Completion(values=values, total=len(found), has_more=has_more)
                )
        return CompleteResult(completion=Completion(values=[]))


def safely(answer: Handler[Params, Result]) -> Handler[Params, Result]:
    """Turn our errors into those of the protocol; nothing of a bug goes out."""

    @wraps(answer)
    async def answered(ctx: Context, params: Params) -> Result:
        try:
            return await answer(ctx, params)
        except InvalidInput as error:
            raise MCPError(INVALID_PARAMS, str(error), _data_of(error)) from error
        except AgencyError as error:
            raise MCPError(INTERNAL_ERROR, str(error), _data_of(error)) from error
        except json.NotJson as error:
            raise MCPError(INVALID_PARAMS, f"The parameters are not JSON: {error}.") from error
        except MCPError:
            raise
        except Exception as error:
            # Around one request: a bug costs its caller an answer, and nothing of it is shown.
            log.exception("request of an MCP client failed", extra={"method": ctx.method})
            raise MCPError(INTERNAL_ERROR, "The daemon has failed; see its log.") from error

    return answered


def _mirrored(offers: Offers, name: str) -> Mapping[str, Any] | None:
    """Give the schema by which headers of a call are checked.

    Only authors' own tools ask for headers; without this the SDK would list all tools for each
    call.
    """
    offer = offers.find("tool", name)
    return offer.arguments if offer is not None else None


def _data_of(error: AgencyError) -> dict[str, Any]:
    data: dict[str, Any] = {"code": error.code, "hint": error.hint}
    if isinstance(error, InvalidInput):
        data["faults"] = [{"where": one.where, "what": one.what} for one in error.faults]
    value: dict[str, Any] = json.decode(json.encode(data))
    return value


def _around(
    intercept: Intercept, ctx: Context, params: CallToolRequestParams, call: CallNext
) -> CallNext:
    async def called() -> HandlerResult:
        return await intercept(ctx, params, call)

    return called


def _cursor(params: PaginatedRequestParams | None) -> str | None:
    return params.cursor if params is not None else None


def _look_at(telling: asyncio.Future[None]) -> None:
    if not telling.cancelled() and (error := telling.exception()) is not None:
        log.error("MCP clients are not told of changes any more", exc_info=error)
