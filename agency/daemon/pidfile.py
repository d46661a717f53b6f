"""The pid file: says which process is the daemon, and is locked as long as that process lives.

The lock decides, not the number: a file that is left behind by a crash has no lock and is taken
over, and a number that the system has given to another process since means nothing. The lock
belongs to the open file, so it is taken before the process detaches and goes with it through the
forks.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agency.errors import AlreadyRunning, PlaceNotWritable


class PidFile:
    """A pid file that this process holds. Make it with `claim_pid_file`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def write(self, pid: int) -> None:
        """Write the number, in place of what is there."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file, if its name still leads to ours, and give up the lock."""
        # Removed under the lock: nobody can have taken it over in between.
        if _leads_to(self.path, self.descriptor):
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def claim_pid_file(path: Path) -> PidFile:
    """Take the pid file for this process, and write its number into it.

    Raises:
        AlreadyRunning: a live process holds it.
        PlaceNotWritable: it cannot be made.
    """
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read(descriptor)
            os.close(descriptor)
            raise AlreadyRunning(str(path), pid) from None
        # Its holder may have removed it between our opening and our locking.
        if _leads_to(path, descriptor):
            held = PidFile(path, descriptor)
            held.write(os.getpid())
            return held
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise PlaceNotWritable(str(path), error.strerror or str(error)) from error


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None
