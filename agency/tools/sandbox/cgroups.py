"""Control groups, which bound memory and processes of a command as a whole, where there are any.

Only a group that a service manager has handed over is used (``Delegate=`` of systemd marks it with
an extended attribute, or makes its user the owner of a service's group): the scope of a terminal
belongs to its user, too, and has processes of others in it, which are never moved. A group with
processes may have no groups with limits below it, so the daemon moves itself into a leaf of its own
first.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst; systemd, docs/CGROUP_DELEGATION.md.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from agency.core.ids import new_id
from agency.core.records import dataclass
from agency.errors import SandboxFailed

MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_LEAF = "daemon"
_PREFIX = "command-"
_WANTED = ("memory", "pids")


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group of one command."""

    path: Path

    @property
    def entrance(self) -> Path:
        """A process that writes 0 here is in the group, with all that it starts."""
        return self.path / "cgroup.procs"

    def kill(self) -> None:
        """End everything in it, at once and for good."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def was_out_of_memory(self) -> bool:
        """Tell whether something in it was ended for want of memory."""
        return _count(self.path / "memory.events", "oom_kill") > 0

    def was_refused_processes(self) -> bool:
        """Tell whether a process could not be started for the bound."""
        return _count(self.path / "pids.events", "max") > 0

    def close(self) -> None:
        """Remove it; it is empty when everything in it has ended."""
        self.kill()
        # One that is still busy is removed by the next start.
        with suppress(OSError):
            self.path.rmdir()


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The delegated group, ready to have groups of commands below it."""

    base: Path

    def open(self, *, memory_bytes_max: int | None, processes_max: int | None) -> Cgroup:
        """Make the group of a command.

        Raises:
            SandboxFailed: it cannot be made.
        """
        group = Cgroup(self.base / f"{_PREFIX}{new_id()}")
        try:
            group.path.mkdir()
            if memory_bytes_max is not None:
                (group.path / "memory.max").write_text(str(memory_bytes_max))
                # Without an account for swap there is no such file, and no swap to bound.
                with suppress(FileNotFoundError):
                    (group.path / "memory.swap.max").write_text("0")
            if processes_max is not None:
                (group.path / "pids.max").write_text(str(processes_max))
        except OSError as error:
            group.close()
            raise SandboxFailed(f"A control group could not be made: {error}.") from error
        return group


def open_cgroups(*, mount: Path = MOUNT, own: Path = _OWN) -> Cgroups | None:
    """Take over the group that was delegated to this process; None when there is none."""
    base = find_delegated(mount=mount, own=own)
    if base is None:
        return None
    try:
        for left in base.glob(f"{_PREFIX}*"):
            Cgroup(left).close()
        leaf = base / _LEAF
        leaf.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text().split():
            # It may have ended meanwhile.
            with suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(pid)
        control = base / "cgroup.subtree_control"
        control.write_text(" ".join(f"+{name}" for name in _WANTED))
    except OSError:
        return None
    return Cgroups(base)


def find_delegated(*, mount: Path = MOUNT, own: Path = _OWN) -> Path | None:
    """Find the group that was delegated to this process, with what is needed; None without."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    inside = next((line[3:] for line in lines if line.startswith("0::")), None)
    if inside is None:
        return None
    path = mount / inside.lstrip("/")
    # Where the service manager (DelegateSubgroup=), or an earlier start of ours, has made the leaf.
    base = path.parent if path.name == _LEAF else path
    if base == mount or not _is_delegated(base):
        return None
    try:
        there = (base / "cgroup.controllers").read_text().split()
    except OSError:
        return None
    return base if set(_WANTED) <= set(there) else None


def _is_delegated(path: Path) -> bool:
    try:
        is_own = os.geteuid() != 0 and path.stat().st_uid == os.geteuid()
        if is_own and path.name.endswith(".service"):
            return os.access(path, os.W_OK)
        marks = [
            os.getxattr(path, name)
            for name in ("user.delegate", "trusted.delegate")
            if name in os.listxattr(path)
        ]
    except OSError:
        return False
    return b"1" in marks and os.access(path, os.W_OK)


def _count(path: Path, key: str) -> int:
    try:
        words = path.read_text().split()
    except OSError:
        return 0
    return int(words[words.index(key) + 1]) if key in words else 0
