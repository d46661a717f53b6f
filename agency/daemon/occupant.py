"""Which process listens on a port, as far as this user may know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENING = "0A"
_TABLES = ("tcp", "tcp6")


def find_occupant(port: int, *, proc: Path = Path("/proc")) -> str:
    """Describe who listens on a TCP port, ``process 123 (python3)``; empty when it is not known.

    Other users' processes can be looked into by root only, and systems without ``/proc`` tell
    nothing. Source of the table's format: proc_net_tcp in the Linux kernel's documentation.
    """
    try:
        wanted = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
        return next(_holders(wanted, proc), "") if wanted else ""
    except OSError:
        return ""


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in _TABLES:
        path = proc / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            columns = line.split()
            local, state, inode = columns[1], columns[3], columns[9]
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield inode


def _holders(wanted: set[str], proc: Path) -> Iterator[str]:
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        # Processes and files may be gone meanwhile, or not be ours to look into.
        with suppress(OSError):
            if any(_target(link) in wanted for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                yield f"process {process.name} ({name})"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
