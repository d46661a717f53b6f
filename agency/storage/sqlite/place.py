"""The data directory: made, refused where it is unsafe, and locked for one process."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agency.errors import DataDirectoryLocked, NetworkFileSystem

LOCK_FILE = "agency.lock"

_NETWORK = frozenset(
    {
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "drvfs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "pvfs2",
        "smb3",
        "smbfs",
        "webdav",
    }
)
_MOUNT_LINE = re.compile(r"^.+ on (?P<point>/.*) \((?P<kind>[^,)]+)[,)]", re.MULTILINE)
_ESCAPE = re.compile(r"\\([0-7]{3})")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data directory for this process; the folder is made if there is none.

    The lock ends with the process, however it ends. The file stays, because removing it would let
    two processes lock two files of one name.

    Raises:
        NetworkFileSystem: locks and syncs are not safe there.
        DataDirectoryLocked: another process holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = find_network_kind(folder)
    if kind is not None:
        raise NetworkFileSystem(str(folder), kind)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirectoryLocked(str(folder), _read_pid(descriptor)) from error
        os.ftruncate(descriptor, 0)
        # A full disk must not keep the daemon from starting: the pid is only told to people.
        with suppress(OSError):
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def find_network_kind(folder: Path) -> str | None:
    """Tell the type of file system if the folder lies on one that is served over a network.

    A mount table that cannot be read counts as local: a lock that fails will tell then.
    """
    try:
        if sys.platform == "darwin":
            mounts = parse_mount_output(_run_mount())
        else:
            text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
            mounts = parse_mountinfo(text)
    except (OSError, subprocess.SubprocessError):
        return None
    return network_kind(folder.resolve(), mounts)


def _run_mount() -> str:
    done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout


def network_kind(folder: Path, mounts: Mapping[str, str]) -> str | None:
    """Tell the type of the mount that the folder is on if that is a network file system.

    Args:
        folder: Absolute, without symbolic links.
        mounts: Type of file system by mount point.
    """
    for point in (folder, *folder.parents):
        kind = mounts.get(str(point))
        if kind is not None:
            return kind if kind in _NETWORK else None
    return None


def parse_mountinfo(text: str) -> dict[str, str]:
    """Read ``/proc/self/mountinfo`` into types of file system by mount point.

    A Windows drive in a Linux guest (type ``9p``, served by ``drvfs``) counts as ``drvfs``; other
    mounts of that type are the own disk of a sandbox.
    Source: proc_pid_mountinfo(5); later lines lie over earlier ones.
    """
    mounts = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or not rest[0]:
            continue
        point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
        is_drive = rest[0] == "9p" and "aname=drvfs" in rest[-1]
        mounts[point] = "drvfs" if is_drive else rest[0]
    return mounts


def parse_mount_output(text: str) -> dict[str, str]:
    """Read what ``mount`` prints on macOS into types of file system by mount point."""
    return {found["point"]: found["kind"] for found in _MOUNT_LINE.finditer(text)}
