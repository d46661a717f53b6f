"""The file of an exported run: JSON lines, with checksums of each sort of parts and of the whole.

The first line says what it is, the second holds the run; then come the journal's entries, the
waits, the messages of its conversation and the events in its mailbox; the last line holds the
checksums. A file that was cut off has no last line. It holds what the run has recorded, and no
tokens.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeVar

import orjson

from agency.core import json
from agency.core.clock import to_text
from agency.core.ids import is_id
from agency.core.limits import (
    ATTEMPTS_MAX,
    NAME_CHARACTERS_MAX,
    PRIORITY_MAX,
    TRANSFER_BYTES_MAX,
    VALUE_BYTES_MAX,
)
from agency.core.records import dataclass
from agency.domain.entry import WATCHED_ONLY, Entry, EntryKind
from agency.domain.run import Phase, Run
from agency.domain.transfer import (
    EntryPart,
    EventPart,
    ExportForm,
    FilePart,
    MessagePart,
    Part,
    WaitPart,
)
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.errors import ExportCorrupt, ExportFormatUnknown, ExportTooLarge
from agency.version import VERSION

FORMAT = "agency-snapshot/1"
LINE_BYTES_MAX = VALUE_BYTES_MAX + (1 << 20)
"""A line holds one value of a run, which has a limit, and what is around it."""
KEY_CHARACTERS_MAX = 16 * NAME_CHARACTERS_MAX
TEXT_CHARACTERS_MAX = 4 * NAME_CHARACTERS_MAX
_TAGS_MAX = 64
_YEAR_MIN, _YEAR_MAX = 1970, 9000
_PARTS = ("run", "entry", "wait", "message", "event")
_ROLES = frozenset({"user", "assistant", "system", "tool"})

_HASH = re.compile(r"[0-9a-f]{64}")
_CONTENT = b'{"part":"file","is_version":false'
"""How the line of a content begins; it is not decoded where it is not wanted."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says of itself."""

    run_id: str
    snapshot_id: str | None
    receipt_id: str | None
    exported_at: datetime

    @property
    def is_move(self) -> bool:
        return self.receipt_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """The run of a file, as far as it is the same elsewhere."""

    id: str
    name: str | None
    workflow: str
    version: str
    phase: str
    input: Any
    session_id: str | None
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    deadline_at: datetime | None
    seed: int
    idempotency_key: str | None
    request_hash: str | None
    correlation_id: str
    principal: str
    tags: Mapping[str, str]
    provider: str | None
    concurrency_key: str | None
    generation: int
    newest_entry: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file that is whole: its hash (SHA-256, hexadecimal), and how many parts of each sort."""

    head: Head
    run: RunPart
    hash: str
    counts: Mapping[str, int]


class Digest:
    """Checksums of the lines of a file, in order.

    Attributes:
        size_bytes: Of all lines so far.
    """

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._parts = {part: hashlib.sha256() for part in _PARTS}
        self._counts = dict.fromkeys(_PARTS, 0)
        self.size_bytes = 0

    def add(self, line: bytes, part: str = "") -> bytes:
        """Count a line, and give it back.

        Raises:
            ExportTooLarge: the file is too large with it.
        """
        self.size_bytes += len(line)
        if self.size_bytes > TRANSFER_BYTES_MAX:
            raise ExportTooLarge(TRANSFER_BYTES_MAX)
        self._whole.update(line)
        if part:
            # Files without such a part are as they were before there was that sort.
            self._parts.setdefault(part, hashlib.sha256()).update(line)
            self._counts[part] = self._counts.get(part, 0) + 1
        return line

    @property
    def hash(self) -> str:
        """Of all lines so far; it names the file."""
        return self._whole.hexdigest()

    @property
    def counts(self) -> Mapping[str, int]:
        return self._counts

    def end(self) -> dict[str, Any]:
        """Make the last line's content."""
        parts = {part: made.hexdigest() for part, made in self._parts.items()}
        return {"part": "end", "counts": self._counts, "sha256": parts, "whole": self.hash}


# --- writing -------------------------------------------------------------------------------


def head_line(run: Run, form: ExportForm, *, files_left_out_bytes: int = 0) -> bytes:
    """Write what the file is.

    Args:
        files_left_out_bytes: Of the run's own files, when they are too large to go with it.
    """
    head: dict[str, Any] = {
        "format": FORMAT,
        "agency": VERSION,
        "run_id": run.id,
        "snapshot_id": form.snapshot_id,
        "receipt_id": form.receipt_id,
        "exported_at": to_text(form.exported_at),
    }
    if files_left_out_bytes:
        head["files_left_out_bytes"] = files_left_out_bytes
    return _line(head)


