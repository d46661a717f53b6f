"""Programs of ours that work on what models and strangers have written, and may have to be killed.

A pattern or a page can keep the standard library busy for hours, and one call of it holds the
interpreter: in a thread it would hold up the whole daemon, and nothing could stop it. So such work
is done by a small program in a process of its own, which imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

_PIECE_BYTES = 1 << 16


async def ask_program(
    path: Path, given: bytes, *, timeout_s: float, bytes_max: int
) -> tuple[bytes, bool]:
    """Run a program of ours, and hand back what it has written until its end, or its limit.

    Args:
        given: What it reads from standard input.
        bytes_max: Of what it writes; with more, or later, it is killed.

    Returns:
        What it has written, and whether it came to its end by itself.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    said = bytearray()
    is_whole = False
    try:
        async with asyncio.timeout(timeout_s):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(given)
            # All programs read everything before they write anything.
            with suppress(ConnectionError):
                await process.stdin.drain()
            process.stdin.close()
            while len(said) <= bytes_max and (piece := await process.stdout.read(_PIECE_BYTES)):
                said += piece
            if len(said) <= bytes_max:
                is_whole = await process.wait() == 0
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return bytes(said[:bytes_max]), is_whole
