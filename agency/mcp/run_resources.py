"""Runs as resources: how they are, what came out, their files and their snapshots."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Sequence
from typing import Any

from mcp_types import (
    BlobResourceContents,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from agency.core import json
from agency.core.ids import is_id
from agency.core.limits import PAGE_ROWS_DEFAULT
from agency.domain.content import content_of, is_content
from agency.errors import NotFound, RunFileNotFound, ValueTooLarge
from agency.mcp.blocks import resource_of
from agency.mcp.caller import Caller
from agency.mcp.means import Means
from agency.mcp.offerings import Context, caller_of
from agency.mcp.run_shape import (
    RUNS,
    SNAPSHOTS,
    file_uri,
    path_of,
    run_json,
    run_uri,
    shown,
    snapshot_json,
)
from agency.mcp.run_verbs import own_run
from agency.ports.store import RunFilter, SnapshotFilter
from agency.web.paging import cut_page, parse_number_cursor

FILE_BYTES_MAX = 8 << 20
"""Largest file that is read as a resource: it is one answer, in base64, that both sides hold."""

FILES_LISTED_MAX = 500
"""Files that the list of a run's files holds."""

SNAPSHOTS_LISTED_MAX = 100
"""Snapshots that the list of a run's snapshots holds, the newest ones."""

JSON = "application/json"

_RUN = re.compile(re.escape(RUNS) + r"([^/]+)(?:/(output|files|snapshots)(?:/(.+))?)?", re.DOTALL)
_SNAPSHOT = re.compile(re.escape(SNAPSHOTS) + r"([^/]+)")


class RunResources:
    """The caller's runs."""

    def __init__(self, means: Means) -> None:
        """Take what they are read from."""
        self._means = means

    async def resources(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Resource], str | None]:
        """List the caller's runs, newest first."""
        before = parse_number_cursor("runs", cursor) if cursor is not None else None
        rows = await self._means.services.runs.list(
            RunFilter(principal=caller.principal), before=before, limit=PAGE_ROWS_DEFAULT + 1
        )
        page, after = cut_page("runs", rows, PAGE_ROWS_DEFAULT, lambda run: run.number)
        listed = [
            Resource(
                name=run.name or run.id,
                title=f"{run.workflow}: {run.status}",
                uri=run_uri(run.id),
                description=f"A run of {run.workflow}, {run.status}.",
                mime_type=JSON,
            )
            for run in page
        ]
        return listed, after

    async def templates(self) -> Sequence[ResourceTemplate]:
        """List the forms of the addresses."""
        return (
            _template("run", RUNS + "{run_id}", "A run: status, input, output, waits."),
            _template("output", RUNS + "{run_id}/output", "What came out of a run."),
            _template("files", RUNS + "{run_id}/files", "The files of a run."),
            ResourceTemplate(
                name="file",
                title="file",
                uri_template=RUNS + "{run_id}/files/{+path}",
                description="A file of a run.",
            ),
            _template("snapshots", RUNS + "{run_id}/snapshots", "The snapshots of a run."),
            _template("snapshot", SNAPSHOTS + "{snapshot_id}", "A snapshot."),
        )

    async def read(
        self, ctx: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult | None:
        """Read what has this address; None when the caller has nothing there."""
        caller, uri = caller_of(ctx), str(params.uri)
        try:
            contents = await self._read(caller, uri)
        except NotFound:
            return None
        return ReadResourceResult(contents=list(contents)) if contents is not None else None

    async def has(self, caller: Caller, uri: str) -> bool:
        """Tell whether the caller has a run, or a part of it, of this address."""
        found = _RUN.fullmatch(uri)
        if found is None:
            return False
        try:
            await own_run(self._means, caller, found[1])
        except NotFound:
            return False
        return True

    async def _read(
        self, caller: Caller, uri: str
    ) -> Sequence[TextResourceContents | BlobResourceContents] | None:
        if found := _SNAPSHOT.fullmatch(uri):
            return await self._read_snapshot(caller, uri, found[1])
        found = _RUN.fullmatch(uri)
        if found is None:
            return None
        run_id, part, path = found.groups()
        detail = await own_run(self._means, caller, run_id)
        if part == "files" and path is not None:
            return [await self._read_file(uri, run_id, path_of(path))]
        if path is not None:
            return None
        match part:
            case None:
                return [_json(uri, run_json(detail))]
            case "output":
                return _output(uri, detail.run.output)
            case "files":
                return [_json(uri, await self._files(run_id))]
            case _:
                snapshots = await self._means.services.runs.snapshots(
                    SnapshotFilter(run_id=run_id), before=None, limit=SNAPSHOTS_LISTED_MAX
                )
                return [_json(uri, {"snapshots": [snapshot_json(one) for one in snapshots]})]

    async def _read_snapshot(
        self, caller: Caller, uri: str, snapshot_id: str
    ) -> Sequence[TextResourceContents] | None:
        if not is_id(snapshot_id):
            return None
        snapshot = await self._means.services.runs.snapshot(snapshot_id)
        await own_run(self._means, caller, snapshot.run_id)
        return [_json(uri, snapshot_json(snapshot))]

    async def _files(self, run_id: str) -> dict[str, Any]:
        workspaces = self._means.services.workspaces
        if workspaces is None:
            return {"files": [], "files_total": 0}
        page = await workspaces.list(run_id, after=0, limit=FILES_LISTED_MAX)
        files = [
            {
                "path": shown(file.path),
                "uri": file_uri(run_id, file.path),
                "size_bytes": file.size_bytes,
                "sha256": file.hash,
            }
            for file in page.files
        ]
        return {"files": files, "files_total": page.files_total}

    async def _read_file(
        self, uri: str, run_id: str, path: str
    ) -> TextResourceContents | BlobResourceContents:
        workspaces = self._means.services.workspaces
        if workspaces is None:
            raise RunFileNotFound(run_id, shown(path))
        file, pieces = await workspaces.read(run_id, path)
        if file.size_bytes > FILE_BYTES_MAX:
            raise ValueTooLarge(f"The file {shown(path)!r}", file.size_bytes, FILE_BYTES_MAX)
        content = b"".join([piece async for piece in pieces])
        media_type = mimetypes.guess_type(shown(path))[0]
        is_text = media_type is None or media_type.startswith("text/") or media_type == JSON
        if is_text:
            try:
                text = content.decode()
            except UnicodeDecodeError:
                media_type = media_type or "application/octet-stream"
            else:
                return TextResourceContents(
                    uri=uri, mime_type=media_type or "text/plain", text=text
                )
        blob = base64.b64encode(content).decode()
        return BlobResourceContents(uri=uri, mime_type=media_type, blob=blob)


def _output(uri: str, output: Any) -> Sequence[TextResourceContents | BlobResourceContents]:  # noqa: ANN401
    if is_content(output):
        return [resource_of(part, uri) for part in content_of(output).parts]
    if isinstance(output, str):
        return [TextResourceContents(uri=uri, mime_type="text/plain", text=output)]
    return [_json(uri, output)]


def _json(uri: str, value: Any) -> TextResourceContents:  # noqa: ANN401  JSON value
    return TextResourceContents(uri=uri, mime_type=JSON, text=json.encode(value).decode())


def _template(name: str, uri_template: str, description: str) -> ResourceTemplate:
    return ResourceTemplate(
        name=name,
        title=name,
        uri_template=uri_template,
        description=description,
        mime_type=JSON,
    )
