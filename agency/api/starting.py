"""Starting runs: what all doors to work have in common."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Set
from dataclasses import replace

from aiohttp import web

from agency.core import json
from agency.core.context import CORRELATION_ID
from agency.domain.run import Run
from agency.engine.runs import StartedRun, StartRequest
from agency.errors import Fault, InvalidInput, ShuttingDown
from agency.ports.store import RunDetail
from agency.web.answers import SERVICES, principal_of
from agency.web.bodies import Body

_KEY = re.compile(r"[\x21-\x7e]{1,256}")

REPLAYED = "Idempotency-Replayed"
"""Header of an answer whose run was made by an earlier request with the same key."""


def idempotency_key_of(request: web.Request) -> str | None:
    """Read ``Idempotency-Key``: 1 to 256 printable characters of ASCII, without spaces.

    Raises:
        InvalidInput: it is there and has another form.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and _KEY.fullmatch(key) is None:
        fault = Fault(
            "Idempotency-Key", "1 to 256 printable characters of ASCII, without spaces, are needed."
        )
        raise InvalidInput("The header Idempotency-Key is not valid.", faults=[fault])
    return key


async def start(
    request: web.Request,
    body: Body,
    wanted: StartRequest,
    *,
    where_of: Callable[[str], str],
) -> StartedRun:
    """Accept work; when this returns it is durable.

    Args:
        body: The request as it came; its hash tells whether a key is used for the same again.
        wanted: The run, without what belongs to the request: key, correlation, principal.
        where_of: Turns a JSON pointer into the workflow's input into one into the body.

    Raises:
        ShuttingDown: the daemon takes no new work.
        as `agency.engine.runs.Runs.start`.
    """
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    key = idempotency_key_of(request)
    wanted = wanted.asked_for(
        idempotency_key=key,
        request_hash=request_hash_of(request, body) if key is not None else None,
        correlation_id=CORRELATION_ID.get(),
        principal=principal_of(request).name,
    )
    try:
        return await services.runs.start(wanted)
    except InvalidInput as error:
        if type(error) is not InvalidInput or not error.faults:
            raise
        raise moved(error, where_of) from error


def below_input(pointer: str) -> str:
    """Move a pointer into the workflow's input below the body's member ``input``."""
    return "/input" + pointer.removesuffix("/")


def moved(error: InvalidInput, where_of: Callable[[str], str]) -> InvalidInput:
    """Say where in the body the faults of a workflow's input are."""
    faults = [replace(fault, where=where_of(fault.where)) for fault in error.faults]
    first = faults[0]
    detail = f"The workflow does not take this input: {first.where}: {first.what}"
    return InvalidInput(detail, faults=faults, hint=error.hint or None)


def new_detail(run: Run) -> RunDetail:
    """Make what there is beside a run that was just stored and is of no session: nothing yet."""
    return RunDetail(run=run, waits=(), steps_executed=0, snapshot_id=None, behind=None)


def replayed(started: StartedRun) -> dict[str, str]:
    """Make the header that tells an old run from a new one."""
    return {} if started.is_new or started.answered else {REPLAYED: "true"}


def request_hash_of(request: web.Request, body: Body) -> str:
    """Tell requests apart, whose idempotency keys are the same."""
    return hash_of(request.method, request.rel_url.raw_path, body)


def hash_of(method: str, path: str, body: Body, but: Set[str] = frozenset()) -> str:
    """Hash what a request asks for; members of the body that are in ``but`` do not count."""
    said = body.model_dump(mode="json", exclude_unset=True, exclude=set(but))
    text = json.encode_canonical([method, path, said])
    return hashlib.sha256(text).hexdigest()
