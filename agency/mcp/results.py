"""What a call of a tool is answered with, made of a run as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ResourceLink, TextContent

from agency.core import json
from agency.domain.content import content_of, is_content
from agency.domain.run import ENDED, Run
from agency.errors import AgencyError, InvalidInput
from agency.mcp.blocks import blocks_of
from agency.mcp.means import Means
from agency.mcp.run_shape import (
    SUCCEEDED,
    file_uri,
    next_of,
    open_waits,
    run_uri,
    shown,
    told_of,
    wait_json,
)
from agency.mcp.schemas import Schema, can_be_checked, fits, structured
from agency.ports.store import RunDetail

FILE_LINKS_MAX = 50
"""Files of a run that its result links to; the others are listed by its resource."""

RESULT_BYTES_MAX = 4 << 20
"""Output that an answer holds, as JSON: clients read answers whole, and hand them to a model."""

RUN_META, STATUS_META = "agency/run_id", "agency/status"
"""Keys of ``_meta`` in the result of a call that has started a run."""


async def result_of(means: Means, detail: RunDetail, schema: Schema | None) -> CallToolResult:
    """Make the answer to a call whose run is so.

    Args:
        schema: The tool's output schema, which the structured result then fits.
    """
    run = detail.run
    if run.status not in ENDED:
        return _handle(detail)
    if run.status not in SUCCEEDED:
        return _failure(run)
    written = json.encode(run.output)
    if len(written) > RESULT_BYTES_MAX:
        return _too_large(run, len(written))
    if is_content(run.output):
        content = content_of(run.output)
        blocks: list[ContentBlock] = blocks_of(content)
        data = [part.data for part in content.parts if isinstance(part.data, dict)]
        structure: Any = data[0] if len(data) == 1 and schema is None else None
    else:
        structure = structured(run.output)
        if schema is not None and not await _fits(schema, structure, written):
            structure = {**_place(run), "output": run.output}
        blocks = [TextContent(type="text", text=_text(run))]
    if run.output is None and schema is None:
        structure = None
    blocks += await file_links(means, run.id)
    return CallToolResult(content=blocks, structured_content=structure, _meta=_meta(run))


async def _fits(schema: Schema, structure: Mapping[str, Any], written: bytes) -> bool:
    """Tell whether a structure fits; False also where nobody has the time to find out.

    It does not when the workflow was another when the run began, or has ended early.
    """
    return can_be_checked(written) and await asyncio.to_thread(fits, schema, structure)


async def file_links(means: Means, run_id: str) -> Sequence[ResourceLink]:
    """Link to the files that a run has kept."""
    if means.services.workspaces is None:
        return ()
    page = await means.services.workspaces.list(run_id, after=0, limit=FILE_LINKS_MAX)
    return [
        ResourceLink(
            type="resource_link",
            name=shown(file.path),
            uri=file_uri(run_id, file.path),
            size=file.size_bytes,
        )
        for file in page.files
    ]


def refusal_of(error: AgencyError) -> CallToolResult:
    """Make the answer to a call that was refused: the model may read it, and mend the call.

    Source: MCP 2025-11-25, tools, section "Error Handling".
    """
    said = str(error)
    lines = [said]
    if isinstance(error, InvalidInput):
        # The first of them stand in the sentence itself.
        each = (f"{fault.where or '/'}: {fault.what}" for fault in error.faults)
        lines += [one for one in each if one.rstrip(".") not in said]
    if error.hint:
        lines.append(f"Hint: {error.hint}")
    text = "\n".join(dict.fromkeys(lines))
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        is_error=True,
        _meta={"agency/error": error.code},
    )


def json_result(value: dict[str, Any]) -> CallToolResult:
    """Make an answer of a JSON object."""
    text = TextContent(type="text", text=json.encode(value).decode())
    return CallToolResult(content=[text], structured_content=json.decode(json.encode(value)))


def _handle(detail: RunDetail) -> CallToolResult:
    """Tell where the run is that the call has started."""
    run, waits = detail.run, open_waits(detail)
    structure = {**_place(run), "next": next_of(detail)}
    if run.progress is not None:
        structure["progress"] = run.progress
    if waits:
        structure["waits"] = [wait_json(wait) for wait in waits]
    structure = json.decode(json.encode(structure))
    text = [f"The run {run.id} of {run.workflow} is {run.status}.", next_of(detail)]
    text += [line for wait in waits if (line := told_of(wait))]
    link = ResourceLink(
        type="resource_link",
        name=f"run {run.id}",
        uri=run_uri(run.id),
        mime_type="application/json",
    )
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(text)), link],
        structured_content=structure,
        _meta=_meta(run),
    )


def _too_large(run: Run, size_bytes: int) -> CallToolResult:
    """Tell where an output is that no model could read."""
    uri = f"{run_uri(run.id)}/output"
    say = f"The output of the run {run.id} has {size_bytes} bytes: read it at {uri}."
    link = ResourceLink(type="resource_link", name="output", uri=uri, size=size_bytes)
    return CallToolResult(
        content=[TextContent(type="text", text=say), link],
        structured_content={**_place(run), "next": say},
        _meta=_meta(run),
    )


def _failure(run: Run) -> CallToolResult:
    lines = [f"The run {run.id} of {run.workflow} has ended: {run.status}."]
    if run.error is not None:
        lines.append(run.error.message)
        if run.error.hint:
            lines.append(f"Hint: {run.error.hint}")
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines))], is_error=True, _meta=_meta(run)
    )


def _text(run: Run) -> str:
    output = run.output
    if isinstance(output, str):
        return output
    # What an agent says is its member ``response``; all of it is in the structured result.
    if run.kind == "agent" and isinstance(output, dict) and "response" in output:
        return str(output["response"])
    return json.encode(output).decode()


def _place(run: Run) -> dict[str, Any]:
    return {"run_id": run.id, "status": str(run.status), "uri": run_uri(run.id)}


def _meta(run: Run) -> dict[str, Any]:
    return {RUN_META: run.id, STATUS_META: str(run.status)}
