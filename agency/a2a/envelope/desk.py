"""Does what messages of the older envelope ask for.

A request, a command and a query start a run of an agent or workflow, once for each message id. An
event, and what only tells something, is published in a topic, where runs may wait for it. A
heartbeat is a sign of life of a peer.
"""

from __future__ import annotations

import hashlib
from typing import Any

from aiohttp import web

from agency.a2a.envelope.message import (
    PRIORITIES,
    Envelope,
    MessageType,
    Payload,
    Response,
    Status,
    check_metadata,
    payload_json,
    payload_of,
)
from agency.a2a.inputs import input_of
from agency.core import json
from agency.core.clock import monotonic_s
from agency.core.context import CORRELATION_ID
from agency.core.ids import derive_id
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.content import Content, text_part
from agency.domain.peer import PeerStatus, parts_of
from agency.domain.run import ENDED, RunStatus
from agency.engine.runs import StartRequest
from agency.errors import (
    AgencyError,
    IdempotencyMismatch,
    InvalidInput,
    NotPublished,
    ShuttingDown,
    Unavailable,
)
from agency.ports.store import RunDetail
from agency.web.addresses import run_path, topic_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import read_body
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of
from agency.web.problems import status_of
from agency.web.published import Publication, Published, PublishedKind
from agency.web.services import Services

SENDER_TAG = "a2a_from"
"""Label of runs: who has sent the message that has started them."""

_WORK = frozenset({MessageType.REQUEST, MessageType.COMMAND, MessageType.QUERY})

FAULTS_MAX = 16
"""Faults that one answer tells of."""


