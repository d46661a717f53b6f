"""Paths as models write them, and what is said when they lead nowhere."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from agency.core import beneath
from agency.core.suggestions import nearest
from agency.domain.tool import ToolOutput
from agency.ports.tool import ToolContext
from agency.ports.workspace import OWN, RESULTS

T = TypeVar("T")

_ROOTS = ("/workspace", "/work", "/app", "/sandbox")
"""What models take for the folder when they have not been told of it."""


def relative(path: str, folder: Path) -> str:
    """Make a path relative that a model has written as if it were absolute."""
    path = path.strip().removeprefix("file://")
    for root in (str(folder), *_ROOTS):
        if path == root:
            return "."
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    return path


def own_refusal(path: str) -> str | None:
    """Say why a file cannot be changed that tools keep for themselves; None if it is none.

    The name is compared as file systems do that do not tell case or composition apart.
    """
    try:
        parts = beneath.split(path)
    except beneath.Unreachable:
        return None
    if parts and unicodedata.normalize("NFC", parts[0]).casefold() == OWN:
        return f"Files under {OWN} are the tools' own and cannot be changed."
    return None


def failed(text: str) -> ToolOutput:
    """Tell the model what is wrong."""
    return ToolOutput(content=text, is_error=True)


async def attempt(
    context: ToolContext, threads: Executor, path: str, work: Callable[[Path, str], T]
) -> T | ToolOutput:
    """Do something with a file of the workspace, in a thread; what a model can mend is an output.

    Args:
        work: Gets the folder and the relative path; raises OSError.
    """
    folder = await context.workspace.folder()
    path = relative(path, folder)
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(threads, partial(work, folder, path))
    except FileNotFoundError:
        if path.startswith(f"{RESULTS}/"):
            return failed(
                f"There is no file {path!r}: old results are removed. Make the call again."
            )
        similar = await loop.run_in_executor(threads, partial(_similar, folder, path))
        return failed(f"There is no file {path!r}.{similar}")
    except beneath.Unreachable as error:
        return failed(error.strerror or str(error))
    except OSError as error:
        return failed(f"{path!r} cannot be used: {error.strerror}.")


def _similar(folder: Path, path: str) -> str:
    """Name what is near to a path that is not there."""
    try:
        *above, name = beneath.split(path)
        with beneath.folder(folder, tuple(above)) as descriptor, os.scandir(descriptor) as entries:
            names = sorted(entry.name for entry in entries if entry.name != OWN)
    except (OSError, ValueError):
        return " List the files with list_files."
    likely = nearest(name, names)
    if likely is not None:
        return f" Did you mean {'/'.join([*above, likely])!r}?"
    where = "/".join(above) or "the workspace"
    shown = ", ".join(repr(one) for one in names[:20])
    return f" In {where} there is: {shown}." if names else f" There is nothing in {where}."
