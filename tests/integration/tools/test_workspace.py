"""A run's folder can be put back to any state that was kept."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agency.core.ids import new_id
from agency.errors import InvalidInput, RunNotFound, WorkspaceLost, WorkspaceTooLarge
from agency.files.blobs import SPARE_S
from tests.integration.tools.conftest import OpenPlace, Place


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """What is in a folder: files, links and (as None) folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


async def test_folder_is_put_back_to_each_state_that_was_kept(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "a.txt").write_text("one")
    (folder / "empty").mkdir()
    first = await workspace.keep()
    (folder / "a.txt").write_text("two")
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/run.sh").write_text("#!/bin/sh\n")
    (folder / "deep/er/run.sh").chmod(0o755)
    (folder / "link").symlink_to("deep/er/run.sh")
    (folder / "empty").rmdir()
    second = await workspace.keep()

    await workspace.open(first)
    assert {"a.txt": b"one", "empty": None} == contents(folder)

    await workspace.open(second)
    assert {
        "a.txt": b"two",
        "deep": None,
        "deep/er": None,
        "deep/er/run.sh": b"#!/bin/sh\n",
        "link": "deep/er/run.sh",
    } == contents(folder)
    assert 0o755 == stat.S_IMODE((folder / "deep/er/run.sh").stat().st_mode)

    await workspace.open(None)
    assert {} == contents(folder)


async def test_what_an_interrupted_call_has_left_is_gone(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "a").write_text("kept")
    version = await workspace.keep()
    await workspace.open(version)
    (folder / "a").write_text("half")
    (folder / "b").write_text("half")
    (folder / "pipe").mkdir()

    await workspace.open(version)

    assert {"a": b"kept"} == contents(folder)


async def test_a_change_of_the_same_size_at_the_same_moment_is_seen(place: Place) -> None:
    """Also within one tick of the file system's clock, in which times do not differ."""
    workspace = place.workspace
    folder = await workspace.open(None)
    version = None
    for i in range(200):
        text = f"{i:04}"
        (folder / "a").write_text(text)
        version = await workspace.keep()
        await workspace.open(version)
        (folder / "a").write_text(f"{i + 1:04}")
        after = await workspace.keep()
        assert after != version
        await workspace.open(version)
        assert text == (folder / "a").read_text()


async def test_what_has_not_changed_is_not_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    for i in range(20):
        (folder / f"{i}").write_text(str(i))
        os.utime(folder / f"{i}", (1, 1))
    await workspace.keep()
    # Later than any doubt about the clock of the file system.
    for path in folder.iterdir():
        path.chmod(0o600)
    import time

    monkeypatch.setattr(time, "time_ns", lambda: 1 << 62)
    version = await workspace.keep()
    await workspace.open(version)
    await workspace.keep()
    await workspace.open(version)
    monkeypatch.undo()
    (folder / "new").write_text("new")
    reads = []
    add_file = type(place.workspaces.blobs().batch()).add_file

    def counted(batch: object, source: int, bytes_max: int) -> tuple[str, int]:
        reads.append(source)
        return add_file(batch, source, bytes_max)  # type: ignore[arg-type]

    monkeypatch.setattr(type(place.workspaces.blobs().batch()), "add_file", counted)

    await workspace.keep()

    assert 1 == len(reads)


async def test_same_state_has_the_same_version(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "a").write_text("one")
    first = await workspace.keep()
    await workspace.open(first)
    (folder / "a").write_text("one")

    assert first == await workspace.keep()


async def test_folder_that_was_deleted_is_made_again(open_place: OpenPlace) -> None:
    async with open_place() as place:
        folder = await place.workspace.open(None)
        (folder / "a").write_text("one")
        version = await place.workspace.keep()
    import shutil

    shutil.rmtree(folder.parent)

    async with open_place(run_id=place.run_id) as place:
        assert folder == await place.workspace.open(version)
        assert {"a": b"one"} == contents(folder)


async def test_folder_is_opened_with_the_newest_version_after_a_restart(
    open_place: OpenPlace,
) -> None:
    async with open_place() as place:
        folder = await place.workspace.open(None)
        (folder / "a").write_text("one")
        await place.workspace.keep()
        (folder / "a").write_text("not kept")

    async with open_place(run_id=place.run_id) as place:
        await place.workspace.folder()
        assert {"a": b"one"} == contents(folder)


