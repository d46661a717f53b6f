"""``/api/v1/workflows/snapshots``: points of suspended runs from which they can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name, snapshot_id_of
from agency.api.snapshot_shape import snapshot_detail_json, snapshot_json
from agency.ports.store import SnapshotFilter
from agency.web.answers import SERVICES, json_answer
from agency.web.paging import cut_page, parse_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "snapshots"
PATH = "/api/v1/workflows/snapshots"


class SnapshotQuery(Query):
    workflow_id: Name | None = Field(default=None, description="Name of the run.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    run_id: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class DeleteQuery(Query):
    cancel: bool = Field(default=False, description="Cancel the run first if it has not ended.")


async def list_snapshots(request: web.Request) -> web.Response:
    """List snapshots, newest first."""
    query = read_query(request, SnapshotQuery)
    which = SnapshotFilter(run_name=query.workflow_id, reason=query.reason, run_id=query.run_id)
    before = parse_cursor("snapshots", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].runs.snapshots(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page("snapshots", rows, query.limit, lambda snapshot: snapshot.id)
    found = [snapshot_json(snapshot) for snapshot in page]
    return json_answer({"snapshots": found, "next_cursor": cursor})


async def show_snapshot(request: web.Request) -> web.Response:
    """Read one snapshot with the state of its run."""
    runs = request.app[SERVICES].runs
    snapshot = await runs.snapshot(snapshot_id_of(request.match_info["snapshot_id"]))
    detail = await runs.get(snapshot.run_id)
    return json_answer(snapshot_detail_json(snapshot, detail))


async def delete_snapshot(request: web.Request) -> web.Response:
    """Delete a snapshot."""
    snapshot_id = snapshot_id_of(request.match_info["snapshot_id"])
    query = read_query(request, DeleteQuery)
    await request.app[SERVICES].runs.delete_snapshot(snapshot_id, cancel=query.cancel)
    return json_answer({"snapshot_id": snapshot_id, "deleted": True})


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_snapshots,
            operation="list_snapshots",
            summary="List snapshots, newest first",
            tag=TAG,
            query=SnapshotQuery,
            answers={200: "SnapshotPageAnswer"},
        ),
        Route(
            method="GET",
            path=PATH + "/{snapshot_id}",
            answer=show_snapshot,
            operation="show_snapshot",
            summary="Read a snapshot and what it waits for",
            tag=TAG,
            answers={200: "SnapshotDetailAnswer"},
            problems=(errors.SnapshotNotFound,),
        ),
        Route(
            method="DELETE",
            path=PATH + "/{snapshot_id}",
            answer=delete_snapshot,
            operation="delete_snapshot",
            summary="Delete a snapshot",
            description="The newest one of a run that has not ended is only deleted with "
            "`cancel=true`, which cancels the run.",
            tag=TAG,
            query=DeleteQuery,
            answers={200: "DeletedAnswer"},
            problems=(errors.SnapshotNotFound, errors.SnapshotLive, errors.RunEnded),
        ),
    )
