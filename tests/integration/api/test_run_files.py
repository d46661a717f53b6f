"""Files of runs over HTTP: listed, given, and nothing else of this machine."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest

from agency.core.ids import new_id
from tests.integration.api.conftest import Daemon, Serve

SECRET = "canary-of-another-place"


async def kept(daemon: Daemon, files: dict[str, bytes]) -> str:
    """Start a run, and keep files in its folder."""
    started = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "listens"})
    run_id: str = started.json["id"]
    workspace = daemon.workspaces.of(run_id)
    folder = await workspace.open(None)
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    await workspace.keep()
    return run_id


@pytest.fixture
async def daemon(serve: Serve) -> Daemon:
    return await serve()


async def test_files_are_listed_page_by_page(daemon: Daemon) -> None:
    run_id = await kept(daemon, {f"{n}.txt": b"x" * n for n in range(5)})
    path = f"/api/v1/runs/{run_id}/files"

    found = []
    cursor = ""
    for _ in range(3):
        answer = await daemon.ask("GET", f"{path}?limit=2{cursor}")
        assert (200, 5, 10) == (
            answer.status,
            answer.json["files_total"],
            answer.json["bytes_total"],
        )
        found += [file["path"] for file in answer.json["files"]]
        cursor = f"&cursor={answer.json['next_cursor']}"
    assert [f"{n}.txt" for n in range(5)] == found
    assert answer.json["next_cursor"] is None


async def test_run_without_files_has_none(daemon: Daemon) -> None:
    started = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "listens"})
    answer = await daemon.ask("GET", f"/api/v1/runs/{started.json['id']}/files")
    assert (200, [], None) == (answer.status, answer.json["files"], answer.json["version"])


@pytest.mark.parametrize(
    "name", ["a.html", "deep/er/b", "ä ö?#%.txt", "new\nline", os.fsdecode(b"not \xff utf-8")]
)
async def test_file_is_given_to_be_saved(daemon: Daemon, name: str) -> None:
    run_id = await kept(daemon, {name: b"<script>alert(1)</script>"})
    listed = await daemon.ask("GET", f"/api/v1/runs/{run_id}/files")
    (file,) = listed.json["files"]

    async with daemon.session.get(f"{daemon.url}{file['links']['self']}") as response:
        assert 200 == response.status
        assert b"<script>alert(1)</script>" == await response.read()
        assert "application/octet-stream" == response.headers["Content-Type"]
        assert "nosniff" == response.headers["X-Content-Type-Options"]
        assert response.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
        assert "25" == response.headers["Content-Length"]
    async with daemon.session.head(f"{daemon.url}{file['links']['self']}") as response:
        assert (200, b"") == (response.status, await response.read())


@pytest.mark.parametrize(
    "path",
    [
        "../other",
        "..%2Fother",
        "%2e%2e/other",
        "a/../../other",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "link",
        "link/other",
        "folder",
        "A.TXT",
        "a.txt%00",
        "x" * 3000,
    ],
)
async def test_nothing_else_is_given(daemon: Daemon, path: str) -> None:
    run_id = await kept(daemon, {"a.txt": b"a", "folder/b": b"b"})
    workspace = daemon.workspaces.of(run_id)
    folder = await workspace.folder()
    (folder.parent / "other").write_text(SECRET)
    (folder / "link").symlink_to(folder.parent)
    await workspace.keep()

    answer = await daemon.raw(
        f"GET /api/v1/runs/{run_id}/files/{path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{daemon.port}\r\nConnection: close\r\n\r\n".encode()
    )

    assert b" 404 " in answer.split(b"\r\n")[0]
    assert SECRET.encode() not in answer


async def test_damaged_file_does_not_arrive_as_a_whole(daemon: Daemon) -> None:
    content = os.urandom(3 << 20)
    run_id = await kept(daemon, {"small": b"small", "large": content})
    blobs = daemon.workspaces.blobs()
    page = await daemon.workspaces.list(run_id, after=0, limit=10)
    for file in page.files:
        place = blobs.path_of(file.hash)
        place.chmod(0o600)
        with place.open("r+b") as damaged:
            damaged.seek(-1, os.SEEK_END)
            damaged.write(b"!")

    answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}/files/small")
    assert (500, "workspace_lost") == (answer.status, answer.json["code"])
    raw = await daemon.raw(
        f"GET /api/v1/runs/{run_id}/files/large HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{daemon.port}\r\nConnection: close\r\n\r\n".encode()
    )
    assert len(raw.partition(b"\r\n\r\n")[2]) < len(content)


async def test_unknown_run_has_no_files(daemon: Daemon) -> None:
    for path in (f"{new_id()}/files", f"{new_id()}/files/a", "x/files", "x/files/a"):
        answer = await daemon.ask("GET", f"/api/v1/runs/{path}")
        assert (404, "run_not_found") == (answer.status, answer.json["code"])


async def test_files_of_one_run_are_not_those_of_another(daemon: Daemon) -> None:
    one = await kept(daemon, {"mine": SECRET.encode()})
    other = await kept(daemon, {"theirs": b"x"})

    answer = await daemon.ask("GET", f"/api/v1/runs/{other}/files/{quote('mine')}")
    assert 404 == answer.status
    listed = await daemon.ask("GET", f"/api/v1/runs/{other}/files")
    assert ["theirs"] == [file["path"] for file in listed.json["files"]]
    assert SECRET == (await daemon.ask("GET", f"/api/v1/runs/{one}/files/mine")).text