async def test_another_run_can_open_a_version(place: Place) -> None:
    folder = await place.workspace.open(None)
    (folder / "a").write_text("one")
    version = await place.workspace.keep()
    other = place.workspaces.of(await place.new_run())

    there = await other.open(version)
    (there / "a").write_text("other")
    await other.keep()

    assert b"one" == (folder / "a").read_bytes()
    assert there != folder


async def test_links_that_lead_out_pipes_sockets_and_devices_are_left_out_with_a_note(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "sub").mkdir()
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "sub/up").symlink_to("../../x")
    (folder / "sub/in").symlink_to("../a")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)
        listener.bind("socket")
        os.chdir(here)
    (folder / "a").write_text("a")

    version = await workspace.keep()

    assert [
        "'out' is not kept: it is a link that leads out, to '/etc/passwd'.",
        "'pipe' is not kept: it is a pipe.",
        "'socket' is not kept: it is a socket.",
        "'sub/up' is not kept: it is a link that leads out, to '../../x'.",
    ] == sorted(workspace.left_out)
    await workspace.open(version)
    await workspace.open(version)
    assert {"a": b"a", "sub": None, "sub/in": "../a"} == contents(folder)


async def test_odd_names_are_kept(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    names = [b"new\nline", b"not utf-8 \xff\xfe", b"-rf", b"\\", "ä".encode(), b" ", b"x" * 255]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(name)
    version = await workspace.keep()

    await workspace.open(None)
    assert [] == list(folder.iterdir())
    await workspace.open(version)

    assert sorted(names) == sorted(os.fsencode(path.name) for path in folder.iterdir())
    page = await place.workspaces.list(place.run_id, after=0, limit=100)
    assert sorted(names) == sorted(os.fsencode(file.path) for file in page.files)


async def test_more_than_may_be_kept_is_refused_and_stays(open_place: OpenPlace) -> None:
    async with open_place(bytes_max=1000, files_max=5) as place:
        workspace = place.workspace
        folder = await workspace.open(None)
        (folder / "a").write_bytes(b"x" * 1001)
        with pytest.raises(WorkspaceTooLarge, match="workspace_bytes_max"):
            await workspace.keep()
        assert 1001 == (folder / "a").stat().st_size
        (folder / "a").unlink()
        for i in range(6):
            (folder / str(i)).touch()
        with pytest.raises(WorkspaceTooLarge, match="workspace_files_max"):
            await workspace.keep()
        (folder / "5").unlink()
        await workspace.keep()


async def test_a_huge_sparse_file_is_refused_before_it_is_read(open_place: OpenPlace) -> None:
    async with open_place() as place:
        folder = await place.workspace.open(None)
        with (folder / "huge").open("wb") as file:
            file.truncate(1 << 42)

        with pytest.raises(WorkspaceTooLarge):
            await place.workspace.keep()


async def test_damaged_content_is_told_and_can_be_kept_anew(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "a").write_text("one")
    version = await workspace.keep()
    (file,) = (await place.workspaces.list(place.run_id, after=0, limit=1)).files
    blob = place.workspaces.blobs().path_of(file.hash)
    blob.chmod(0o600)
    blob.write_bytes(b"eno")
    (folder / "a").unlink()

    with pytest.raises(WorkspaceLost, match="is damaged"):
        await workspace.open(version)
    assert "a" not in contents(folder)

    await workspace.open(None)
    (folder / "a").write_text("one")
    await workspace.keep()
    await workspace.open(version)
    assert {"a": b"one"} == contents(folder)


async def test_unknown_version_is_lost(place: Place) -> None:
    with pytest.raises(WorkspaceLost):
        await place.workspace.open("0" * 64)


async def test_folder_of_no_run_is_refused(place: Place) -> None:
    with pytest.raises(RunNotFound):
        place.workspaces.of("../../etc")
    workspace = place.workspaces.of(new_id())
    await workspace.open(None)
    with pytest.raises(RunNotFound):
        await workspace.keep()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "link/x", "file/x", "", "."])
async def test_file_is_put_nowhere_else(place: Place, path: str) -> None:
    folder = await place.workspace.open(None)
    (folder / "link").symlink_to(place.data_dir)
    (folder / "file").touch()

    with pytest.raises(InvalidInput):
        await place.workspace.put(path, b"x")

    assert not (place.data_dir / "x").exists()


