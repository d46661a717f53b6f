"""A2A over gRPC, on a port of its own and in the same loop; an extra: ``agency[grpc]``.

One service serves all agents: the tenant of a request says which one is meant, as the card's entry
for this interface says; without one it is the default agent.

Source: A2A 1.0.1, section 10; google.rpc.Status in trailing metadata.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import grpc
from a2a.utils.errors import A2AError, VersionNotSupportedError
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from agency.a2a.calls import HEADERS_KEY, OPERATIONS, Call, Operation
from agency.a2a.negotiation import EXTENSIONS, V10, VERSION, extensions_of, version_of
from agency.a2a.operations import ADDRESS
from agency.a2a.operations import VERSION as VERSION_KEY
from agency.a2a.reception import Reception
from agency.a2a.refusals import Refusal, refusal_of
from agency.config.schema import Server
from agency.core.context import CORRELATION_ID
from agency.core.ids import new_id
from agency.errors import AgencyError, Forbidden, PortTaken, TokenMissing, TokenRefused
from agency.web.access import Access
from agency.web.sse import Streams

log = logging.getLogger(__name__)

SERVICE = "lf.a2a.v1.A2AService"
STOP_GRACE_S = 1.0
"""Calls that still run when the daemon stops have so long; what they have started goes on."""
METADATA_BYTES_MAX = 16 * 1024
"""Headers of one call, as over HTTP."""

_DETAILS = "grpc-status-details-bin"


class GrpcFront:
    """Answers calls over gRPC."""

    def __init__(
        self,
        reception: Reception,
        access: Access,
        streams: Streams,
        *,
        address: str,
    ) -> None:
        """Take what stands behind it; ``address`` is where links in artifacts begin."""
        self._reception = reception
        self._access = access
        self._streams = streams
        self._address = address

    def handlers(self) -> grpc.GenericRpcHandler:
        """Make what a server of gRPC serves."""
        made = {name: self._handler(operation) for name, operation in OPERATIONS.items()}
        return grpc.method_handlers_generic_handler(SERVICE, made)

    def _handler(self, operation: Operation) -> grpc.RpcMethodHandler:
        make = (
            grpc.unary_stream_rpc_method_handler
            if operation.is_stream
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            self._streaming(operation) if operation.is_stream else self._answering(operation),
            request_deserializer=operation.request.FromString,
            response_serializer=operation.response.SerializeToString,
        )

    def _answering(
        self, operation: Operation
    ) -> Callable[[Message, grpc.aio.ServicerContext], Awaitable[Message]]:
        async def answer(params: Message, context: grpc.aio.ServicerContext) -> Message:
            try:
                call = await self._call(operation, params, context)
                return await call.answer()
            except (A2AError, AgencyError) as error:
                await _abort(context, error)
                raise

        return answer

    def _streaming(
        self, operation: Operation
    ) -> Callable[[Message, grpc.aio.ServicerContext], AsyncIterator[Message]]:
        async def answer(
            params: Message, context: grpc.aio.ServicerContext
        ) -> AsyncGenerator[Message, None]:
            try:
                call = await self._call(operation, params, context)
                with self._streams.place():
                    async with aclosing(call.events()) as events:
                        async for event in events:
                            yield event
            except (A2AError, AgencyError) as error:
                await _abort(context, error)

        return answer

    async def _call(
        self, operation: Operation, params: Message, context: grpc.aio.ServicerContext
    ) -> Call:
        CORRELATION_ID.set(new_id())
        metadata = _metadata(context)
        principal = await self._access.principal(metadata.get("authorization"))
        # There is no 0.3 here: its clients find no interface of theirs in the card.
        version_of(metadata.get(VERSION.lower()), None, offers_v03=False)
        tenant: str = getattr(params, "tenant", "")
        reception = self._reception
        published = reception.published(tenant) if tenant else reception.default()
        log.info("gRPC call", extra={"operation": operation.name, "agent": published.name})
        return reception.make_call(
            reception.target(published),
            operation,
            params,
            principal=principal,
            extensions=extensions_of([metadata.get(EXTENSIONS.lower(), "")]),
            state={ADDRESS: self._address, VERSION_KEY: V10, HEADERS_KEY: metadata},
        )


@asynccontextmanager
async def serving_grpc(front: GrpcFront, server: Server, *, port: int) -> AsyncIterator[int]:
    """Serve over gRPC until the end of the block, and give the port.

    Raises:
        PortTaken: somebody else listens there.
    """
    bytes_max = server.body_bytes_max
    listening = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", bytes_max),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            # Else two daemons could share a port, and each would get some of the calls.
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=server.connections_max,
    )
    listening.add_generic_rpc_handlers((front.handlers(),))
    host = f"[{server.host}]" if ":" in server.host else server.host
    try:
        bound = listening.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise PortTaken(server.host, port, "") from error
    await listening.start()
    log.info("gRPC served", extra={"host": server.host, "port": bound})
    try:
        yield bound
    finally:
        await listening.stop(STOP_GRACE_S)


def _metadata(context: grpc.aio.ServicerContext) -> Mapping[str, str]:
    """Read the metadata that are text; of several with one name all, as HTTP joins them."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


async def _abort(context: grpc.aio.ServicerContext, error: A2AError | AgencyError) -> None:
    refusal = refusal_of(error)
    code = _code_of(error, refusal)
    status = Status(code=code.value[0], message=refusal.message, details=_details(refusal))
    context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    await context.abort(code, refusal.message)


def _code_of(error: Exception, refusal: Refusal) -> grpc.StatusCode:
    if isinstance(error, TokenMissing | TokenRefused):
        return grpc.StatusCode.UNAUTHENTICATED
    if isinstance(error, VersionNotSupportedError):
        # As 1.0.0 has it, and the suite; 1.0.1 says FAILED_PRECONDITION. Clients read the reason.
        return grpc.StatusCode.UNIMPLEMENTED
    if isinstance(error, Forbidden):
        return grpc.StatusCode.PERMISSION_DENIED
    code: grpc.StatusCode = grpc.StatusCode[refusal.grpc]
    return code


def _details(refusal: Refusal) -> Sequence[AnyMessage]:
    told: list[Message] = [
        ErrorInfo(reason=refusal.reason, domain=refusal.domain, metadata=refusal.metadata)
    ]
    if refusal.violations:
        violations = [
            BadRequest.FieldViolation(field=where, description=what)
            for where, what in refusal.violations
        ]
        told.append(BadRequest(field_violations=violations))
    if refusal.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(refusal.retry_after_s * 1000))
        told.append(RetryInfo(retry_delay=delay))
    packed = []
    for one in told:
        packed.append(AnyMessage())
        packed[-1].Pack(one)
    return packed
