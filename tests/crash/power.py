"""A power cut: what was written and not synced is gone, or a part of it.

The process is killed first; then the undo log of ``shim.c`` is read, and what came after the last
sync of each file is taken back, newest first. What a real disk leaves of unsynced writes is any
part of them, and of a write any of its sectors: that is played too, by a seed.

Names of files are durable once their folder was synced: a file that was created and whose folder
was not synced is gone; one that was unlinked is there again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SECTOR_BYTES = 512
"""Disks write whole sectors: a smaller part of a write cannot be lost by itself."""

Loss = Literal["all", "some", "torn"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the undo log and its bytes; fields that a kind has not are 0."""

    position: int
    kind: str
    name: str = ""
    offset: int = 0
    size: int = 0
    length: int = 0
    number: int = 0
    old: bytes = b""


@dataclass(frozen=True, slots=True)
class Unsynced:
    """A write that was taken back, and what it had written."""

    path: Path
    offset: int
    new: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """What a power cut has taken back: writes, created files, unlinked files."""

    writes: int
    created: int
    unlinked: int
    kept: int


def read_log(path: Path) -> Iterator[Record]:
    """Read an undo log. A last record that was cut off had nothing to take back yet."""
    text = path.read_bytes()
    position = 0
    while position < len(text):
        end = text.find(b"\n", position)
        if end < 0:
            return
        kind, *fields = text[position:end].decode().split(" ")
        record = _record(position, kind, fields)
        if kind in "WT":
            old_bytes = int(fields[-1])
            old = text[end + 1 : end + 1 + old_bytes]
            if len(old) < old_bytes:
                return
            record = Record(
                position, kind, record.name, record.offset, record.size, record.length, 0, old
            )
            end += old_bytes
        yield record
        position = end + 1


def _record(position: int, kind: str, fields: list[str]) -> Record:
    match kind:
        case "W":
            offset, size, length = map(int, fields[1:4])
            return Record(position, kind, fields[0], offset, size, length)
        case "T":
            size, wanted = map(int, fields[1:3])
            return Record(position, kind, fields[0], wanted, size)
        case "C":
            return Record(position, kind, fields[0])
        case "U" | "S":
            return Record(position, kind, fields[0], number=int(fields[1]))
        case "D":
            return Record(position, kind, number=int(fields[0]))
        case _:
            raise ValueError(f"an undo log has no records of kind {kind!r}")


def cut_power(
    database: Path, log: Path, *, loss: Loss = "all", source: random.Random | None = None
) -> Cut:
    """Bring the files of a database to where a power cut would have left them.

    The process that wrote them must have ended. The log is used up.

    Args:
        database: The database file; its log and journal are beside it.
        log: What ``SHIM_UNDO`` named.
        loss: ``all`` that was not synced is lost; ``some`` of the writes are; or ``some`` sectors
            of them.
        source: What chooses; needed unless all is lost.
    """
    folder = database.parent
    synced: dict[str, int] = {}
    folder_synced = -1
    dead: set[str] = set()
    taken: list[Unsynced] = []
    writes = created = unlinked = 0
    for record in reversed(list(read_log(log))):
        path = folder / record.name
        match record.kind:
            case "D":
                folder_synced = max(folder_synced, record.number)
            case "S" if record.name not in dead:
                synced[record.name] = max(synced.get(record.name, -1), record.number)
            case "W" | "T" if record.name not in dead:
                if record.position >= synced.get(record.name, -1):
                    writes += 1
                    taken += _take_back(path, record)
            case "C":
                synced.pop(record.name, None)
                dead.discard(record.name)
                if record.position >= folder_synced:
                    created += 1
                    path.unlink(missing_ok=True)
            case "U":
                synced.pop(record.name, None)
                dead.discard(record.name)
                if record.position >= folder_synced:
                    unlinked += 1
                    log.with_name(f"{log.name}.{record.number}").rename(path)
                else:
                    dead.add(record.name)
            case _:
                assert record.kind in "SWT"
    kept = 0
    if loss != "all":
        assert source is not None
        kept = _put_some_back(list(reversed(taken)), loss, source)
    # A machine that was off has forgotten the index of the write-ahead log.
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    for used in (log, *log.parent.glob(f"{log.name}.*")):
        used.unlink(missing_ok=True)
    return Cut(writes, created, unlinked, kept)


def _take_back(path: Path, record: Record) -> list[Unsynced]:
    with path.open("r+b") as file:
        if record.kind == "T":
            file.truncate(record.offset)
            file.seek(record.offset)
            file.write(record.old)
            file.truncate(record.size)
            return []
        file.seek(record.offset)
        new = file.read(record.length)
        file.seek(record.offset)
        file.write(record.old)
        file.truncate(record.size)
        return [Unsynced(path, record.offset, new)] if new else []


def _put_some_back(writes: list[Unsynced], loss: Loss, source: random.Random) -> int:
    """Let some of the unsynced writes have reached the disk all the same."""
    kept = 0
    for write in writes:
        if not write.path.exists():
            continue
        parts = _sectors(write) if loss == "torn" else [write]
        with write.path.open("r+b") as file:
            for part in parts:
                if source.random() < 0.5:
                    kept += 1
                    file.seek(part.offset)
                    file.write(part.new)
    return kept


def _sectors(write: Unsynced) -> list[Unsynced]:
    parts = []
    offset, rest = write.offset, write.new
    while rest:
        length = SECTOR_BYTES - offset % SECTOR_BYTES
        parts.append(Unsynced(write.path, offset, rest[:length]))
        offset, rest = offset + length, rest[length:]
    return parts
