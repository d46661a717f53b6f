"""The data directory: its lock, and what it must not lie on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agency.errors import DataDirectoryLocked
from agency.storage.sqlite.place import (
    find_network_kind,
    locked,
    network_kind,
    parse_mount_output,
    parse_mountinfo,
)
from tests.unit.storage.conftest import Opener

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/local rw - xfs /dev/vdb rw
32 22 0:30 / /mnt/a\\040b rw,relatime master:1 - fuse.sshfs me@there:/ rw
33 22 0:31 / /mnt/c rw,noatime - 9p C:\\134 rw,dirsync,aname=drvfs;path=C:\\;uid=1000
34 22 0:32 / /sandbox rw - 9p none rw,trans=fd
broken line
"""
MOUNT_OUTPUT = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
//me@server/share on /Volumes/share (smbfs, nodev, nosuid, mounted by me)
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/agency", None),
        ("/home/me/var", "nfs4"),
        ("/homeless", None),
        ("/home/local/var", None),
        ("/mnt/a b/var", "fuse.sshfs"),
        ("/mnt/c/Users", "drvfs"),
        ("/sandbox/var", None),
    ],
)
def test_network_file_systems_are_known_by_their_mount(folder: str, kind: str | None) -> None:
    assert kind == network_kind(Path(folder), parse_mountinfo(MOUNTINFO))


def test_network_file_systems_are_known_on_macos() -> None:
    mounts = parse_mount_output(MOUNT_OUTPUT)

    assert "smbfs" == network_kind(Path("/Volumes/share/var"), mounts)
    assert network_kind(Path("/Users/me"), mounts) is None


def test_this_machine_has_a_mount_table(tmp_path: Path) -> None:
    assert find_network_kind(tmp_path) is None


def test_second_lock_is_refused_with_the_pid(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "data"),
        pytest.raises(DataDirectoryLocked) as refused,
        locked(tmp_path / "data"),
    ):
        pass

    assert os.getpid() == refused.value.pid


def test_lock_is_free_after_leaving(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_lock_ends_with_the_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from agency.storage.sqlite.place import locked\n"
        "lock = locked(Path(sys.argv[1])); lock.__enter__(); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert "held\n" == child.stdout.readline()
        with pytest.raises(DataDirectoryLocked) as refused, locked(tmp_path):
            pass
        child.kill()

    assert child.pid == refused.value.pid
    with locked(tmp_path):
        pass


def test_new_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    with locked(tmp_path / "data"):
        assert 0o700 == (tmp_path / "data").stat().st_mode & 0o777


async def test_open_store_holds_its_folder(opener: Opener) -> None:
    async with opener():
        with pytest.raises(DataDirectoryLocked):
            async with opener():
                pass
