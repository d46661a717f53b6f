"""``/api/v1/snapshots/…`` and ``/api/v1/receipts``: runs as files, and runs that are moved."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import run_id_of, snapshot_id_of
from agency.api.run_shape import run_json
from agency.core.clock import to_text
from agency.core.context import CORRELATION_ID
from agency.core.ids import is_id
from agency.core.limits import NAME_CHARACTERS_MAX, TRANSFER_BYTES_MAX
from agency.domain.transfer import Receipt
from agency.engine.transfers import Export, ImportWish
from agency.errors import ReceiptNotFound
from agency.web.addresses import run_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import NoBody, read_body
from agency.web.files import BYTES, LINES, give_file, take_file
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "transfers"
SNAPSHOTS = "/api/v1/snapshots"
RECEIPTS = "/api/v1/receipts"


class ImportQuery(Query):
    copy_moved: bool = Field(
        default=False,
        alias="copy",
        description="Bring it in as a copy also if it is the file of a moved run.",
    )
    again: bool = Field(
        default=False, description="Make another copy although there is one of this file."
    )


async def export_snapshot(request: web.Request) -> web.StreamResponse:
    """Give a run as it was at a snapshot."""
    snapshot_id = snapshot_id_of(request.match_info["snapshot_id"])
    transfers = request.app[SERVICES].transfers
    return await _give(request, await transfers.export_snapshot(snapshot_id))


async def export_run(request: web.Request) -> web.StreamResponse:
    """Give a run as it is now."""
    run_id = run_id_of(request.match_info["run_id"])
    return await _give(request, await request.app[SERVICES].transfers.export_run(run_id))


async def move_snapshot(request: web.Request) -> web.Response:
    """Let a suspended run end here, to go on elsewhere."""
    await read_body(request, NoBody, may_be_empty=True)
    snapshot_id = snapshot_id_of(request.match_info["snapshot_id"])
    receipt = await request.app[SERVICES].transfers.move(snapshot_id)
    location = {"Location": f"{RECEIPTS}/{receipt.id}"}
    return json_answer(_receipt_json(receipt), status=201, headers=location)


async def show_receipt(request: web.Request) -> web.Response:
    """Read a receipt."""
    receipt = await request.app[SERVICES].transfers.receipt(_receipt_id(request))
    return json_answer(_receipt_json(receipt))


async def give_receipt_file(request: web.Request) -> web.StreamResponse:
    """Give the file of a run that was moved."""
    transfers = request.app[SERVICES].transfers
    return await _give(request, await transfers.export_moved(_receipt_id(request)))


async def confirm_receipt(request: web.Request) -> web.Response:
    """Note that a moved run has arrived."""
    await read_body(request, NoBody, may_be_empty=True)
    receipt = await request.app[SERVICES].transfers.confirm(_receipt_id(request))
    return json_answer(_receipt_json(receipt))


async def import_snapshot(request: web.Request) -> web.Response:
    """Bring a run in from its file."""
    query = read_query(request, ImportQuery)
    services = request.app[SERVICES]
    wish = ImportWish(
        is_copy=query.copy_moved,
        again=query.again,
        principal=principal_of(request).name,
        correlation_id=CORRELATION_ID.get(),
    )
    file = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        await take_file(request, file, bytes_max=TRANSFER_BYTES_MAX)
        run, is_new = await services.transfers.bring_in(file, wish)
    finally:
        await asyncio.to_thread(file.close)
    detail = await services.runs.get(run.id)
    headers = {"Location": run_path(run.id)}
    return json_answer(run_json(detail), status=201 if is_new else 200, headers=headers)


async def _give(request: web.Request, export: Export) -> web.StreamResponse:
    name = f"run-{export.outline.run.id}.jsonl"
    return await give_file(request, request.app[SERVICES].transfers.lines(export), name=name)


def _receipt_id(request: web.Request) -> str:
    text = request.match_info["receipt_id"]
    if not is_id(text):
        raise ReceiptNotFound(text[:NAME_CHARACTERS_MAX])
    return text.lower()


def _receipt_json(receipt: Receipt) -> dict[str, Any]:
    path = f"{RECEIPTS}/{receipt.id}"
    return {
        "receipt_id": receipt.id,
        "run_id": receipt.run_id,
        "snapshot_id": receipt.snapshot_id,
        "sha256": receipt.hash,
        "size_bytes": receipt.size_bytes,
        "created_at": to_text(receipt.created_at),
        "confirmed_at": None if receipt.confirmed_at is None else to_text(receipt.confirmed_at),
        "links": {
            "self": path,
            "file": f"{path}/file",
            "confirm": f"{path}/confirm",
            "run": run_path(receipt.run_id),
        },
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    tag: dict[str, Any] = {"tag": TAG}
    whole = (
        "JSON lines; the last one holds the checksums, and a file without it is not whole. "
        "It holds what the run has recorded, and no tokens."
    )
    one = RECEIPTS + "/{receipt_id}"
    return (
        Route(
            **tag,
            method="GET",
            path=SNAPSHOTS + "/{snapshot_id}/export",
            answer=export_snapshot,
            operation="export_snapshot",
            summary="Copy a run, as it was at a snapshot, into a file",
            description=whole,
            answers={200: None},
            gives=LINES,
            problems=(errors.SnapshotNotFound, errors.RunTakenBack, errors.ExportTooLarge),
        ),
        Route(
            **tag,
            method="GET",
            path="/api/v1/runs/{run_id}/export",
            answer=export_run,
            operation="export_run",
            summary="Copy a run, as it is now, into a file",
            description=whole,
            answers={200: None},
            gives=LINES,
            problems=(errors.RunNotFound, errors.RunTakenBack, errors.ExportTooLarge),
        ),
        Route(
            **tag,
            method="POST",
            path=SNAPSHOTS + "/{snapshot_id}/move",
            answer=move_snapshot,
            operation="move_snapshot",
            summary="Let a suspended run end here, to go on where its file is brought in",
            description="The run is cancelled (code `moved`) in the transaction that writes the "
            "receipt. Its file can be fetched until its arrival is confirmed. Asked for again, it "
            "gives the same receipt.",
            body=NoBody,
            body_may_be_empty=True,
            answers={201: "ReceiptAnswer"},
            problems=(
                errors.SnapshotNotFound,
                errors.SnapshotSpent,
                errors.RunEnded,
                errors.RunChanged,
                errors.RunTakenBack,
                errors.RunEndWanted,
                errors.ExportTooLarge,
            ),
        ),
        Route(
            **tag,
            method="POST",
            path=SNAPSHOTS + "/import",
            answer=import_snapshot,
            operation="import_snapshot",
            summary="Bring a run in from its file",
            description="All of the file is checked first. A copy becomes a fork, and the same "
            "file twice is one run (200 the second time); a moved run keeps its id, name and "
            "idempotency key, and is taken once.",
            query=ImportQuery,
            answers={200: "RunAnswer", 201: "RunAnswer"},
            takes=BYTES,
            problems=(
                errors.ExportCorrupt,
                errors.ExportFormatUnknown,
                errors.ExportTooLarge,
                errors.ExportTaken,
                errors.RunIdTaken,
                errors.NameTaken,
                errors.SessionBusy,
                errors.QueueNotFound,
                errors.QueueFull,
                errors.WorkflowNotFound,
                errors.ContentTypeRefused,
                errors.BodyLate,
                errors.BodyMalformed,
                errors.ShuttingDown,
            ),
        ),
        Route(
            **tag,
            method="GET",
            path=one,
            answer=show_receipt,
            operation="show_receipt",
            summary="Read the receipt of a moved run",
            answers={200: "ReceiptAnswer"},
            problems=(errors.ReceiptNotFound,),
        ),
        Route(
            **tag,
            method="GET",
            path=f"{one}/file",
            answer=give_receipt_file,
            operation="fetch_moved",
            summary="Fetch the file of a moved run",
            description=f"The same each time, until its arrival is confirmed. {whole}",
            answers={200: None},
            gives=LINES,
            problems=(errors.ReceiptNotFound, errors.ReceiptConfirmed),
        ),
        Route(
            **tag,
            method="POST",
            path=f"{one}/confirm",
            answer=confirm_receipt,
            operation="confirm_moved",
            summary="Confirm that a moved run has arrived",
            description="Its file is not given out any more after that. Twice is the same as once.",
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "ReceiptAnswer"},
            problems=(errors.ReceiptNotFound,),
        ),
    )
