"""MCP over the standard input and output of a program, as the SDK wants to have it.

The SDK's own transport starts the process itself and ends its group only if it does not leave by
itself: what it has started lives on. Here the program comes from `agency.tools.mcp.program`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from agency.tools.mcp.lines import MESSAGE_BYTES_MAX, Line, Lines, Log, TooLong
from agency.tools.mcp.program import Program
from agency.tools.mcp.sent import Sent

log = logging.getLogger(__name__)

BAD_LINES_MAX = 1000
"""Lines that are no messages, in one life of a server; more, and it speaks something else."""

_ID = re.compile(rb'"id"\s*:\s*(\d+|"[^"\\]*")')


@asynccontextmanager
async def stdio_streams(
    program: Program, *, lines: Lines, log: Log, sent: Sent, on_end: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """Give the pair of streams that a client of the SDK reads and writes.

    Args:
        on_end: Called once, with the reason, when the program says no more.
    """
    incoming, read_stream = anyio.create_memory_object_stream[Any](0)
    write_stream, outgoing = anyio.create_memory_object_stream[Any](0)
    async with anyio.create_task_group() as group:
        group.start_soon(_read, lines, incoming, log, on_end)
        group.start_soon(_write, program, outgoing, sent)
        try:
            yield read_stream, write_stream
        finally:
            group.cancel_scope.cancel()
            for stream in (incoming, read_stream, write_stream, outgoing):
                stream.close()


async def _read(
    lines: Lines,
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
    log: Log,
    on_end: Callable[[str], None],
) -> None:
    bad = 0
    async with incoming:
        while (line := await lines.next()) is not None:
            message = _message_of(line)
            if message is None:
                bad += 1
                shown = bytes(line)[:200] if isinstance(line, bytes) else line.head
                log.say(f"not a message: {shown.decode('utf-8', 'replace')!r}")
                if bad > BAD_LINES_MAX:
                    on_end(f"it wrote more than {BAD_LINES_MAX} lines that are no messages")
                    return
                continue
            try:
                await incoming.send(message)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
        on_end("it wrote more than can be read" if lines.is_flooded else "")


def _message_of(line: Line) -> SessionMessage | None:
    """Read one message; None if it is none."""
    if isinstance(line, TooLong):
        found = _ID.search(line.head) or _ID.search(line.tail)
        if found is None:
            return None
        text = found[1].decode()
        error = types.ErrorData(
            code=types.INTERNAL_ERROR,
            message=f"The answer has {line.size_bytes} bytes; {MESSAGE_BYTES_MAX} are the limit.",
        )
        identity = text[1:-1] if text.startswith('"') else int(text)
        return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=identity, error=error))
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None


async def _write(
    program: Program, outgoing: MemoryObjectReceiveStream[SessionMessage], sent: Sent
) -> None:
    async with outgoing:
        async for message in outgoing:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            # Before: a message that was written in part may have arrived.
            sent.note(message.message)
            try:
                await program.write(text.encode() + b"\n")
            except (ConnectionError, RuntimeError, asyncio.InvalidStateError) as error:
                log.debug("a server reads no more", extra={"reason": repr(error)})
                return