def run_line(run: Run, request_hash: str | None, *, newest_entry: int) -> bytes:
    """Write the run, but for what its end or another database would change."""
    made = {
        "id": run.id,
        "name": run.name,
        "workflow": run.workflow,
        "version": run.version,
        "phase": run.phase,
        "input": run.input,
        "session_id": run.session_id,
        "queue": run.queue,
        "priority": run.priority,
        "attempt": run.attempt,
        "max_attempts": run.max_attempts,
        "created_at": to_text(run.created_at),
        "deadline_at": _text(run.deadline_at),
        "seed": run.seed,
        "idempotency_key": run.idempotency_key,
        "request_hash": request_hash,
        "correlation_id": run.correlation_id,
        "principal": run.principal,
        "tags": dict(run.tags),
        "provider": run.provider,
        "concurrency_key": run.concurrency_key,
        "generation": run.generation,
        "newest_entry": newest_entry,
    }
    return _line({"part": "run", **made})


def part_line(part: Part) -> tuple[str, bytes]:
    """Write a part, and tell of which sort it is."""
    match part:
        case EntryPart(entry=entry, is_void=is_void):
            return "entry", _line(
                {
                    "part": "entry",
                    "key": entry.key,
                    "kind": entry.kind.name.lower(),
                    "at": to_text(entry.at),
                    "is_void": is_void,
                    "meta": orjson.Fragment(entry.meta) if entry.meta else None,
                    "body": orjson.Fragment(entry.body),
                }
            )
        case WaitPart(wait=wait):
            return "wait", _line(
                {
                    "part": "wait",
                    "key": wait.key,
                    "kind": wait.kind,
                    "name": wait.name,
                    "due_at": _text(wait.due_at),
                    "show": wait.show,
                    "target": wait.target,
                    "opened_at": to_text(wait.opened_at),
                    "outcome": wait.outcome,
                    "payload": wait.payload,
                    "resolved_at": _text(wait.resolved_at),
                }
            )
        case MessagePart():
            return "message", _line(
                {
                    "part": "message",
                    "role": part.role,
                    "content": part.content,
                    "created_at": to_text(part.created_at),
                    "is_own": part.is_own,
                }
            )
        case EventPart():
            return "event", _line(
                {
                    "part": "event",
                    "id": part.id,
                    "name": part.name,
                    "payload": part.payload,
                    "created_at": to_text(part.created_at),
                }
            )
        case FilePart():
            return "file", _file_line(part)


def _file_line(part: FilePart) -> bytes:
    return _line(
        {
            "part": "file",
            "is_version": part.is_version,
            "hash": part.hash,
            "offset": part.offset,
            "content": base64.b64encode(part.content).decode(),
        }
    )


def end_line(digest: Digest) -> bytes:
    """Write the checksums."""
    return _line(digest.end())


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


# --- reading -------------------------------------------------------------------------------


def check(file: BinaryIO, *, entries_max: int) -> Checked:
    """Read a file from its start, and make sure that it is whole and holds what it may.

    Blocks: call it in a thread.

    Raises:
        ExportCorrupt, ExportFormatUnknown, ExportTooLarge.
    """
    file.seek(0)
    digest = Digest()
    known: set[tuple[str, str]] = set()
    line, value = _next(file, 1)
    if value.get("format") != FORMAT:
        raise ExportFormatUnknown(str(value.get("format"))[:64], FORMAT)
    head = _made(1, _head, value)
    digest.add(line)
    line, value = _next(file, 2)
    if value.get("part") != "run":
        raise ExportCorrupt(2, "the run is missing")
    run = _made(2, _run, value)
    digest.add(line, "run")
    number = 3
    contents = _Contents()
    line, value = _next(file, number)
    while value.get("part") != "end":
        part = _made(number, _part, value)
        contents.add(number, part)
        name = _name_of(part)
        if name is not None and name in known:
            raise ExportCorrupt(number, f"there are two of {name[0]} {name[1][:64]!r}")
        if name is not None:
            known.add(name)
        digest.add(line, value["part"])
        if digest.counts["entry"] > entries_max:
            raise ExportCorrupt(number, f"it has more than {entries_max} entries")
        number += 1
        line, value = _next(file, number)
    contents.end(number)
    if value != digest.end():
        raise ExportCorrupt(number, "the checksums are not those of what stands above")
    if file.read(1):
        raise ExportCorrupt(number + 1, "something follows the end")
    return Checked(head=head, run=run, hash=digest.hash, counts=dict(digest.counts))


