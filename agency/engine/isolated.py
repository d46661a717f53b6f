"""Steps that must be killable: each runs in a process of its own.

The child is told over its standard input, as JSON, which function of which module to call, and
answers over a pipe of its own, so that what the function prints is only output. Nothing is
pickled: arguments and result are JSON, like everything that a run keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.errors import InvalidInput

_ANSWER_FD_VARIABLE = "AGENCY_ISOLATED_ANSWER_FD"
_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Isolation:
    """Where a function is found again by another process."""

    path: str
    module: str
    name: str


def locate(function: Callable[..., Any]) -> Isolation:
    """Say where a function is defined.

    Raises:
        InvalidInput: it is nested, a lambda or a method, so that no other process can find it.
    """
    name = getattr(function, "__qualname__", "")
    path = inspect.getsourcefile(function)
    if not name.isidentifier() or path is None:
        raise InvalidInput(
            f"The step function {name or function!r} cannot run in a process of its own.",
            hint="Define it with def at the top level of a module.",
        )
    return Isolation(path=str(Path(path).resolve()), module=function.__module__, name=name)


class ProcessPool:
    """Runs functions in child processes, ``processes_max`` at once."""

    def __init__(self, processes_max: int) -> None:
        self._places = asyncio.Semaphore(processes_max)

    async def call(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        *,
        timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401  JSON value
        """Call ``function(*args)`` in a new process and return its result, as JSON has it.

        When this is cancelled, or at the time limit, the process and all its children are killed
        before it returns. Waiting for a place does not count towards the limit.

        Raises:
            InvalidInput: the function or its arguments cannot be handed over.
            IsolatedError: it raised; ``error_class`` is the class.
            ProcessDied: its process ended without a result.
            TimeoutError: the time limit was reached.
        """
        where = locate(function)
        request = json.encode(
            {"path": where.path, "module": where.module, "name": where.name, "args": list(args)}
        )
        async with self._places, asyncio.timeout(timeout_s):
            return await self._call(where, request)

    async def _call(self, where: Isolation, request: bytes) -> Any:  # noqa: ANN401  JSON value
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "agency.engine.isolated",
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                start_new_session=True,
                env={**os.environ, _ANSWER_FD_VARIABLE: str(write_fd)},
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        try:
            answer = await _converse(process, request, read_fd)
            code = await process.wait()
        except BaseException:
            await _kill(process)
            raise
        if not answer:
            raise ProcessDied(
                f"The process of {where.name} ended with {code} and without a result."
            )
        outcome = json.decode(answer)
        if "error" in outcome:
            raise IsolatedError(outcome["error"]["class"], outcome["error"]["message"])
        return outcome["result"]


class ProcessDied(Exception):
    """The process of an isolated step ended without a result: killed, or by ``os._exit``."""


class IsolatedError(Exception):
    """The function raised in its process; ``error_class`` is the class it raised."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


async def _converse(process: asyncio.subprocess.Process, request: bytes, read_fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(read_fd, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        assert process.stdin is not None
        process.stdin.write(request)
        with contextlib.suppress(ConnectionError):  # it died early; its exit code tells
            await process.stdin.drain()
        process.stdin.close()
        return await reader.read()
    finally:
        transport.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(_KILL_WAIT_S):
        await process.wait()


def serve() -> None:
    """Be the child: read one request, call the function, write one answer."""
    from agency.engine.modules import load_module

    answer_fd = int(os.environ.pop(_ANSWER_FD_VARIABLE))
    request = json.decode(sys.stdin.buffer.read())
    outcome: dict[str, Any]
    try:
        module = sys.modules.get(request["module"]) or load_module(
            Path(request["path"]), request["module"]
        )
        result = getattr(module, request["name"])(*request["args"])
        if inspect.isawaitable(result):
            result = asyncio.run(_await(result))
        outcome = {"result": json.decode(json.encode(result))}
    except Exception as error:  # noqa: BLE001  reported to the parent
        outcome = {"error": {"class": type(error).__name__, "message": str(error)}}
    with os.fdopen(answer_fd, "wb") as answer:
        answer.write(json.encode(outcome))


async def _await(work: Any) -> Any:  # noqa: ANN401  author's value
    return await work


if __name__ == "__main__":
    serve()
