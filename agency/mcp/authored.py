"""What authors offer to MCP clients with ``mcp_tool``, ``mcp_resource`` and ``mcp_prompt``."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from agency.core import json
from agency.core.limits import VALUE_BYTES_MAX
from agency.domain.content import Content, Part
from agency.engine import foreign
from agency.engine.foreign import Raised
from agency.engine.offers import McpMessage, Offer, StartRun
from agency.engine.runs import StartRequest
from agency.errors import AgencyError, ClientCannot, InvalidInput, NotFound, ValueTooLarge
from agency.mcp.answering import answer_with
from agency.mcp.blocks import block_of, blocks_of, content_from, part_of, resource_of
from agency.mcp.call import Asked, Call, Levels, Turn
from agency.mcp.caller import Caller
from agency.mcp.offerings import (
    Context,
    ToolAnswer,
    caller_of,
    make_cursor,
    parse_cursor,
)
from agency.mcp.parts import Parts
from agency.mcp.published_tools import key_of, start
from agency.mcp.questions import (
    TASKS,
    can,
    is_modern,
    missing_capability,
    request_of,
)
from agency.mcp.results import refusal_of
from agency.mcp.rounds import Round, round_of
from agency.mcp.task_shape import follows_tasks
from agency.mcp.verb_names import VERBS

log = logging.getLogger(__name__)

CALLS_MAX = 64
"""Calls of authors' functions at once; further ones wait."""

CALL_S = 300.0
"""Longest work of one call, in seconds, without the time in which its client is asked."""

RESOURCES_PAGE = 200
"""Resources of one page."""

COMPLETIONS_MAX = 100
"""Source: MCP 2025-11-25, completion, section "Completion Results"."""


