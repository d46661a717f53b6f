"""Files over HTTP: taken and given piece by piece, so that they cost the memory of a piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import hdrs, web

from agency.core.context import CORRELATION_ID
from agency.core.limits import BODY_READ_S
from agency.errors import AgencyError, BodyLate, BodyMalformed, ContentTypeRefused, ExportTooLarge
from agency.web.guard import seal

LINES = "application/x-ndjson"
"""Media type of JSON lines."""
MARKDOWN = "text/markdown"
"""Media type of Markdown. Source: RFC 7763."""
BYTES = "application/octet-stream"
"""Media type of any file; clients that know no other may send this one."""
_TAKEN = frozenset({LINES, BYTES, "application/jsonl"})
_PIECE_BYTES = 256 * 1024


async def take_file(request: web.Request, file: BinaryIO, *, bytes_max: int) -> None:
    """Write the body of a request into a file.

    Raises:
        ContentTypeRefused: it says that it is something else than JSON lines.
        ExportTooLarge: it has more than ``bytes_max`` bytes; the rest was not read.
        BodyLate: nothing of it came for `limits.BODY_READ_S`.
        BodyMalformed: it was cut off, or cannot be decoded.
    """
    media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type not in _TAKEN:
        raise ContentTypeRefused(media_type[:256], wanted=LINES)
    if (request.content_length or 0) > bytes_max:
        raise ExportTooLarge(bytes_max)
    size = 0
    try:
        while True:
            async with asyncio.timeout(BODY_READ_S):
                piece = await request.content.read(_PIECE_BYTES)
            if not piece:
                return
            size += len(piece)
            if size > bytes_max:
                raise ExportTooLarge(bytes_max)
            await asyncio.to_thread(file.write, piece)
    except TimeoutError as error:
        raise BodyLate(BODY_READ_S) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise BodyMalformed("The body was cut off, or cannot be decoded.") from error


async def read_whole(request: web.Request, *, bytes_max: int, too_large: AgencyError) -> bytes:
    """Read the body of a request that is no JSON, into memory.

    Raises:
        ``too_large``: it has more than ``bytes_max`` bytes; the rest was not read.
        BodyLate: nothing of it came for `limits.BODY_READ_S`.
        BodyMalformed: it was cut off, or cannot be decoded.
    """
    if (request.content_length or 0) > bytes_max:
        raise too_large
    body = bytearray()
    try:
        while True:
            async with asyncio.timeout(BODY_READ_S):
                piece = await request.content.read(_PIECE_BYTES)
            if not piece:
                return bytes(body)
            body += piece
            if len(body) > bytes_max:
                raise too_large
    except TimeoutError as error:
        raise BodyLate(BODY_READ_S) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise BodyMalformed("The body was cut off, or cannot be decoded.") from error


async def give_file(
    request: web.Request, lines: AsyncIterator[bytes], *, name: str, media_type: str = LINES
) -> web.StreamResponse:
    """Answer with a file that is made while it is sent.

    When it cannot be made to its end the connection is cut off: what has come has no last line.
    """
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: media_type
            if media_type == LINES
            else f"{media_type}; charset=utf-8",
            hdrs.CACHE_CONTROL: "no-store",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
        }
    )
    # The guard does it when an answer is whole, which is too late for its head here.
    seal(response, CORRELATION_ID.get())
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    held = bytearray()
    async with aclosing(_closable(lines)) as found:
        async for line in found:
            held += line
            if len(held) >= _PIECE_BYTES:
                await response.write(bytes(held))
                held.clear()
    await response.write(bytes(held))
    await response.write_eof()
    return response


async def give_bytes(
    request: web.Request, pieces: AsyncIterator[bytes], *, name: str, size_bytes: int
) -> web.StreamResponse:
    """Answer with bytes that are checked as they are read, always to be saved, never to be shown.

    The last piece is held back until all are found to be right: what is damaged does not arrive
    as a whole.

    Args:
        name: What the file is called at the other end.

    Raises:
        whatever reading raises, as long as nothing was sent.
    """
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: BYTES,
            hdrs.CACHE_CONTROL: "no-store",
            # Source: RFC 6266, section 5, and RFC 8187.
            hdrs.CONTENT_DISPOSITION: f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            hdrs.CONTENT_LENGTH: str(size_bytes),
        }
    )
    seal(response, CORRELATION_ID.get())
    held: bytes | None = None
    async with aclosing(_closable(pieces)) as found:
        if request.method != hdrs.METH_HEAD:
            async for piece in found:
                if held is not None:
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(held)
                held = piece
    if not response.prepared:
        await response.prepare(request)
    if held is not None:
        await response.write(held)
    await response.write_eof()
    return response


async def _closable(lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for line in lines:
        yield line
