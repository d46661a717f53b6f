"""``/api/v1/runs/{run_id}/files``: what a run has kept in its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, run_id_of
from agency.errors import RunFileNotFound
from agency.ports.workspace import KeptFile, KeptPage
from agency.web.addresses import run_file_path
from agency.web.answers import SERVICES, json_answer
from agency.web.files import BYTES, give_bytes
from agency.web.paging import make_cursor, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "runs"
PATH = "/api/v1/runs/{run_id}/files"

_NOTHING = KeptPage(version=None, files=(), files_total=0, bytes_total=0)


class FilesQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_files(request: web.Request) -> web.Response:
    """List the files that a run has kept, by path."""
    services = request.app[SERVICES]
    run_id = run_id_of(request.match_info["run_id"])
    query = read_query(request, FilesQuery)
    after = parse_number_cursor("files", query.cursor) if query.cursor is not None else 0
    await services.runs.get(run_id)
    page = _NOTHING
    if services.workspaces is not None:
        page = await services.workspaces.list(run_id, after=after, limit=query.limit)
    reached = after + len(page.files)
    is_more = bool(page.files) and reached < page.files_total
    return json_answer(
        {
            "run_id": run_id,
            "version": page.version,
            "files": [_file_json(run_id, file) for file in page.files],
            "files_total": page.files_total,
            "bytes_total": page.bytes_total,
            "next_cursor": make_cursor("files", str(reached)) if is_more else None,
        }
    )


async def give_run_file(request: web.Request) -> web.StreamResponse:
    """Give a file that a run has kept.

    The path is looked up among those that were kept; nothing of it is a path of this machine.
    """
    services = request.app[SERVICES]
    run_id = run_id_of(request.match_info["run_id"])
    path = _path_of(request)
    await services.runs.get(run_id)
    if services.workspaces is None:
        raise RunFileNotFound(run_id, _shown(path))
    file, pieces = await services.workspaces.read(run_id, path)
    name = _shown(path).rpartition("/")[2]
    return await give_bytes(request, pieces, name=name, size_bytes=file.size_bytes)


def _path_of(request: web.Request) -> str:
    """Read the path as it was sent: its bytes may be of any sort."""
    raw = request.rel_url.raw_path.partition("/files/")[2]
    return os.fsdecode(unquote_to_bytes(raw))


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _file_json(run_id: str, file: KeptFile) -> dict[str, Any]:
    return {
        "path": _shown(file.path),
        "size_bytes": file.size_bytes,
        "sha256": file.hash,
        "is_executable": file.is_executable,
        "links": {"self": run_file_path(run_id, file.path)},
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_files,
            operation="list_run_files",
            summary="List the files that a run has kept",
            description="Of the newest state of its folder, by path.",
            tag=TAG,
            query=FilesQuery,
            answers={200: "RunFilePageAnswer"},
            problems=(errors.RunNotFound, errors.WorkspaceLost),
        ),
        Route(
            method="GET",
            path=PATH + r"/{path:[\s\S]+}",
            answer=give_run_file,
            operation="fetch_run_file",
            summary="Fetch a file that a run has kept",
            description="Its path may have slashes, as they are or encoded.",
            tag=TAG,
            answers={200: None},
            gives=BYTES,
            problems=(errors.RunNotFound, errors.RunFileNotFound, errors.WorkspaceLost),
        ),
    )