class _Contents:
    """Makes sure that the pieces of contents follow each other, and are what their hashes say."""

    def __init__(self) -> None:
        self._hash = ""
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, number: int, part: Part) -> None:
        """Take the next part. Raises: ExportCorrupt."""
        if not isinstance(part, FilePart):
            return
        if part.offset == 0:
            self.end(number)
            self._hash, self._size, self._digest = part.hash, 0, hashlib.sha256()
        if part.hash != self._hash or part.offset != self._size:
            raise ExportCorrupt(number, "a piece of a file is missing")
        self._digest.update(part.content)
        self._size += len(part.content)

    def end(self, number: int) -> None:
        """Judge the last content. Raises: ExportCorrupt."""
        if self._hash and self._digest.hexdigest() != self._hash:
            raise ExportCorrupt(number, "a file above is not what its hash says")


def contents_of(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Read the contents of a file that was checked, each with its hash. Blocks."""
    hash, content = "", bytearray()
    for part in Parts(file, has_contents=True):
        if not isinstance(part, FilePart):
            continue
        if part.offset == 0 and hash:
            yield hash, bytes(content)
            content.clear()
        hash = part.hash
        content += part.content
    if hash:
        yield hash, bytes(content)


class Parts:
    """The parts of a file that was checked, read anew from its beginning each time. Blocks."""

    def __init__(self, file: BinaryIO, *, has_contents: bool = False) -> None:
        """Take the file.

        Args:
            has_contents: Give contents of files, too, and not only the versions among them: they
                are large, and not for the database.
        """
        self._file = file
        self._has_contents = has_contents

    def __iter__(self) -> Iterator[Part]:
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if line.startswith(_CONTENT) and not self._has_contents:
                continue
            value = json.decode(line)
            if number > 2 and value["part"] != "end":
                yield _part(value)


def _next(file: BinaryIO, number: int) -> tuple[bytes, dict[str, Any]]:
    line = file.readline(LINE_BYTES_MAX + 1)
    if not line:
        raise ExportCorrupt(number, "it ends here, without its last line")
    if len(line) > LINE_BYTES_MAX:
        raise ExportCorrupt(number, f"the line has more than {LINE_BYTES_MAX} bytes")
    if not line.endswith(b"\n"):
        raise ExportCorrupt(number, "it ends in the middle of the line")
    try:
        value = json.decode(line)
    except json.NotJson as error:
        raise ExportCorrupt(number, f"the line is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ExportCorrupt(number, "the line is no object")
    return line, value


def _made(number: int, make: Callable[[dict[str, Any]], T], value: dict[str, Any]) -> T:
    try:
        return make(value)
    except KeyError as error:
        raise ExportCorrupt(number, f"{error.args[0]!r} is missing") from error
    except (ValueError, TypeError) as error:
        raise ExportCorrupt(number, str(error)) from error


def _name_of(part: Part) -> tuple[str, str] | None:
    """What no two parts of a file may share; None if they may."""
    match part:
        case EntryPart(entry=entry):
            return "entry", entry.key
        case WaitPart(wait=wait):
            return "wait", wait.key
        case EventPart():
            return "event", part.id
        case FilePart():
            return "file", f"{part.hash} at {part.offset}"
        case MessagePart():
            return None


def _head(value: dict[str, Any]) -> Head:
    return Head(
        run_id=_id(value["run_id"]),
        snapshot_id=None if value["snapshot_id"] is None else _id(value["snapshot_id"]),
        receipt_id=None if value["receipt_id"] is None else _id(value["receipt_id"]),
        exported_at=_moment(value["exported_at"]),
    )


def _run(value: dict[str, Any]) -> RunPart:
    tags = value["tags"]
    if not isinstance(tags, dict) or len(tags) > _TAGS_MAX:
        raise ValueError("the tags are no object of a few")
    deadline_at = value["deadline_at"]
    return RunPart(
        id=_id(value["id"]),
        name=_name(value["name"]),
        workflow=_text_of(value["workflow"]),
        version=_text_of(value["version"]),
        phase=Phase(value["phase"]).value,
        input=value["input"],
        session_id=_name(value["session_id"]),
        queue=_text_of(value["queue"]),
        priority=_whole(value["priority"], -PRIORITY_MAX, PRIORITY_MAX),
        attempt=_whole(value["attempt"], 1, ATTEMPTS_MAX),
        max_attempts=_whole(value["max_attempts"], 1, ATTEMPTS_MAX),
        created_at=_moment(value["created_at"]),
        deadline_at=None if deadline_at is None else _moment(deadline_at),
        seed=_whole(value["seed"], 0, (1 << 64) - 1),
        idempotency_key=_name(value["idempotency_key"]),
        request_hash=_name(value["request_hash"]),
        correlation_id=_text_of(value["correlation_id"], may_be_empty=True),
        principal=_text_of(value["principal"], may_be_empty=True),
        tags={_text_of(name): _text_of(one, may_be_empty=True) for name, one in tags.items()},
        provider=_name(value["provider"]),
        concurrency_key=_name(value["concurrency_key"]),
        generation=_whole(value["generation"], 0, 1 << 31),
        newest_entry=_whole(value["newest_entry"], 0, 1 << 62),
    )


def _part(value: dict[str, Any]) -> Part:
    match value["part"]:
        case "entry":
            return _entry(value)
        case "wait":
            return _wait(value)
        case "message":
            if value["role"] not in _ROLES or not isinstance(value["is_own"], bool):
                raise ValueError("the message is of nobody")
            return MessagePart(
                role=value["role"],
                content=value["content"],
                created_at=_moment(value["created_at"]),
                is_own=value["is_own"],
            )
        case "event":
            return EventPart(
                id=_text_of(value["id"]),
                name=_text_of(value["name"]),
                payload=value["payload"],
                created_at=_moment(value["created_at"]),
            )
        case "file":
            return _file(value)
        case other:
            raise ValueError(f"a part {str(other)[:64]!r} is not known")


def _file(value: dict[str, Any]) -> FilePart:
    hash, content, is_version = value["hash"], value["content"], value["is_version"]
    is_hash = isinstance(hash, str) and _HASH.fullmatch(hash) is not None
    is_whole = isinstance(content, str) and isinstance(is_version, bool)
    if not (is_hash and is_whole):
        raise ValueError("a piece of a file is none")
    return FilePart(
        hash=hash,
        is_version=is_version,
        offset=_whole(value["offset"], 0, TRANSFER_BYTES_MAX),
        content=base64.b64decode(content, validate=True),
    )


def _entry(value: dict[str, Any]) -> EntryPart:
    kind = EntryKind[_text_of(value["kind"]).upper()]
    key, body, is_void = _key(value["key"]), value["body"], value["is_void"]
    if kind in WATCHED_ONLY or not isinstance(is_void, bool):
        raise ValueError(f"the entry {key[:64]!r} is not one that a run records")
    if not is_void and not _fits(kind, key, body):
        raise ValueError(f"the entry {key[:64]!r} does not hold what its kind does")
    meta = value["meta"]
    entry = Entry(
        key,
        kind,
        json.encode(body),
        _moment(value["at"]),
        None if meta is None else json.encode(meta),
    )
    return EntryPart(entry, is_void)


def _fits(kind: EntryKind, key: str, body: Any) -> bool:  # noqa: ANN401  JSON value
    """Tell whether an entry holds what is read of it without a further look."""
    match kind:
        case EntryKind.INTENT:
            return key.rpartition("!")[2].isdecimal()
        case EntryKind.WINNER:
            return isinstance(body, dict) and isinstance(body.get("name"), str)
        case EntryKind.NOW:
            return type(body) is int
        case EntryKind.FAILURE:
            wanted = ("code", "error_class", "message")
            return (
                isinstance(body, dict)
                and "details" in body
                and all(isinstance(body.get(name), str) for name in wanted)
            )
        case EntryKind.ATTEMPT | EntryKind.CHILD | EntryKind.WAIT:
            return isinstance(body, dict)
        case _:
            return True


def _wait(value: dict[str, Any]) -> WaitPart:
    kind = WaitKind(value["kind"])
    outcome = None if value["outcome"] is None else WaitOutcome(value["outcome"])
    due_at, resolved_at = value["due_at"], value["resolved_at"]
    if outcome is None and (kind is not WaitKind.TIMER or due_at is None):
        raise ValueError("only timers may be open")
    if (outcome is None) != (resolved_at is None):
        raise ValueError("a wait has a moment of its outcome, and no other has")
    return WaitPart(
        Wait(
            key=_key(value["key"]),
            kind=kind,
            name=_text_of(value["name"], may_be_empty=True),
            due_at=None if due_at is None else _moment(due_at),
            show=value["show"],
            target=_text_of(value["target"], may_be_empty=True),
            opened_at=_moment(value["opened_at"]),
            outcome=outcome,
            payload=value["payload"],
            resolved_at=None if resolved_at is None else _moment(resolved_at),
            resolved_number=0,
        )
    )


def _key(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= KEY_CHARACTERS_MAX:
        raise ValueError("a key is missing or too long")
    return value


def _text_of(value: object, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        raise ValueError("a text is missing or too long")
    if not value and not may_be_empty:
        raise ValueError("a text is empty")
    return value


def _name(value: object) -> str | None:
    return None if value is None else _text_of(value)


def _id(value: object) -> str:
    if not isinstance(value, str) or not is_id(value):
        raise ValueError("an id is none")
    return value.lower()


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"a number is not between {least} and {most}")
    return value


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("a moment is missing")  # noqa: TRY004  the caller catches both
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None or not _YEAR_MIN <= moment.year <= _YEAR_MAX:
        raise ValueError(f"{value!r} is no moment in UTC")
    return moment.astimezone(UTC)