async def test_changes_are_undone_one_by_one(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    for text in ("one", "two", "three"):
        (folder / "a").write_text(text)
        version = await workspace.keep()
        await workspace.open(version)
    note = await workspace.keep_text("note", "of a tool")
    version = await workspace.keep()

    seen = []
    for _ in range(4):
        await workspace.open(version)
        changed = await workspace.undo()
        version = await workspace.keep()
        seen.append((list(changed), contents(folder).get("a")))

    assert [(["a"], b"two"), (["a"], b"one"), (["a"], None), ([], None)] == seen
    assert "of a tool" == (folder / note).read_text()


async def test_background_work_is_not_put_back(open_place: OpenPlace) -> None:
    busy = set[str]()
    async with open_place(is_busy=busy.__contains__) as place:
        workspace = place.workspace
        folder = await workspace.open(None)
        version = await workspace.keep()
        busy.add(place.run_id)
        (folder / "out").write_text("of the background")
        await workspace.open(version)
        assert "out" in contents(folder)
        after = await workspace.keep()
        assert after != version
        busy.clear()
        await workspace.open(version)
        assert {} == contents(folder)


async def test_what_no_run_refers_to_is_swept(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    (folder / "a").write_text("kept")
    version = await workspace.keep()
    blobs = place.workspaces.blobs()
    batch = blobs.batch()
    stray, fresh = batch.add(b"stray"), batch.add(b"fresh")
    batch.commit()
    old = (1, 1)
    for hash in blobs.hashes():
        if hash != fresh:
            os.utime(blobs.path_of(hash), old)

    freed = await place.workspaces.sweep()

    assert len(b"stray") == freed
    assert stray not in set(blobs.hashes())
    assert fresh in set(blobs.hashes())
    await workspace.open(None)
    await workspace.open(version)
    assert {"a": b"kept"} == contents(folder)
    assert SPARE_S > 0


async def test_a_deep_tree_is_removed(place: Place) -> None:
    workspace = place.workspace
    folder = await workspace.open(None)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    version = await workspace.keep()
    assert any("nested too deeply" in note for note in workspace.left_out)

    await workspace.open(None)

    assert [] == list(folder.iterdir())
    await workspace.open(version)


LOCKED = """
import os
import sys
from pathlib import Path
from agency.files.blobs import Blobs
from agency.files.folder import Bounds, Folder
from agency.files.index import Index

base, user = Path(sys.argv[1]), int(sys.argv[2])
if user != os.getuid():
    os.setuid(user)
top, file = base / "top", base / "top/below/file"
file.parent.mkdir(parents=True)
file.write_text("kept")
blobs, index = Blobs(base / "blobs"), Index()
folder = Folder(top, blobs, Bounds(1 << 20, 100))
batch = blobs.batch()
tree, _ = folder.store(index, batch)
batch.commit()
for locked in [file], [file.parent], [file, file.parent], [top], [file, file.parent, top]:
    for path in locked:
        path.chmod(0)
    folder.put_back(tree, index)
    assert file.read_text() == "kept"
"""


def test_what_a_command_has_locked_is_put_back() -> None:
    """Tried as a user for whom modes count, also where the tests are run by root."""
    with tempfile.TemporaryDirectory() as base:
        user = os.getuid() or 65534
        os.chown(base, user, -1)
        done = subprocess.run(
            [sys.executable, "-c", LOCKED, base, str(user)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "" == done.stderr


async def test_old_results_make_room_for_new_ones(open_place: OpenPlace) -> None:
    """A run of hours has more of them than a workspace may hold."""
    async with open_place(bytes_max=100_000, files_max=100) as place:
        workspace = place.workspace
        await workspace.put("own.txt", b"x" * 20_000)
        paths = []
        for number in range(40):
            paths.append(await workspace.keep_text("result", f"{number:04}" * 1000))
            await workspace.keep()

        there = [path for path in paths if (workspace.path / path).exists()]
        assert paths[-len(there) :] == there
        assert 6 == len(there)
        assert (workspace.path / "own.txt").exists()
        for number in range(60):
            paths.append(await workspace.keep_text("small", f"{number}"))
        assert 25 == sum((workspace.path / path).exists() for path in paths)
        large = await workspace.keep_text("large", "x" * 50_000)
        assert [large] == [path for path in [*paths, large] if (workspace.path / path).exists()]
