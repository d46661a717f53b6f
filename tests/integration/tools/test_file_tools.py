"""Tools for files: what models can do with them, and what nobody can."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading

import pytest

from agency.core import json
from agency.domain.tool import Permission, ToolEffect, ToolOutput
from tests.integration.tools.conftest import Bench, OpenBench

SECRET = "canary-of-another-place"


async def test_file_is_written_read_edited_and_undone(bench: Bench) -> None:
    said = await bench.said("write_file", path="src/a.py", content="x = 1\ny = 2\n")
    assert "Wrote src/a.py: 2 lines, 12 bytes." == said
    assert "x = 1\ny = 2" == await bench.said("read_file", path="src/a.py")

    said = await bench.said("edit_file", path="src/a.py", old="y = 2", new="y = 3")
    assert "Edited src/a.py: one place replaced, from line 2 on." == said
    assert "x = 1\ny = 3" == await bench.said("read_file", path="src/a.py")

    assert "Taken back. Changed: src/a.py." == await bench.said("undo_edit")
    assert "x = 1\ny = 2" == await bench.said("read_file", path="src/a.py")
    assert "Taken back. Changed: src/a.py." == await bench.said("undo_edit")
    assert "There is no change of files to take back." == await bench.refused("undo_edit")


async def test_long_file_is_read_in_parts(bench: Bench) -> None:
    lines = [f"line {number} " + "x" * 40 for number in range(1, 1001)]
    await bench.said("write_file", path="long", content="\n".join(lines))

    read: list[str] = []
    offset = 1
    for _ in range(100):
        said = await bench.said("read_file", path="long", offset=offset)
        body, _, note = said.rpartition("\n[")
        read += body.split("\n")
        if "go on with offset=" not in note:
            break
        offset = int(note.rpartition("=")[2].rstrip("]"))

    assert lines == read


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x20", "a PNG picture of 16 x 32 pixels"),
        (b"a\0b", "binary"),
        (b"%PDF-1.7", "a PDF document"),
    ],
    ids=["picture", "binary", "pdf"],
)
async def test_what_is_no_text_is_not_shown(bench: Bench, content: bytes, said: str) -> None:
    await bench.place.workspace.put("x", content)
    await bench.place.workspace.keep()

    assert said in await bench.refused("read_file", path="x")
    assert said in await bench.refused("edit_file", path="x", old="a", new="b")


async def test_bytes_that_are_no_utf_8_survive_an_edit(bench: Bench) -> None:
    await bench.place.workspace.put("x", b"caf\xe9 one\r\ntwo\r\n")
    await bench.place.workspace.keep()

    await bench.said("edit_file", path="x", old="two", new="three")

    assert b"caf\xe9 one\r\nthree\r\n" == (bench.folder / "x").read_bytes()


@pytest.mark.parametrize(
    "path",
    ["../other", "/etc/passwd", "a/../../other", "link", "up/other", "nul\0", "a" * 300, "pipe"],
    ids=["above", "absolute", "through", "link", "link-above", "nul", "long-name", "pipe"],
)
async def test_nothing_outside_is_read_or_written(bench: Bench, path: str) -> None:
    await bench.said("write_file", path="a/x", content="x")
    workspace = bench.place.workspace
    folder = await workspace.folder()
    outside = folder.parent / "other"
    outside.write_text(SECRET)
    tool = await bench.find("read_file")
    write = await bench.find("write_file")
    edit = await bench.find("edit_file")
    # What keeps them out is not only that links are not kept.
    (folder / "link").symlink_to(outside)
    (folder / "up").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")

    for one, arguments in (
        (tool, {"path": path}),
        (write, {"path": path, "content": "gone"}),
        (edit, {"path": path, "old": "canary", "new": "gone"}),
    ):
        output = await one.call(arguments, bench.context())
        assert isinstance(output, ToolOutput)
        assert output.is_error, output
        assert SECRET not in output.content
        shown = one.request(arguments, bench.context())
        assert SECRET not in str(shown.show)

    assert SECRET == outside.read_text()


async def test_a_link_that_is_put_in_between_is_not_followed(bench: Bench) -> None:
    """A command in the background may swap a folder for a link at any moment."""
    workspace = bench.place.workspace
    folder = await workspace.folder()
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text(SECRET)
    (folder / "real").mkdir()
    (folder / "real/x").write_text("inside")
    stop = threading.Event()

    def swap() -> None:
        spare = folder / "spare"
        while not stop.is_set():
            # The folder is there, then a link in its place, then the folder again; sometimes the
            # tool makes a folder of its own in between.
            with contextlib.suppress(OSError):
                (folder / "real").rename(folder / "d")
                (folder / "d").rename(folder / "real")
            with contextlib.suppress(OSError):
                spare.symlink_to(outside)
                spare.rename(folder / "d")
            with contextlib.suppress(OSError):
                (folder / "d").unlink()
            if (folder / "d").is_dir() and not (folder / "d").is_symlink():
                shutil.rmtree(folder / "d", ignore_errors=True)

    read = await bench.find("read_file")
    write = await bench.find("write_file")
    search = await bench.find("search_files")
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen = set()
        for _ in range(300):
            output = await read.call({"path": "d/x"}, bench.context())
            assert isinstance(output, ToolOutput)
            seen.add(output.content)
            await write.call({"path": "d/x", "content": "inside"}, bench.context())
        for _ in range(5):
            output = await search.call({"pattern": "canary", "path": "d"}, bench.context())
            assert isinstance(output, ToolOutput)
            seen.add(output.content)
    finally:
        stop.set()
        swapping.join()

    assert not [one for one in seen if SECRET in one]
    assert SECRET == (outside / "x").read_text()


@pytest.mark.parametrize("path", [".agency/x", ".AGENCY/x", "./.agency/../.Agency/x"])
async def test_what_tools_keep_for_themselves_is_not_written(bench: Bench, path: str) -> None:
    assert "the tools' own" in await bench.refused("write_file", path=path, content="x")


async def test_paths_as_models_write_them_are_understood(bench: Bench) -> None:
    folder = await bench.place.workspace.folder()
    await bench.said("write_file", path="/workspace/a.txt", content="one")
    assert "one" == await bench.said("read_file", path=f"{folder}/a.txt")
    assert "one" == await bench.said("read_file", path="./a.txt")


async def test_missing_file_is_told_with_what_there_is(bench: Bench) -> None:
    await bench.said("write_file", path="src/main.py", content="")

    assert "Did you mean 'src/main.py'?" in await bench.refused("read_file", path="src/mian.py")
    assert "there is: 'main.py'" in await bench.refused("read_file", path="src/zzz")


async def test_files_are_listed(bench: Bench) -> None:
    await bench.said("write_file", path="a.txt", content="12345")
    await bench.said("write_file", path="src/b.py", content="")
    await bench.said("write_file", path="node_modules/x/y.js", content="")

    assert (
        "a.txt (5 bytes)\nnode_modules/ (not looked into)\nsrc/\nsrc/b.py (0 bytes)"
        == await bench.said("list_files")
    )
    assert "src/b.py (0 bytes)" in await bench.said("list_files", glob="*.py")
    assert "node_modules/x/y.js (0 bytes)" in await bench.said("list_files", path="node_modules/x")
    assert "no files like" in await bench.said("list_files", glob="*.rs")


async def test_files_are_searched(bench: Bench) -> None:
    await bench.said("write_file", path="a.txt", content="one\nTwo\nthree\n")
    await bench.said("write_file", path="src/b.py", content="two = 2\n")

    assert "src/b.py:1: two = 2" == await bench.said("search_files", pattern=r"^two\b")
    found = await bench.said("search_files", pattern="two", ignore_case=True)
    assert "a.txt:2: Two\nsrc/b.py:1: two = 2" == found
    assert "a.txt:2: Two" == await bench.said("search_files", pattern="Two", path="a.txt")
    assert "Not found in 1 files." == await bench.said("search_files", pattern="Two", glob="*.py")
    found = await bench.said("search_files", pattern="two = (")
    assert "no regular expression" in found
    assert "no 'nowhere'" in await bench.refused("search_files", pattern="x", path="nowhere")


async def test_a_search_that_would_take_for_ever_is_stopped(bench: Bench) -> None:
    from agency.tools.files.search import SearchFiles

    await bench.said("write_file", path="a", content="found\n" + "a" * 60 + "!\n")
    tool = SearchFiles(characters_max=8000, search_s=1.0)

    output = await tool.call({"pattern": r"found|^(a+)+$"}, bench.context())

    assert "a:1: found\n[Stopped after 1 s: simplify the pattern.]" == output.content


async def test_request_shows_the_difference(bench: Bench) -> None:
    await bench.said("write_file", path="a", content="one\ntwo\n")
    await bench.place.workspace.folder()
    edit, write = await bench.find("edit_file"), await bench.find("write_file")

    shown = edit.request({"path": "a", "old": "two", "new": "three"}, bench.context())
    assert "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+three" == shown.show["difference"]
    shown = write.request({"path": "b", "content": "new\n"}, bench.context())
    assert "--- a/b\n+++ b/b\n@@ -0,0 +1 @@\n+new" == shown.show["difference"]
    shown = edit.request({"path": "a", "old": "four", "new": "x"}, bench.context())
    assert "fault" in shown.show
    assert "one\ntwo\n" == (bench.folder / "a").read_text()


async def test_effects_and_permissions_are_as_promised(bench: Bench) -> None:
    for name in ("read_file", "list_files", "search_files", "read_notes"):
        tool = await bench.find(name)
        assert (ToolEffect.REPEATABLE, Permission.ALLOW) == (tool.effect, tool.permission)
    for name in ("write_file", "edit_file", "undo_edit", "note"):
        tool = await bench.find(name)
        assert (ToolEffect.RESTORE, Permission.ALLOW) == (tool.effect, tool.permission)


async def test_toolsets_are_switched_off(open_bench: OpenBench) -> None:
    async with open_bench(shell=False, fetch=False, files=False) as bench:
        assert ["notes", "python"] == [one.name for one in bench.registry.all()]
        assert await bench.registry.find("read_file") is None


async def test_notes_are_kept_and_read(bench: Bench) -> None:
    assert "There are no notes." == await bench.said("read_notes")
    await bench.said("note", text="first")
    await bench.said("note", text="second")
    assert "- first\n- second\n" == await bench.said("read_notes")
    assert "There is no change of files to take back." == await bench.refused("undo_edit")
    long = "x" * 4000
    for _ in range(8):
        await bench.said("note", text=long)
    assert "The notes are full" in await bench.refused("note", text=long)


def test_all_schemas_are_small_and_flat() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from agency.config.schema import Tools
    from agency.core import json
    from agency.tools.background import Background
    from agency.tools.toolsets import OwnToolset, make_toolsets

    async def is_live(_: str) -> bool:
        return True

    settings = Tools(package_index="https://index.example/simple")
    made = make_toolsets(
        settings,
        sandbox=None,  # type: ignore[arg-type]  # nothing is called
        background=Background(is_live),
        threads=ThreadPoolExecutor(1),
    )
    specs = [tool.spec for one in made if isinstance(one, OwnToolset) for tool in one._tools]

    assert 15 == len(specs)
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
        assert len(spec.description) <= 80, spec.name
        assert len(json.encode(dict(spec.parameters))) <= 700, spec.name


async def test_names_that_are_no_text_are_shown_and_can_be_recorded(bench: Bench) -> None:
    folder = await bench.place.workspace.open(None)
    with open(os.fsencode(folder) + b"/odd-\xff.txt", "w") as file:  # noqa: PTH123  no path of text
        file.write("needle\n")
    await bench.place.workspace.keep()

    found = await bench.call("search_files", pattern="needle")
    assert "odd-\ufffd.txt:1: needle" == found.content
    undone = await bench.call("undo_edit")
    assert ["odd-\ufffd.txt"] == undone.files
    assert json.encode([undone.content, undone.files])


async def test_patterns_and_texts_of_any_language_are_found(bench: Bench) -> None:
    await bench.said("write_file", path="größe.txt", content="naïve 猫\n")
    assert "größe.txt:1: naïve 猫" == await bench.said("search_files", pattern="ï.+猫")
