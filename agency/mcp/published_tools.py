"""Each published workflow and agent as a tool: a call of it starts a run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import CallToolRequestParams, Tool, ToolAnnotations

from agency.core import json
from agency.engine.runs import StartedRun, StartRequest
from agency.errors import AgencyError, InvalidInput, ShuttingDown
from agency.mcp.answering import answer_with
from agency.mcp.caller import Caller
from agency.mcp.calls import Call, Calls
from agency.mcp.means import Means
from agency.mcp.naming import is_plain, tool_names
from agency.mcp.offerings import Context, Offerings, ToolAnswer, caller_of
from agency.mcp.results import refusal_of
from agency.mcp.schemas import NO_INPUT, input_of, input_schema, output_schema
from agency.mcp.verb_names import VERBS
from agency.web.published import Published, PublishedKind

KEY_META = "agency/idempotency_key"
"""Key of ``_meta`` in a call: the same key and call again is the same run."""

KEY_CHARACTERS_MAX = 256

_NOT_THE_CALLERS = frozenset({"agent", "depth"})
"""Members of an agent's input that the tool itself says, or that delegation counts."""


class PublishedTools:
    """Published workflows and agents as tools."""

    def __init__(self, means: Means, offerings: Offerings, calls: Calls) -> None:
        """Take what they work with."""
        self._means = means
        self._offerings = offerings
        self._calls = calls

    async def tools(self, caller: Caller) -> Sequence[Tool]:
        """List them by name."""
        return [tool_of(name, one) for name, one in self._named().items()]

    def find(self, name: str) -> Published | None:
        """Find what a tool of this name stands for."""
        if is_plain(name, VERBS):
            # The others are not looked at: there may be hundreds, and every call asks.
            one = self._means.publication.find(name)
            if one is not None and one.kind is PublishedKind.WORKFLOW:
                return one
        return self._named().get(name)

    async def call(self, ctx: Context, params: CallToolRequestParams) -> ToolAnswer | None:
        """Start a run, and wait for it as long as clients do."""
        published = self.find(params.name)
        if published is None:
            return None
        with self._calls.noted(ctx) as call:
            try:
                started = await self.start(ctx, published, params, call)
                return await self.wait(ctx, published, started.run.id)
            except AgencyError as error:
                return refusal_of(error)

    async def start(
        self,
        ctx: Context,
        published: Published,
        params: CallToolRequestParams,
        call: Call | None = None,
    ) -> StartedRun:
        """Start the run of a call; when this returns it is durable.

        Raises:
            InvalidInput: its arguments or its key do not fit.
            as `agency.engine.runs.Runs.start`.
        """
        arguments = params.arguments or {}
        request = make_request(
            caller_of(ctx),
            published,
            input_of(published.input_schema if published.takes_input else NO_INPUT, arguments),
            key=key_of(ctx.meta),
        )
        return await start(self._means, request, call)

    async def wait(self, ctx: Context, published: Published, run_id: str) -> ToolAnswer:
        """Wait for a run that a call of this has started, and answer the call.

        Raises:
            RunNotFound: it was deleted meanwhile.
        """
        schema = output_schema(published.output_schema)
        return await answer_with(self._means, self._offerings, ctx, run_id, schema)

    def _named(self) -> Mapping[str, Published]:
        return tool_names(self._means.publication.list(), VERBS)


def tool_of(name: str, published: Published) -> Tool:
    """Make the tool that a published workflow or agent is.

    Of what it does to the world nothing is known, so nothing is said: clients then think the worst.
    """
    is_agent = published.kind is PublishedKind.AGENT
    title = f"Ask {published.name}" if is_agent else published.name
    default = f"Run the workflow {published.name}."
    return Tool(
        name=name,
        title=title,
        description=published.description or default,
        input_schema=input_schema(
            published.input_schema if published.takes_input else NO_INPUT,
            without=_NOT_THE_CALLERS if is_agent else frozenset(),
        ),
        output_schema=output_schema(published.output_schema),
        annotations=ToolAnnotations(title=title),
        _meta={
            "agency/name": published.name,
            "agency/kind": str(published.kind),
            "agency/version": published.version,
        },
    )


def make_request(
    caller: Caller,
    published: Published,
    value: Any,  # noqa: ANN401  JSON value
    *,
    key: str | None,
) -> StartRequest:
    """Make the request for a run that a caller asks for."""
    request = StartRequest(workflow=published.workflow, input=published.input_for(value))
    return request.asked_for(
        idempotency_key=key,
        request_hash=_hash_of(published.name, request.input) if key is not None else None,
        correlation_id=caller.correlation_id,
        principal=caller.principal,
    )


def _hash_of(name: str, value: Any) -> str:  # noqa: ANN401  JSON value
    try:
        return hashlib.sha256(json.encode_canonical([name, value])).hexdigest()
    except json.NotJson as error:
        raise InvalidInput(f"The input is not JSON: {error}.") from error


async def start(means: Means, request: StartRequest, call: Call | None = None) -> StartedRun:
    """Start a run. A call that is broken off meanwhile leaves none that nobody knows of.

    Raises:
        as `agency.engine.runs.Runs.start`.
    """
    if means.services.is_stopping():
        raise ShuttingDown
    starting = asyncio.ensure_future(means.services.runs.start(request))

    def tell(done: asyncio.Future[StartedRun]) -> None:
        has_failed = done.cancelled() or done.exception() is not None
        if call is not None and not has_failed:
            call.run_id.set_result(done.result().run.id)

    starting.add_done_callback(tell)
    try:
        return await asyncio.shield(starting)
    except json.NotJson as error:
        raise InvalidInput(f"The input is not JSON: {error}.") from error


def key_of(meta: Mapping[str, Any] | None) -> str | None:
    """Read the key by which a call that is sent again is known.

    Raises:
        InvalidInput: it is there and has another form.
    """
    key = (meta or {}).get(KEY_META)
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
        raise InvalidInput(
            f"The member {KEY_META!r} of _meta is no key.",
            hint=f"1 to {KEY_CHARACTERS_MAX} printable characters are needed.",
        )
    return key
