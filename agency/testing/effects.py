"""Hears what the code of workflows does to the world outside of their steps.

The interpreter tells of files opened, processes started and connections made by its audit events.
What happens while a branch of a run goes on, and no step is being tried, is done by the workflow's
own code: it will be done again with each replay.

Source: https://docs.python.org/3.11/library/audit_events.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from agency.engine.branch import CURRENT_BRANCH
from agency.engine.parts import CURRENT_STEP

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DONE: Mapping[str, str] = {
    "os.chmod": "changed the mode of",
    "os.link": "linked",
    "os.mkdir": "made the folder",
    "os.remove": "removed",
    "os.rename": "renamed",
    "os.rmdir": "removed the folder",
    "os.symlink": "linked",
    "os.system": "ran",
    "os.truncate": "cut off",
    "open": "wrote to",
    "socket.connect": "connected to",
    "socket.sendto": "sent to",
    "subprocess.Popen": "started",
    "time.sleep": "held up the whole process by time.sleep of",
    "urllib.Request": "asked",
}
"""Audit events that are told, and in what words."""

_STANDARD_LIBRARY = str(Path(os.__file__).parent)

Hear = Callable[[str], None]
_listeners: list[Hear] = []
_is_hooked = False


@contextmanager
def listening(hear: Hear) -> Iterator[None]:
    """Have ``hear`` called with one sentence for each effect outside of a step.

    A hook of the interpreter cannot be taken out again; without a listener it does nothing.
    """
    global _is_hooked  # noqa: PLW0603  the interpreter has only one list of hooks, too
    if not _is_hooked:
        sys.addaudithook(_notice)
        _is_hooked = True
    _listeners.append(hear)
    try:
        yield
    finally:
        _listeners.remove(hear)


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners or event not in _DONE:
        return
    if CURRENT_BRANCH.get() is None or CURRENT_STEP.get() is not None:
        return
    if event == "open" and not _is_writing(arguments):
        return
    place = _author_of(sys._getframe(1))
    if place is None:
        return
    subject = arguments[1] if event.startswith("socket.") else arguments[0]
    for hear in list(_listeners):
        hear(f"{place} {_DONE[event]} {subject!r}")


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    """Tell whether a file is opened to be changed: arguments are path, mode, flags."""
    _, mode, flags = arguments
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & _WRITING)


def _author_of(frame: FrameType | None) -> str | None:
    """Tell where in an author's code the effect was asked for; None if it was not asked there.

    Modules that are imported just now, and what the engine does by itself, are nobody's effect.
    """
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(("importlib.", "agency.")):
            return None
        if not _is_library(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _is_library(path: str) -> bool:
    return path.startswith(("<", _STANDARD_LIBRARY)) or "site-packages" in path
