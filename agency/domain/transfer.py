"""Runs on their way from one database to another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from agency.core.records import dataclass
from agency.domain.entry import Entry
from agency.domain.wait import Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportForm:
    """What of a run is in its file. From the same form comes the same file, byte by byte.

    Attributes:
        snapshot_id: Snapshot that was asked for, or None.
        receipt_id: Receipt of the move; None for a copy.
        at: Newest number of an entry that may be in it.
        dropped: Numbers of entries that are left out.
        waits: Keys of the waits that are in it.
        open_waits: Those of them that are open at the other end.
        messages_until: Moment up to which the session's messages are in it.
        events_to: Number of the newest event that may be in it; 0 for a copy, which has none.
    """

    exported_at: datetime
    snapshot_id: str | None
    receipt_id: str | None
    at: int
    dropped: Sequence[int]
    waits: Sequence[str]
    open_waits: Sequence[str]
    messages_until: datetime
    events_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That a run was moved away.

    Attributes:
        hash: SHA-256 of the file, hexadecimal.
        confirmed_at: When its arrival was confirmed; the file cannot be fetched after that.
    """

    id: str
    run_id: str
    snapshot_id: str
    hash: str
    size_bytes: int
    form: ExportForm
    created_at: datetime
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryPart:
    """An entry of the file; ``is_void`` if a retry has superseded it."""

    entry: Entry
    is_void: bool


@dataclass(frozen=True, slots=True)
class WaitPart:
    """A wait of the file."""

    wait: Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePart:
    """A turn of the run's conversation; ``is_own`` if the run has added it."""

    role: str
    content: Any
    created_at: datetime
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPart:
    """An event that is in the run's mailbox and was not taken."""

    id: str
    name: str
    payload: Any
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """A piece of a content of the run's files; the pieces of one follow each other.

    Attributes:
        hash: SHA-256 of the whole content, hexadecimal.
        is_version: The content is a version of the files, which the run refers to.
        offset: Where in the content the piece begins.
    """

    hash: str
    is_version: bool
    offset: int
    content: bytes


Part = EntryPart | WaitPart | MessagePart | EventPart | FilePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a run is brought in.

    Attributes:
        hash: SHA-256 of the file, hexadecimal.
        is_move: It is the same run as before, and not a copy.
        again: Make another copy although the file was brought in before.
        generation: Of the run: children that it starts from now on are others.
        attempt: Of the run.
        phase: Of the run.
    """

    hash: str
    is_move: bool
    again: bool
    generation: int
    attempt: int
    phase: str
