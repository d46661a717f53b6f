"""Reading a daemon's streams of updates: as they come, and again from where they were cut off.

Source: WHATWG HTML, section 9.2.6 (how event streams are interpreted).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from agency.core.clock import monotonic_s
from agency.core.json import NotJson, decode
from agency.core.records import dataclass
from agency.errors import AnswerLost, DaemonUnreachable, ShuttingDown, TooManyStreams

LIVE = frozenset({"pending", "running", "suspended"})
LINE_BYTES_MAX = 1 << 20
"""Longest line that is read: far above what a daemon sends."""
_PAUSE_S = 0.25
_PAUSE_S_MAX = 2.0

Lines = Iterable[bytes]
Open = Callable[[Mapping[str, str]], AbstractContextManager[Lines | None]]
"""Opens the stream with further headers; None when nothing will come."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream. ``id`` is empty when it has none."""

    name: str
    data: str
    id: str


def parse_events(lines: Lines) -> Iterator[Event]:
    """Put lines together; comments and what is cut off are left out."""
    name, number = "message", ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(name, "\n".join(data), number)
            name, number, data = "message", "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id" if value.isdecimal():
                number = value


def follow(
    open_stream: Open, url: str, *, after: int | None, patience_s: float, has_end: bool
) -> Iterator[dict[str, Any]]:
    """Read updates, and connect again with the id of the last one when the stream is cut off.

    Args:
        open_stream: Opens the stream.
        url: Of the daemon, for messages.
        after: Id after which to begin; None to begin now.
        patience_s: How long a daemon that was there may be away.
        has_end: It is one run's stream, which ends with the run.

    Raises:
        AgencyError: what ``open_stream`` raises; what may pass by itself only when nothing was
            heard for ``patience_s``, or at the first try.
    """
    last, is_known = after, False
    heard_s, pause_s = monotonic_s(), _PAUSE_S
    while True:
        try:
            with open_stream({} if last is None else {"Last-Event-ID": str(last)}) as lines:
                if lines is None:
                    return
                for event in parse_events(lines):
                    heard_s, pause_s, is_known = monotonic_s(), _PAUSE_S, True
                    if event.id:
                        last = int(event.id)
                    if event.name == "connected":
                        continue
                    document = _document(event, url)
                    yield document
                    if has_end and _is_end(document):
                        return
                    heard_s = monotonic_s()
        except (AnswerLost, DaemonUnreachable, ShuttingDown, TooManyStreams):
            if not is_known or monotonic_s() - heard_s > patience_s:
                raise
        time.sleep(pause_s)
        pause_s = min(_PAUSE_S_MAX, pause_s * 2)


def _document(event: Event, url: str) -> dict[str, Any]:
    try:
        document = decode(event.data)
    except NotJson as error:
        raise AnswerLost(url, "an update is not whole JSON") from error
    if not isinstance(document, dict):
        raise AnswerLost(url, "an update is no JSON object")
    if event.name == "token":
        document["type"] = "token"
    return document


def _is_end(document: Mapping[str, Any]) -> bool:
    return document.get("type") == "status" and document.get("status") not in LIVE
