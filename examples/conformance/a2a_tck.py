"""What the A2A Technology Compatibility Kit wants of the agent that it tests.

Not for use: `conformance/a2a_tck.py` names this file in ``[workflows] paths`` and starts a daemon
of its own. Line 1.0 of the kit says by the beginning of a message's id what is to happen; line 0.3
wants an agent that works for a second and then asks for more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agency import (
    Content,
    Context,
    Rejected,
    bytes_part,
    data_part,
    link_part,
    text_part,
    workflow,
)

WORK_S = 1.0
RESUBSCRIBE_S = 4.0
"""Twice the time for which the kit listens to a stream."""
ROUNDS_MAX = 20
"""Messages of one conversation in line 0.3."""

Doing = Callable[[Context], Awaitable[Any]]


def hands_out(*parts: Any) -> Doing:
    """Make a behaviour: one artifact, and the end."""

    async def do(ctx: Context) -> None:
        await ctx.deliver("output", *parts)

    return do


async def complete(ctx: Context) -> str:
    return "Hello from TCK"


async def end(ctx: Context) -> None:
    return None


async def answer(ctx: Context) -> Content:
    return Content(parts=[text_part("Direct message response")], is_message=True)


async def ask(ctx: Context) -> str:
    answer = await ctx.input("What else is there?")
    # A longer history is made of messages that each leave the task waiting.
    while "history message" in str(answer):
        answer = await ctx.input("What else is there?")
    return "Hello from TCK"


async def refuse(ctx: Context) -> None:
    raise Rejected("rejected")


async def chunks(ctx: Context) -> None:
    await ctx.deliver("output", "chunk-1 ", is_last=False)
    await ctx.deliver("output", "chunk-2", append=True)


async def linger(ctx: Context) -> None:
    await ctx.sleep(RESUBSCRIBE_S)


async def converse(ctx: Context) -> str:
    """Work for a second and ask for more, as line 0.3 wants it."""
    for _ in range(ROUNDS_MAX):
        await ctx.sleep(WORK_S)
        await ctx.input("What else is there?")
    return "That is enough."


FILE = bytes_part(b"Generated file content", media_type="text/plain", name="output.txt")

# The first that fits counts: longer beginnings come first.
BEHAVIOURS: tuple[tuple[str, Doing], ...] = (
    ("tck-artifact-file-url", hands_out(
        link_part("https://example.com/output.txt", media_type="text/plain", name="output.txt")
    )),
    ("tck-artifact-file", hands_out(FILE)),
    ("tck-artifact-text", hands_out("Generated text content")),
    ("tck-artifact-data", hands_out(data_part({"key": "value", "count": 42}))),
    ("tck-message-response", answer),
    ("tck-input-required", ask),
    ("tck-reject-task", refuse),
    ("tck-stream-artifact-chunked", chunks),
    ("tck-stream-artifact-text", hands_out("Streamed text content")),
    ("tck-stream-artifact-file", hands_out(FILE)),
    ("tck-stream-001", hands_out("Stream hello from TCK")),
    ("tck-stream-002", end),
    ("tck-stream-003", hands_out("Stream task lifecycle")),
    ("tck-stream-ordering-001", hands_out("Ordered output")),
    ("tck-", complete),
    ("test-resubscribe-message-id", linger),
)  # fmt: skip


@workflow("tck")
async def tck(ctx: Context, message: Content) -> Any:
    """Do what the beginning of a message's id says."""
    for beginning, do in BEHAVIOURS:
        if message.name.startswith(beginning):
            return await do(ctx)
    return await converse(ctx)