class Desk:
    """Takes messages."""

    def __init__(self, publication: Publication) -> None:
        """Take what may be asked for."""
        self._publication = publication

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a message; what is refused is told in the same shape."""
        began_s = monotonic_s()
        message_id = ""
        try:
            envelope = await read_body(request, Envelope)
            message_id = envelope.id
            response = await self._do(request, envelope)
        except AgencyError as error:
            response = _refusal(message_id, error)
        headers = {"Location": response.location} if response.location else {}
        body = response.to_json(monotonic_s() - began_s)
        return json_answer(body, status=response.http_status, headers=headers)

    async def _do(self, request: web.Request, envelope: Envelope) -> Response:
        services = request.app[SERVICES]
        services.peers.check_allowed(envelope.sender)
        check_metadata(envelope.metadata)
        if envelope.expires_at is not None and envelope.expires_at <= services.clock.now():
            return Response(
                message_id=envelope.id,
                status=Status.REJECTED,
                error="The message has expired.",
                http_status=410,
            )
        if envelope.message_type is MessageType.HEARTBEAT:
            return await _heartbeat(request, envelope)
        payload = payload_of(envelope.payload)
        if envelope.message_type in _WORK:
            return await self._work(request, envelope, payload)
        return await _publish(services, envelope, payload, caller=principal_of(request).name)

    async def _work(self, request: web.Request, envelope: Envelope, payload: Payload) -> Response:
        services = request.app[SERVICES]
        if services.is_stopping():
            raise ShuttingDown
        target = self._target(envelope.to, payload)
        caller = principal_of(request).name
        started = await services.runs.start(
            StartRequest(
                workflow=target.workflow,
                input=input_of(target, _content_for(target, payload)),
                priority=PRIORITIES[envelope.priority],
                tags={SENDER_TAG: envelope.sender[:NAME_CHARACTERS_MAX]},
                principal=caller,
                correlation_id=envelope.correlation_id or CORRELATION_ID.get(),
                idempotency_key=derive_id("envelope", caller, envelope.sender, envelope.id),
                request_hash=_hash_of(envelope),
            )
        )
        preference = preference_of(request, default_s=services.settings.server.sync_wait_s)
        detail = await request.app[PATIENCE].wait_for(
            services.runs, started.run.id, timeout_s=preference.wait_s
        )
        return _outcome(envelope.id, detail)

    def _target(self, to: str, payload: Payload) -> Published:
        """Find who is meant: by the name in the id, or by the operation of a task.

        Raises:
            NotPublished: nobody.
        """
        parts = parts_of(to)
        name = to if parts is None else parts[1]
        try:
            return self._publication.get(name)
        except NotPublished:
            if not payload.operation:
                raise
        try:
            return self._publication.get(payload.operation)
        except NotPublished:
            raise NotPublished(name) from None


def _content_for(target: Published, payload: Payload) -> Content:
    """Tell an agent what is to be done of a task; a workflow is what is to be done."""
    is_told = payload.operation and payload.operation != target.name
    if target.kind is PublishedKind.AGENT and is_told:
        return Content(parts=[text_part(payload.operation), *payload.content.parts])
    return payload.content


def _outcome(message_id: str, detail: RunDetail) -> Response:
    run = detail.run
    where = run_path(run.id)
    if run.status not in ENDED:
        told = {
            "run_id": run.id,
            "status": run.status,
            "url": where,
            "waits": [wait.key for wait in detail.waits],
        }
        return Response(
            message_id=message_id,
            status=Status.PROCESSING,
            payload={"Json": told},
            http_status=202,
            location=where,
        )
    if run.status is RunStatus.COMPLETED:
        payload = payload_json(run.output)
        return Response(
            message_id=message_id, status=Status.SUCCESS, payload=payload, location=where
        )
    return Response(
        message_id=message_id,
        status=Status.TIMEOUT if run.status is RunStatus.TIMED_OUT else Status.ERROR,
        payload=None if run.output is None else payload_json(run.output),
        error=run.error.message if run.error is not None else f"The run is {run.status}.",
        location=where,
    )


async def _heartbeat(request: web.Request, envelope: Envelope) -> Response:
    peer = await request.app[SERVICES].peers.heartbeat(
        envelope.sender, owner=principal_of(request).name, status=_status_in(envelope.payload)
    )
    told = {"id": peer.id, "status": peer.status}
    return Response(message_id=envelope.id, status=Status.SUCCESS, payload={"Json": told})


def _status_in(payload: Any) -> PeerStatus | None:  # noqa: ANN401  JSON value
    """Read how a peer says that it is: ``{"Status": "Busy"}``, also one level deeper.

    Raises:
        InvalidInput: there is no such status.
    """
    given = payload
    for _ in range(2):
        if isinstance(given, dict):
            given = next((one for name, one in given.items() if name.lower() == "status"), None)
    if not isinstance(given, str):
        return None
    try:
        return PeerStatus(given.lower())
    except ValueError as error:
        known = ", ".join(one for one in PeerStatus if one is not PeerStatus.OFFLINE)
        raise InvalidInput(
            f"{given[:64]!r} is no status of a peer.", hint=f"Use {known}."
        ) from error


async def _publish(
    services: Services, envelope: Envelope, payload: Payload, *, caller: str
) -> Response:
    """Publish what is told; the same message again counts once."""
    metadata = envelope.metadata or {}
    if envelope.message_type is MessageType.EVENT:
        named = metadata.get("topic")
        parts = parts_of(envelope.to)
        name = None
        topic = named if isinstance(named, str) and named else payload.event_type
        topic = topic or (envelope.to if parts is None else parts[1])
    else:
        topic, name = f"a2a.{envelope.message_type}", envelope.correlation_id
    published = await services.topics.publish(
        topic,
        {
            "from": envelope.sender,
            "to": envelope.to,
            "message_id": envelope.id,
            "correlation_id": envelope.correlation_id,
            "payload": payload.value,
            "metadata": metadata,
        },
        name=name,
        event_id=derive_id("envelope", caller, envelope.sender, envelope.id),
    )
    told = {"event_id": published.event_id, "topic": topic, "is_new": published.is_new}
    return Response(
        message_id=envelope.id,
        status=Status.SUCCESS,
        payload={"Json": told},
        location=topic_path(topic),
    )


def _refusal(message_id: str, error: AgencyError) -> Response:
    """Tell why nothing was done: of what may be done later that it failed, else that it may not."""
    is_ours = isinstance(error, Unavailable) or status_of(type(error)) >= 500
    return Response(
        message_id=message_id,
        status=Status.ERROR if is_ours else Status.REJECTED,
        error=_words_of(message_id, error),
        http_status=status_of(type(error)),
    )


def _words_of(message_id: str, error: AgencyError) -> str:
    if isinstance(error, IdempotencyMismatch):
        return f"The id {message_id!r} was used for another message."
    if isinstance(error, InvalidInput) and error.faults:
        faults = error.faults[:FAULTS_MAX]
        return "; ".join(f"{one.where}: {one.what}".removeprefix(": ") for one in faults)
    return f"{error.message} {error.hint}".strip()


def _hash_of(envelope: Envelope) -> str:
    """Tell messages of one id apart: by what they ask for, not by when they were sent."""
    asked: list[Any] = [envelope.to, envelope.message_type, envelope.payload, envelope.priority]
    return hashlib.sha256(json.encode_canonical(asked)).hexdigest()
