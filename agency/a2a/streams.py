"""Streams of an operation over HTTP: errors before the first event are plain answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError
from aiohttp import web

from agency.a2a import wire
from agency.a2a.calls import Call
from agency.a2a.refusals import Refusal, refusal_of
from agency.errors import AgencyError
from agency.web.relay import event, relay
from agency.web.sse import STREAMS

Writing = Callable[[pb.StreamResponse], Any]


async def stream(
    request: web.Request,
    call: Call,
    *,
    write: Writing,
    refuse: Callable[[Refusal], Any],
    headers: Mapping[str, str],
    is_always_stream: bool = False,
) -> web.StreamResponse:
    """Answer with the events of a call.

    Args:
        request: What is answered.
        call: Of an operation that is a stream.
        write: Writes an event as a JSON value.
        refuse: Writes an error after the first event as a JSON value.
        headers: Of the answer.
        is_always_stream: An error before the first event is told in the stream as well, as
            clients of 0.3 expect it.

    Raises:
        A2AError, AgencyError: it is refused before its first event.
        TooManyStreams, ShuttingDown: there is no room for a stream.
    """
    with request.app[STREAMS].place():
        async with aclosing(call.events()) as events:
            try:
                first = await anext(events, None)
                frames = _frames(first, events, write=write, refuse=refuse)
            except (A2AError, AgencyError) as error:
                if not is_always_stream:
                    raise
                frames = _refused(refuse(refusal_of(error)))
            published = call.target.published
            fields = {"agent": published.name, "operation": call.operation.name}
            return await relay(request, frames, name="task", fields=fields, headers=headers)


async def _frames(
    first: pb.StreamResponse | None,
    events: AsyncGenerator[pb.StreamResponse, None],
    *,
    write: Writing,
    refuse: Callable[[Refusal], Any],
) -> AsyncGenerator[bytes, None]:
    if first is None:
        return
    yield event(wire.encode(await wire.apart(first, write)))
    try:
        async for one in events:
            yield event(wire.encode(await wire.apart(one, write)))
    except (A2AError, AgencyError) as error:
        yield event(wire.encode(refuse(refusal_of(error))), name="error")


async def _refused(told: object) -> AsyncGenerator[bytes, None]:
    yield event(wire.encode(told))