class Authored:
    """Tools, resources and prompts that are authors' functions."""

    def __init__(self, parts: Parts, levels: Levels) -> None:
        """Take what they work with, and which logs clients want."""
        self._means = parts.means
        self._offerings = parts.offerings
        self._offers = parts.means.offers
        self._changes = parts.changes
        self._calls = parts.calls
        self._levels = levels
        self._places = asyncio.Semaphore(CALLS_MAX)
        for offer in self._offers.list("tool"):
            if offer.name in VERBS:
                log.warning("tool is hidden by a verb", extra={"tool": offer.name})

    # --- tools ----------------------------------------------------------------------------

    async def tools(self, _: Caller) -> Sequence[types.Tool]:
        """List the tools by name."""
        return [_tool_of(offer) for offer in self._offers.list("tool")]

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> ToolAnswer | None:
        """Call a tool; what its function raises is the tool's error."""
        offer = self._offers.find("tool", params.name)
        if offer is None:
            return None
        _check_needs(ctx, offer)
        began = round_of(params.request_state)
        try:
            value = await self._called(
                ctx, offer, offer.read(params.arguments or {}), began, params.input_responses
            )
            if isinstance(value, types.InputRequiredResult):
                return value
            if isinstance(value, StartRun):
                is_again = params.request_state is not None
                return await self._started(ctx, value, f"mcp:{began.id}" if is_again else None)
            return _result_of(offer, value)
        except AgencyError as error:
            return refusal_of(error)
        except _Failed as failed:
            return _failure(self._redacted(failed.text))

    async def _started(self, ctx: Context, wanted: StartRun, key: str | None) -> ToolAnswer:
        """Go on as a run. A call that is sent again after a question goes on as the same one.

        Raises:
            as `agency.engine.runs.Runs.start`.
        """
        caller = caller_of(ctx)
        key = key or key_of(ctx.meta)
        asked = json.encode_canonical([wanted.workflow, wanted.input])
        request = StartRequest(workflow=wanted.workflow, input=wanted.input).asked_for(
            idempotency_key=key,
            request_hash=hashlib.sha256(asked).hexdigest() if key is not None else None,
            correlation_id=caller.correlation_id,
            principal=caller.principal,
        )
        with self._calls.noted(ctx) as call:
            started = await start(self._means, request, call)
            return await answer_with(self._means, self._offerings, ctx, started.run.id, None)

    # --- resources ------------------------------------------------------------------------

    async def resources(
        self, _: Caller, cursor: str | None
    ) -> tuple[Sequence[types.Resource], str | None]:
        """List a page of those that have one address."""
        listed = [offer for offer in self._offers.list("resource") if not offer.is_template]
        after = parse_cursor(cursor) if cursor is not None else 0
        if not isinstance(after, int) or after < 0:
            raise MCPError(types.INVALID_PARAMS, "The cursor is not one of ours.")
        page = listed[after : after + RESOURCES_PAGE]
        reached = after + len(page)
        found = [
            types.Resource(
                uri=offer.name,
                name=offer.title,
                title=offer.title,
                description=offer.description,
                mime_type=offer.media_type or None,
            )
            for offer in page
        ]
        return found, make_cursor(reached) if reached < len(listed) else None

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """List those whose addresses have places."""
        return [
            types.ResourceTemplate(
                uri_template=offer.name,
                name=offer.title,
                title=offer.title,
                description=offer.description,
                mime_type=offer.media_type or None,
            )
            for offer in self._offers.list("resource")
            if offer.is_template
        ]

    async def has(self, _: Caller, uri: str) -> bool:
        """Tell whether an address is one of these."""
        return self._offers.find_resource(uri) is not None

    async def read(
        self, ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult | None:
        """Read one; None where there is nothing."""
        uri = str(params.uri)
        found = self._offers.find_resource(uri)
        if found is None:
            return None
        offer, arguments = found
        try:
            value = await self._called(
                ctx,
                offer,
                offer.read(arguments),
                round_of(params.request_state),
                params.input_responses,
            )
        except (NotFound, InvalidInput):
            return None
        except AgencyError as error:
            raise _refused(error) from error
        except _Failed as failed:
            if isinstance(failed.error, LookupError):
                return None
            raise MCPError(types.INTERNAL_ERROR, self._redacted(failed.text)) from failed
        if isinstance(value, types.InputRequiredResult):
            return value
        part = _part_from(value)
        if offer.media_type:
            part = replace(part, media_type=offer.media_type)
        return types.ReadResourceResult(contents=[resource_of(part, uri)])

    # --- prompts --------------------------------------------------------------------------

    async def prompts(self, _: Caller) -> Sequence[types.Prompt]:
        """List the prompts by name."""
        return [_prompt_of(offer) for offer in self._offers.list("prompt")]

    async def get(
        self, ctx: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult | None:
        """Write a prompt."""
        offer = self._offers.find("prompt", params.name)
        if offer is None:
            return None
        try:
            value = await self._called(
                ctx,
                offer,
                offer.read(params.arguments or {}),
                round_of(params.request_state),
                params.input_responses,
            )
        except AgencyError as error:
            raise _refused(error) from error
        except _Failed as failed:
            raise MCPError(types.INTERNAL_ERROR, self._redacted(failed.text)) from failed
        if isinstance(value, types.InputRequiredResult):
            return value
        return types.GetPromptResult(
            description=offer.description or None, messages=_messages_of(value)
        )

    # --- completion -----------------------------------------------------------------------

    async def complete(
        self, _: Caller, params: types.CompleteRequestParams
    ) -> Sequence[str] | None:
        """Propose values of an argument of a prompt, or of a place in an address."""
        match params.ref:
            case types.PromptReference(name=name):
                offer = self._offers.find("prompt", name)
            case types.ResourceTemplateReference(uri=uri):
                offer = self._offers.find("resource", str(uri))
            case _:
                offer = None
        if offer is None:
            return None
        known = offer.complete.get(params.argument.name, ())
        begun = params.argument.value
        if not callable(known):
            return [value for value in known if value.startswith(begun)][:COMPLETIONS_MAX]
        outcome = await foreign.attempt(asyncio.to_thread(known, begun))
        if isinstance(outcome, Raised):
            raise MCPError(types.INTERNAL_ERROR, self._redacted(foreign.text_of(outcome.error)))
        return [str(value) for value in outcome.value][:COMPLETIONS_MAX]

    # --- calling --------------------------------------------------------------------------

    async def _called(
        self,
        ctx: Context,
        offer: Offer,
        arguments: Mapping[str, Any],
        began: Round,
        responses: Mapping[str, Any] | None,
    ) -> Any:  # noqa: ANN401  author's value
        """Call the function; where it asks what is not replied to yet, give the questions.

        Raises:
            AgencyError: the function has raised one of ours.
            MCPError: the client cannot be asked.
            _Failed: it has raised something else, or taken too long.
        """
        turn = Turn(self._places, timeout_s=CALL_S)
        call = Call(
            ctx, began, responses or {}, turn=turn, changes=self._changes, levels=self._levels
        )
        try:
            async with turn.taken():
                outcome = await foreign.attempt(offer.function(call, **arguments))
        except Asked as asked:
            state = Round(id=began.id, replies=_written(call.used)).to_text()
            requests = {key: request_of(one) for key, one in asked.questions.items()}
            return types.InputRequiredResult(input_requests=requests, request_state=state)
        except TimeoutError:
            raise _Failed(TimeoutError(f"It has taken longer than {CALL_S:g} s.")) from None
        if not isinstance(outcome, Raised):
            return outcome.value
        error = outcome.error
        if isinstance(error, ClientCannot) and is_modern(ctx):
            raise missing_capability({error.capability: {}}) from error
        if isinstance(error, MCPError | AgencyError):
            raise error
        log.info(
            "an offer failed",
            extra={"offer": offer.name, "kind": offer.kind, "error": type(error).__name__},
        )
        raise _Failed(error)

    def _redacted(self, text: str) -> str:
        return self._means.services.vault.redact(text)


class _Failed(Exception):
    """An author's function has raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.text = foreign.text_of(error) or type(error).__name__
        super().__init__(self.text)


def _tool_of(offer: Offer) -> types.Tool:
    title = offer.title or offer.name
    return types.Tool(
        name=offer.name,
        title=title,
        description=offer.description,
        input_schema=dict(offer.arguments),
        output_schema=dict(offer.output_schema) or None,
        annotations=types.ToolAnnotations(title=title),
    )


def _prompt_of(offer: Offer) -> types.Prompt:
    required = offer.arguments.get("required", [])
    return types.Prompt(
        name=offer.name,
        title=offer.title or None,
        description=offer.description,
        arguments=[
            types.PromptArgument(
                name=name, description=schema.get("description"), required=name in required
            )
            for name, schema in offer.arguments.get("properties", {}).items()
        ],
    )


def _check_needs(ctx: Context, offer: Offer) -> None:
    """Check that the client can do what a tool needs.

    Raises:
        MCPError: it has not declared it.
    """
    missing: dict[str, Any] = {need: {} for need in offer.needs if not can(ctx, need)}
    if offer.as_task and not follows_tasks(ctx):
        missing["extensions"] = {TASKS: {}}
    if missing:
        raise missing_capability(missing)


def _result_of(offer: Offer, value: Any) -> types.CallToolResult:  # noqa: ANN401  author's value
    """Make the result of a tool of what its function has returned.

    Raises:
        InvalidInput: it is not JSON.
        ValueTooLarge: it is larger than a result may be.
    """
    try:
        if offer.output is not None and not isinstance(value, Content):
            body = offer.output.encode(value)
            text = types.TextContent(type="text", text=body.decode())
            return types.CallToolResult(content=[text], structured_content=json.decode(body))
        content = content_from(value)
    except json.NotJson as error:
        raise InvalidInput(f"The tool has returned what is not JSON: {error}.") from error
    for part in content.parts:
        _bounded(part)
    plain = value if isinstance(value, dict) else None
    return types.CallToolResult(content=blocks_of(content), structured_content=plain)


def _failure(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _refused(error: AgencyError) -> MCPError:
    """Make the protocol's error of ours, for what is no tool."""
    if isinstance(error, ClientCannot):
        return missing_capability({error.capability: {}})
    faults = [{"where": one.where, "what": one.what} for one in getattr(error, "faults", ())]
    return MCPError(types.INVALID_PARAMS, str(error), data={"code": error.code, "faults": faults})


def _messages_of(value: Any) -> list[types.PromptMessage]:  # noqa: ANN401  author's value
    """Make the messages of a prompt.

    Raises:
        MCPError: they are not what a prompt may be.
    """
    several = value if isinstance(value, list | tuple) else [value]
    messages = []
    for one in several:
        message = one if isinstance(one, McpMessage) else McpMessage(content=one)
        if not isinstance(message.content, str | Part):
            raise MCPError(
                types.INTERNAL_ERROR, "The prompt has returned what is neither text nor a part."
            )
        content = block_of(_part_from(message.content))
        messages.append(types.PromptMessage(role=message.role, content=content))
    return messages


def _bounded(part: Part) -> Part:
    """Give a part that is not too large to be answered with.

    Raises:
        ValueTooLarge: it is.
    """
    size_bytes = len(part.raw) + len(part.text)
    if size_bytes > VALUE_BYTES_MAX:
        raise ValueTooLarge("What was returned", size_bytes, VALUE_BYTES_MAX)
    return part


def _part_from(value: Any) -> Part:  # noqa: ANN401  author's value
    """Make a part of what a function has returned.

    Raises:
        MCPError: it is not JSON, or too large.
    """
    try:
        return _bounded(part_of(value))
    except (json.NotJson, ValueTooLarge) as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error


def _written(replies: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write replies as the protocol does, to be read again with the next round."""
    return {
        key: reply
        if isinstance(reply, dict)
        else reply.model_dump(mode="json", by_alias=True, exclude_none=True)
        for key, reply in replies.items()
    }
