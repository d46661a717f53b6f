"""What is known of the files in a folder, so that only those that have changed are read again.

As in git's index: a file whose size, times and inode are those that were noted when it was read is
taken for unchanged. One that was changed so shortly before it was read that a further change could
bear the same times is not trusted. Source: git's documentation, technical/racy-git.
What was noted before the machine was started anew is not trusted, either: sizes and times may have
reached the disk where contents have not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from agency.core import json

RACY_NS = 50_000_000
"""Times of files are those of the kernel's last tick, which is at most 10 ms ago on any kernel."""
RACY_COARSE_NS = 2_000_000_000
"""On file systems that know whole seconds only, or even ones."""

_FORMAT = 1


class Stat(NamedTuple):
    """By what a file is known to be unchanged."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stat_of(found: os.stat_result) -> Stat:
    """Take from a stat what is compared."""
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_racy(stat: Stat, read_at_ns: int) -> bool:
    """Tell whether a file could change once more and still look the same.

    Args:
        read_at_ns: The wall clock before the file was read.
    """
    is_coarse = stat.mtime_ns % 1_000_000_000 == 0 and stat.ctime_ns % 1_000_000_000 == 0
    margin_ns = RACY_COARSE_NS if is_coarse else RACY_NS
    return max(stat.ctime_ns, stat.mtime_ns) > read_at_ns - margin_ns


@dataclass(slots=True)
class Index:
    """What is known of a folder.

    Attributes:
        known: By path, how a file looked and the hash of its content.
    """

    known: dict[str, tuple[Stat, str]] = field(default_factory=dict)

    def copy(self) -> Index:
        """Make one that can be changed without this one."""
        return Index(dict(self.known))

    def find(self, path: str, stat: Stat) -> str | None:
        """Give the hash of a file that has not changed since it was read."""
        found = self.known.get(path)
        return found[1] if found is not None and found[0] == stat else None

    def note(self, path: str, stat: Stat, hash: str, *, read_at_ns: int) -> None:
        """Note how a file looked when it was read."""
        if is_racy(stat, read_at_ns):
            self.known.pop(path, None)
        else:
            self.known[path] = (stat, hash)

    def forget_others(self, paths: Mapping[str, object]) -> None:
        """Forget what is not there any more."""
        self.known = {path: known for path, known in self.known.items() if path in paths}


def load(path: Path) -> Index:
    """Read an index; what cannot be trusted is an empty one."""
    try:
        said = json.decode(path.read_bytes())
        if said["format"] != _FORMAT or said["boot"] != boot():
            return Index()
        known = {
            bytes.fromhex(name).decode(errors="surrogateescape"): (Stat(*stat), hash)
            for name, stat, hash in said["known"]
        }
    except (OSError, json.NotJson, KeyError, TypeError, ValueError):
        return Index()
    return Index(known)


def save(path: Path, index: Index) -> None:
    """Write an index. It is not synced: a lost one costs time, nothing else."""
    content = json.encode(
        {
            "format": _FORMAT,
            "boot": boot(),
            "known": [
                [name.encode(errors="surrogateescape").hex(), [*stat], hash]
                for name, (stat, hash) in index.known.items()
            ],
        }
    )
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        # A full disk, most likely. The old one would speak of what was before.
        for one in (new, path):
            with contextlib.suppress(OSError):
                one.unlink()


@cache
def boot() -> str:
    """Name this start of the machine; where it cannot be told, this process."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return secrets.token_hex(16)
