"""What a version of a workspace says: its files, folders and links; and how that is written.

A version is itself a stored content, named by its hash. Most differ little from the one before, so
most only say what has changed: a chain of at most `DEPTH_MAX` of them leads to one that says all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from agency.core import json
from agency.core.records import dataclass

FORMAT = 1
DEPTH_MAX = 16
"""Versions that are read to know one: beyond it all is said anew."""

VERSION_BYTES_MAX = 64 << 20
"""A version as it is stored: more than 100,000 files of the longest usual names."""


class Kind(StrEnum):
    FILE = "f"
    FOLDER = "d"
    LINK = "l"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link.

    Attributes:
        mode: Permission bits; 0 of a link.
        size: Bytes of a file, else 0.
        what: SHA-256 of a file's content, or where a link leads; empty for a folder.
    """

    kind: Kind
    mode: int
    size: int = 0
    what: str = ""


Tree = Mapping[str, Entry]
"""By relative path. Bytes that are no UTF-8 are surrogates, as in `os.fsdecode`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A kept state.

    Attributes:
        before: The version that the last change is taken back to; empty for the empty folder, None
            when there is nothing to take back.
        depth: Versions that have to be read to know this one, but for itself.
    """

    tree: Tree
    before: str | None = None
    depth: int = 0

    @property
    def files(self) -> int:
        return sum(entry.kind is Kind.FILE for entry in self.tree.values())

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.tree.values())


class NoVersion(ValueError):
    """A content is not a version."""


def write(version: Version, *, base_name: str | None = None, base: Version | None = None) -> bytes:
    """Write a version, as what differs from ``base`` if that is shorter; equal ones come out equal.

    Args:
        base_name: Name of ``base``.
    """
    if base is not None and base_name is not None and base.depth < DEPTH_MAX:
        changed = {
            path: entry for path, entry in version.tree.items() if base.tree.get(path) != entry
        }
        removed = [path for path in base.tree if path not in version.tree]
        if len(changed) + len(removed) <= len(version.tree) // 2:
            return _encode(version.before, base_name, changed, removed)
    return _encode(version.before, None, version.tree, [])


def _encode(before: str | None, base: str | None, entries: Tree, removed: list[str]) -> bytes:
    return json.encode(
        {
            "format": FORMAT,
            "before": before,
            "base": base,
            "removed": [_named(path) for path in sorted(removed)],
            "entries": [
                [_named(path), entry.kind, entry.mode, entry.size, _named(entry.what)]
                for path, entry in sorted(entries.items())
            ],
        }
    )


def read(name: str, load: Callable[[str], bytes]) -> Version:
    """Read a version, with those that it builds upon.

    Args:
        load: Reads a content by its hash.

    Raises:
        NoVersion: a content is not a version.
        whatever ``load`` raises.
    """
    chain: list[dict[str, Any]] = []
    wanted: str | None = name
    while wanted is not None:
        if len(chain) > DEPTH_MAX:
            raise NoVersion(f"{name} builds upon too many others")
        said = _decode(wanted, load(wanted))
        chain.append(said)
        wanted = said["base"]
    tree: dict[str, Entry] = {}
    for said in reversed(chain):
        for path in said["removed"]:
            tree.pop(_path(path), None)
        for path, kind, mode, size, what in said["entries"]:
            tree[_path(path)] = Entry(Kind(kind), mode, size, _path(what))
    return Version(tree=tree, before=chain[0]["before"], depth=len(chain) - 1)


def refers_to(name: str, content: bytes) -> tuple[str | None, list[str]]:
    """Tell what a version builds upon, and the hashes of the contents that it names itself.

    Raises:
        NoVersion: it is none.
    """
    said = _decode(name, content)
    return said["base"], [
        what for _, kind, _, _, what in said["entries"] if kind == Kind.FILE.value
    ]


def _decode(name: str, content: bytes) -> dict[str, Any]:
    try:
        said = json.decode(content)
    except json.NotJson as error:
        raise NoVersion(f"{name} is no version: {error}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise NoVersion(f"{name} is no version of the format {FORMAT}")
    return said


def _named(path: str) -> str:
    """Write a path as JSON can hold it: one that is no UTF-8 as NUL and its bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "\0" + path.encode(errors="surrogateescape").hex()
    return path


def _path(name: str) -> str:
    if name.startswith("\0"):
        return bytes.fromhex(name[1:]).decode(errors="surrogateescape")
    return name
