"""The provider port over Anthropic's Messages API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from agency.core import json
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import (
    AgencyError,
    ModelLacks,
    ModelRefused,
    ModelReplyBroken,
    ModelUnavailable,
)
from agency.models.anthropic.body import chat_body
from agency.models.anthropic.reply import ReplyBuilder
from agency.models.events import parse_event
from agency.models.http import Answer
from agency.models.limits import CallLimits, Phase
from agency.models.pairing import paired
from agency.models.progress import Signs
from agency.models.refusals import REFUSAL_BYTES_MAX, Refusal, error_in, error_of, read_error
from agency.models.schema import check_answer
from agency.models.server import HEALTH_TIMEOUT_S, LIST_TIMEOUT_S, Server, Signed
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
)

USUAL_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
"""Of the API; source: Anthropic's API reference, "Versions"."""

CONTEXT_TOKENS = 200_000
"""Context of every Claude model since Claude 2.1; the API does not tell it.
Source: Anthropic's models overview."""

LIST_ROWS_MAX = 1000


class AnthropicProvider:
    """The API, as `agency.ports.model.Provider`. Opened by `open_anthropic`."""

    is_rehearsal = False

    def __init__(self, server: Server) -> None:
        """Take the server; nothing is sent."""
        self._server = server
        # People copy the address with the version and without.
        self._root = "" if server.address.url.endswith("/v1") else "/v1"

    @property
    def name(self) -> str:
        """Name of its section."""
        return self._server.name

    @property
    def resource(self) -> str:
        """``model:NAME``."""
        return self._server.resource

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask for one reply, as the port promises; streaming inside. It knows no ``seed``."""
        server = self._server
        limits = CallLimits(server.llm, has_tools=bool(request.tools))
        signs = Signs(on_progress, provider=self.name, model=request.model)
        with signs.shown():
            signs.enter(CallStage.QUEUED)
            async with (
                server.lanes.place(
                    request.model, urgency=request.urgency, turn_key=request.turn_key
                ),
                limits.watch(),
            ):
                limits.enter(Phase.LOAD)
                call = _Call(request, await self._sign(), limits, signs, on_token)
                reply = await self._ask(call)
        if request.response_schema is not None:
            await check_answer(reply, request.response_schema)
        return reply

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Refuse: the API makes no embeddings.

        Raises:
            ModelLacks: always.
        """
        del texts
        raise ModelLacks(
            f"The provider {self.name!r} makes no embeddings, with {model!r} or any other model.",
            capability="embedding",
            hint="Name a model of another provider in [roles] embed.",
        )

    async def models(self) -> Sequence[ModelInfo]:
        """List the models that the account may use."""
        signed = await self._sign()
        path = f"{self._root}/models?limit={LIST_ROWS_MAX}"
        try:
            async with (
                asyncio.timeout(LIST_TIMEOUT_S),
                self._server.exchange("GET", path, None, signed) as answer,
            ):
                found = await self._object(answer, "", signed)
        except TimeoutError:
            raise ModelUnavailable(self.resource, f"no list within {LIST_TIMEOUT_S:g} s") from None
        listed = found.get("data")
        if not isinstance(listed, list):
            raise ModelReplyBroken("The model server's list of models is not a list.")
        return [
            ModelInfo(
                name=str(entry["id"]),
                is_remote=not self._server.address.is_loopback,
                details={"display_name": entry.get("display_name") or ""},
            )
            for entry in listed
            if isinstance(entry, dict) and entry.get("id")
        ]

    async def context(self, model: str) -> ContextLimits:
        """Say what the settings tell, and what is known of Claude; see the port."""
        trained = CONTEXT_TOKENS if model.startswith("claude") else None
        return ContextLimits(configured=self._server.settings.num_ctx or None, trained=trained)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """Say what is known of Claude; whether it thinks, the API does not tell."""
        known = frozenset({"completion", "tools", "vision"})
        return known if model.startswith("claude") else None

    async def health(self) -> Health:
        """Ask for one model; a server that refuses our key does answer."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                signed = await self._sign_or_not()
                path = f"{self._root}/models?limit=1"
                async with self._server.exchange("GET", path, None, signed) as answer:
                    if answer.status in {401, 403}:
                        return Health(reachable=True, reason="it refuses the key")
                    if answer.status >= 500:
                        reason = f"it answers with status {answer.status}"
                        return Health(reachable=False, reason=reason)
                    return Health(reachable=True, version=VERSION)
        except TimeoutError:
            return Health(reachable=False, reason=f"no answer within {HEALTH_TIMEOUT_S:g} s")
        except AgencyError as error:
            return Health(reachable=False, reason=getattr(error, "reason", error.message))

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        await self._server.close()

    async def _ask(self, call: _Call) -> ChatReply:
        server, request = self._server, call.request
        written = chat_body(
            request,
            paired(request.messages),
            tokens_max=request.tokens_max or server.tokens_max,
        )
        began_s = monotonic_s()
        builder = ReplyBuilder(request.model, written)
        call.limits.enter(Phase.LOAD)
        call.signs.enter(CallStage.READING)
        path = f"{self._root}/messages"
        async with server.exchange("POST", path, written.body, call.signed) as answer:
            if answer.status != 200 or answer.is_page or not answer.is_stream:
                builder.add_whole(await self._object(answer, request.model, call.signed))
            else:
                call.limits.enter(Phase.FIRST_TOKEN)
                await self._read(answer, builder, call)
        return builder.finish(provider=self.name, elapsed_s=monotonic_s() - began_s)

    async def _read(self, answer: Answer, builder: ReplyBuilder, call: _Call) -> None:
        phase = Phase.FIRST_TOKEN
        async with aclosing(answer.events()) as events:
            async for event in events:
                found = parse_event(event.data, call.request.model)
                if event.name == "error" or found.get("type") == "error":
                    error = error_in(found) or found
                    raise error_of(self._refusal(200, error, call.request.model, call.signed))
                content, has_news = builder.add(found)
                phase = Phase.BETWEEN_TOKENS if has_news else phase
                # A ping is a sign of life, too.
                call.limits.enter(phase)
                if has_news:
                    call.signs.quiet()
                if content and call.on_token is not None:
                    call.on_token(content)
                if builder.is_done:
                    return

    async def _object(self, answer: Answer, model: str, signed: Signed) -> dict[str, Any]:
        """Read an answer that is one JSON object, or raise what it means."""
        body = await answer.body()
        error = read_error(body[:REFUSAL_BYTES_MAX])
        if answer.status != 200 or answer.is_page:
            raise error_of(self._refusal(answer.status, error, model, signed, answer.retry_after_s))
        try:
            found = json.decode(body)
        except json.NotJson:
            found = None
        if not isinstance(found, dict):
            raise error_of(self._refusal(200, None, model, signed))
        if found.get("type") == "error":
            raise error_of(self._refusal(200, error, model, signed))
        return found

    def _refusal(
        self,
        status: int,
        error: Mapping[str, Any] | None,
        model: str,
        signed: Signed,
        retry_after_s: float | None = None,
    ) -> Refusal:
        return self._server.refusal(
            status, error, model=model, signed=signed, retry_after_s=retry_after_s
        )

    async def _sign(self) -> Signed:
        signed = await self._server.sign("x-api-key")
        return Signed({"anthropic-version": VERSION, **signed.headers}, signed.secrets)

    async def _sign_or_not(self) -> Signed:
        """Without its key a server can still be seen to be there."""
        try:
            return await self._sign()
        except ModelRefused:
            return Signed({"anthropic-version": VERSION}, ())


@dataclass(frozen=True, slots=True)
class _Call:
    request: ChatRequest
    signed: Signed
    limits: CallLimits
    signs: Signs
    on_token: Callable[[str], None] | None


@asynccontextmanager
async def open_anthropic(server: Server) -> AsyncIterator[AnthropicProvider]:
    """Open the provider; the server may be away, runs that need it wait."""
    provider = AnthropicProvider(server)
    try:
        yield provider
    finally:
        await provider.close()
