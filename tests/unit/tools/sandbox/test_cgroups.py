"""Control groups, on a folder that looks like a delegated one.

No machine of ours delegates one to tests; what the kernel does with these files is not tested here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency.tools.sandbox.cgroups import Cgroup, find_delegated, open_cgroups

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mount = tmp_path / "cgroup"
    service = mount / "system.slice" / "agency.service"
    service.mkdir(parents=True)
    (service / "cgroup.controllers").write_text("cpu memory pids\n")
    (service / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (service / "cgroup.subtree_control").write_text("")
    if IS_ROOT:
        os.setxattr(service, "user.delegate", b"1")
    return mount


def own(tmp_path: Path, place: str = "/system.slice/agency.service") -> Path:
    path = tmp_path / "own"
    path.write_text(f"4:memory:/elsewhere\n0::{place}\n")
    return path


def test_a_delegated_group_is_taken_over_and_divided(mount: Path, tmp_path: Path) -> None:
    service = mount / "system.slice" / "agency.service"

    groups = open_cgroups(mount=mount, own=own(tmp_path))

    assert groups is not None
    assert "+memory +pids" == (service / "cgroup.subtree_control").read_text()
    assert str(os.getpid()) == (service / "daemon" / "cgroup.procs").read_text()
    group = groups.open(memory_bytes_max=1 << 20, processes_max=9)
    assert service == group.path.parent
    assert str(1 << 20) == (group.path / "memory.max").read_text()
    assert "9" == (group.path / "pids.max").read_text()


def test_the_leaf_of_an_earlier_start_is_known(mount: Path, tmp_path: Path) -> None:
    service = mount / "system.slice" / "agency.service"
    (service / "daemon").mkdir()

    found = find_delegated(mount=mount, own=own(tmp_path, "/system.slice/agency.service/daemon"))

    assert service == found


def test_groups_of_others_are_left_alone(mount: Path, tmp_path: Path) -> None:
    """The scope of a terminal is its user's own, and the user's shell is in it."""
    scope = mount / "user.slice" / "terminal.scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.controllers").write_text("memory pids")

    assert find_delegated(mount=mount, own=own(tmp_path, "/user.slice/terminal.scope")) is None
    assert find_delegated(mount=mount, own=own(tmp_path, "/")) is None
    assert find_delegated(mount=mount, own=tmp_path / "none") is None


def test_a_group_without_the_controllers_is_of_no_use(mount: Path, tmp_path: Path) -> None:
    service = mount / "system.slice" / "agency.service"
    (service / "cgroup.controllers").write_text("cpu hugetlb\n")

    assert open_cgroups(mount=mount, own=own(tmp_path)) is None


def test_what_a_group_has_counted_is_read(tmp_path: Path) -> None:
    group = Cgroup(tmp_path)
    assert not group.was_out_of_memory()

    (tmp_path / "memory.events").write_text("low 0\nmax 4\noom 1\noom_kill 2\n")
    (tmp_path / "pids.events").write_text("max 3\n")

    assert group.was_out_of_memory()
    assert group.was_refused_processes()
