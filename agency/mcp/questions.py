"""Questions to MCP clients: asked while they wait, or answered with and asked again.

Up to 2025-11-25 a server sends requests to its client; a client of 2026-07-28 is answered with
``input_required`` and sends its request again with the responses.
Source: MCP 2025-11-25, client/elicitation, client/sampling, client/roots; SEP-2322.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar, assert_never

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from agency.engine.offers import (
    Elicit,
    Elicited,
    Question,
    Reply,
    Root,
    Roots,
    Sample,
    Sampled,
)
from agency.errors import ClientCannot, ClientRefused, InvalidInput
from agency.mcp.forms import flat_schema

Context = ServerRequestContext[Any, Any]

REASON_CHARACTERS_MAX = 500
"""Of what a client says why it does not answer."""

Item = TypeVar("Item")

TASKS = "io.modelcontextprotocol/tasks"
"""Identifier of the extension for tasks. Source: SEP-2663."""


def is_modern(ctx: Context) -> bool:
    """Tell whether a request is one that carries everything with it, and can be sent again."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def capability_of(question: Question) -> str:
    """Name what a client has to be able to do to answer."""
    match question:
        case Elicit():
            return "elicitation"
        case Sample():
            return "sampling"
        case Roots():
            return "roots"
        case _:
            assert_never(question)


def can(ctx: Context, capability: str) -> bool:
    """Tell whether the client has declared a capability.

    A client that has declared only that it opens addresses cannot show forms.
    """
    declared = ctx.session.client_capabilities
    if declared is None:
        return False
    if capability != "elicitation":
        return getattr(declared, capability, None) is not None
    found = declared.elicitation
    return found is not None and (found.form is not None or found.url is None)


def has_extension(ctx: Context, identifier: str) -> bool:
    """Tell whether the client has declared an extension for this request."""
    declared = ctx.session.client_capabilities
    return declared is not None and identifier in (declared.extensions or {})


def missing_capability(required: Mapping[str, Any]) -> MCPError:
    """Make the error by which a client learns what it would have to be able to do.

    Source: SEP-2575, "Missing Required Capabilities".
    """
    return MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"The client does not declare what this needs: {', '.join(sorted(required))}.",
        data={"requiredCapabilities": dict(required)},
    )


def check_can(ctx: Context, capability: str) -> None:
    """Check that the client has declared a capability.

    Raises:
        ClientCannot: it has not.
    """
    if not can(ctx, capability):
        raise ClientCannot(capability)


def request_of(question: Question) -> types.InputRequest:
    """Write a question as the protocol does.

    Raises:
        InvalidInput: it is for a form that the protocol cannot show.
    """
    match question:
        case Elicit(message=message):
            return form_request(message, _form_of(question))
        case Sample(prompt=prompt, tokens_max=tokens_max, system=system):
            text = types.TextContent(type="text", text=prompt)
            return types.CreateMessageRequest(
                params=types.CreateMessageRequestParams(
                    messages=[types.SamplingMessage(role="user", content=text)],
                    max_tokens=tokens_max,
                    system_prompt=system or None,
                )
            )
        case Roots():
            return types.ListRootsRequest()
        case _:
            assert_never(question)


def _form_of(question: Elicit) -> Mapping[str, Any]:
    """Give the schema of a form; one that is written by hand is taken as it is.

    Raises:
        InvalidInput: the model has fields that a form cannot have.
    """
    wanted = question.requested_schema()
    if isinstance(question.schema, Mapping):
        return wanted
    flat = flat_schema(wanted)
    if flat is None:
        raise InvalidInput(
            f"The model of the form {question.message!r} has fields that are not plain.",
            hint="Texts, numbers, booleans and choices are; ask for others in several fields.",
        )
    return flat


def form_request(message: str, schema: Mapping[str, Any]) -> types.ElicitRequest:
    """Write a question for a form."""
    wanted = dict(schema)
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=wanted)
    )


def reply_of(question: Question, response: object) -> Reply | None:
    """Read a client's response; None when it is none to this question.

    Raises:
        InvalidInput: what was filled in does not fit.
    """
    match question, _typed(question, response):
        case Elicit(), types.ElicitResult(action=action, content=content):
            if action != "accept":
                return Elicited(action=action)
            return Elicited(action=action, content=question.decode(content or {}))
        case Sample(), types.CreateMessageResult(content=types.TextContent(text=text), model=model):
            return Sampled(text=text, model=model)
        case Roots(), types.ListRootsResult(roots=roots):
            return [Root(uri=str(one.uri), name=one.name or "") for one in roots]
        case _:
            return None


def _typed(question: Question, response: object) -> object:
    """Read what an earlier round has left, which is written as the protocol does."""
    if not isinstance(response, dict):
        return response
    try:
        match question:
            case Elicit():
                return types.ElicitResult.model_validate(response, by_name=False)
            case Sample():
                return types.CreateMessageResult.model_validate(response, by_name=False)
            case Roots():
                return types.ListRootsResult.model_validate(response, by_name=False)
            case _:
                assert_never(question)
    except ValidationError:
        return None


async def together(asking: Sequence[Coroutine[Any, Any, Item]]) -> Sequence[Item]:
    """Do several things at once; the first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asking]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def send(ctx: Context, request: types.InputRequest) -> types.InputResponse:
    """Ask the client while its call waits, on the stream of the call.

    When the caller is cancelled, the client is told that its response is not wanted any more.

    Raises:
        ClientRefused: it answers with an error, or with what is no response.
    """
    try:
        return await _sent(ctx, request)
    except MCPError as error:
        raise ClientRefused(error.error.message[:REASON_CHARACTERS_MAX]) from error
    except ValidationError as error:
        raise ClientRefused("its response is none of the protocol's.") from error


async def _sent(ctx: Context, request: types.InputRequest) -> types.InputResponse:
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    match request:
        case types.ElicitRequest():
            return await ctx.session.send_request(request, types.ElicitResult, metadata=related)
        case types.CreateMessageRequest():
            return await ctx.session.send_request(
                request, types.CreateMessageResult, metadata=related
            )
        case types.ListRootsRequest():
            return await ctx.session.send_request(request, types.ListRootsResult, metadata=related)
        case _:
            assert_never(request)
