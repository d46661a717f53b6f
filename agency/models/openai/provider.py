"""The provider port over servers that speak OpenAI's chat completions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import field
from typing import Any

from agency.core import json
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import AgencyError, ModelRefused, ModelReplyBroken, ModelUnavailable
from agency.models.events import parse_event
from agency.models.http import Answer
from agency.models.limits import CallLimits, Phase
from agency.models.ollama.names import is_cloud_name, remote_refused
from agency.models.openai.body import Dialect, chat_body
from agency.models.openai.reply import ReplyBuilder
from agency.models.pairing import paired
from agency.models.progress import Signs
from agency.models.refusals import (
    REFUSAL_BYTES_MAX,
    Refusal,
    error_in,
    error_of,
    read_error,
)
from agency.models.schema import check_answer
from agency.models.server import (
    CATALOGUE_KEPT_S,
    CATALOGUE_MISSED_KEPT_S,
    HEALTH_TIMEOUT_S,
    LIST_TIMEOUT_S,
    Server,
    Signed,
)
from agency.models.vectors import unit_rows
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
)

COUNTS_WAIT_S = 2.0
"""After the model has ended, its counts and the end of the stream are waited for this long."""

EMBED_ROWS_MAX = 256
"""Texts of one request: servers bound a batch at 256 to 2048."""

_TEMPLATED = ("llamacpp", "vllm", "sglang")
"""What ``owned_by`` says of servers that pass options on to the chat template."""

_TRAINED = ("n_ctx_train", "max_model_len", "context_length", "max_context_length")
_ALLOCATED = ("n_ctx", "loaded_context_length")


class OpenAiProvider:
    """One such server, as `agency.ports.model.Provider`. Opened by `open_openai`."""

    is_rehearsal = False

    def __init__(self, server: Server) -> None:
        """Take the server; nothing is sent."""
        self._server = server
        self._dialects: dict[str, Dialect] = {}
        self._catalogue = _Catalogue()
        self._listing = asyncio.Lock()

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
        """Ask for one reply, as the port promises; streaming inside.

        A server that does not know one of our optional fields is asked again without it.
        """
        self._refuse_cloud_name(request.model)
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
                signed = await self._sign()
                dialect = await self._dialect(request, signed)
                while True:
                    try:
                        call = _Call(request, signed, dialect, limits, signs, on_token)
                        reply = await self._ask(call)
                        break
                    except _Unknown as refused:
                        if not refused.adapt(dialect):
                            raise refused.error from None
        if request.response_schema is not None:
            await check_answer(reply, request.response_schema)
        return reply

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Turn texts into vectors, as the port promises."""
        self._refuse_cloud_name(model)
        server, rows = self._server, list[Sequence[float]]()
        for i in range(0, len(texts), EMBED_ROWS_MAX):
            part = list(texts[i : i + EMBED_ROWS_MAX])
            limits = CallLimits(server.llm, has_tools=False)
            async with server.lanes.place(model), limits.watch():
                limits.enter(Phase.LOAD)
                body = {"model": model, "input": part, "encoding_format": "float"}
                signed = await self._sign()
                async with server.exchange("POST", "/embeddings", body, signed) as answer:
                    limits.enter(Phase.TOTAL)
                    found = await self._object(answer, model, signed)
            rows += unit_rows(_vectors(found), model, count=len(part))
        if len({len(row) for row in rows}) > 1:
            raise ModelReplyBroken(f"The vectors of the model {model!r} are not of one width.")
        return rows

    async def models(self) -> Sequence[ModelInfo]:
        """List the models that the server has."""
        entries = await self._list(await self._sign())
        return [
            ModelInfo(
                name=str(entry["id"]),
                size_bytes=_size(entry),
                is_remote=not self._server.address.is_loopback,
                details={name: entry[name] for name in ("owned_by",) if entry.get(name)},
            )
            for entry in entries
        ]

    async def context(self, model: str) -> ContextLimits:
        """Say what the settings and the server's list of models tell; see the port."""
        entry = await self._entry(model)
        meta = entry.get("meta")
        places = [entry, meta if isinstance(meta, dict) else {}]
        return ContextLimits(
            configured=self._server.settings.num_ctx or None,
            trained=_number(places, _TRAINED),
            allocated=_number(places, _ALLOCATED),
        )

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """Say what the server's list of models tells, where it does; see the port."""
        entry = await self._entry(model)
        told = entry.get("capabilities")
        if not isinstance(told, list):
            return None
        words = {str(word) for word in told}
        renamed = {"multimodal": "vision", "tool_use": "tools", "embeddings": "embedding"}
        return frozenset(renamed.get(word, word) for word in words)

    async def health(self) -> Health:
        """Ask for the list of models; a server that refuses our key does answer."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                signed = await self._sign_or_not()
                async with self._server.exchange("GET", "/models", None, signed) as answer:
                    return await self._judge(answer)
        except TimeoutError:
            return Health(reachable=False, reason=f"no answer within {HEALTH_TIMEOUT_S:g} s")
        except AgencyError as error:
            return Health(reachable=False, reason=getattr(error, "reason", error.message))

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        await self._server.close()

    def _refuse_cloud_name(self, model: str) -> None:
        """Refuse what an Ollama on this machine would pass on, which speaks this protocol, too."""
        server = self._server
        if server.address.is_loopback and not server.llm.allow_remote and is_cloud_name(model):
            raise remote_refused(model)

    # --- one chat ------------------------------------------------------------------------------

    async def _ask(self, call: _Call) -> ChatReply:
        server, request = self._server, call.request
        tokens_max = request.tokens_max or server.tokens_max
        written = chat_body(
            request,
            paired(request.messages),
            dialect=call.dialect,
            tokens_max=tokens_max,
            structured=server.settings.structured,
        )
        began_s = monotonic_s()
        builder = ReplyBuilder(request.model, written.names)
        call.limits.enter(Phase.LOAD)
        call.signs.enter(CallStage.LOADING)
        path = "/chat/completions"
        async with server.exchange("POST", path, written.body, call.signed) as answer:
            if answer.status != 200 or answer.is_page:
                raise await self._refused(answer, call)
            call.limits.enter(Phase.FIRST_TOKEN)
            if answer.is_stream:
                await self._read(answer, builder, call)
            else:
                # Some servers and proxies answer whole, whatever they were asked for.
                found = await self._object(answer, request.model, call.signed)
                self._take(found, builder, call)
                builder.is_done = True
        return builder.finish(
            provider=self.name, elapsed_s=monotonic_s() - began_s, tokens_max=tokens_max
        )

    async def _read(self, answer: Answer, builder: ReplyBuilder, call: _Call) -> None:
        """Read the stream to its end, or to where the model has ended and nothing more comes."""
        async with aclosing(answer.events()) as events:
            async for event in events:
                if event.data.strip() == b"[DONE]":
                    builder.is_done = True
                    return
                found = parse_event(event.data, call.request.model)
                self._raise_error(event.name, found, call)
                self._take(found, builder, call)
                if builder.is_finished:
                    break
            # The counts come after the end. A server that leaves the connection open after it, or
            # tears it, has said all that matters.
            try:
                async with asyncio.timeout(COUNTS_WAIT_S):
                    async for event in events:
                        if event.data.strip() == b"[DONE]" or builder.has_usage:
                            return
                        builder.add(parse_event(event.data, call.request.model))
            except (TimeoutError, AgencyError):
                return

    def _take(self, found: Mapping[str, Any], builder: ReplyBuilder, call: _Call) -> None:
        content, has_news = builder.add(found)
        if has_news:
            call.signs.quiet()
            call.limits.enter(Phase.BETWEEN_TOKENS)
        if content and call.on_token is not None:
            call.on_token(content)

    def _raise_error(self, name: str, found: Mapping[str, Any], call: _Call) -> None:
        """Raise what an error in the middle of a stream means, which has status 200."""
        is_error = name == "error" or "error" in found or found.get("object") == "error"
        if is_error and "choices" not in found:
            error = error_in(found) or found
            status = error.get("code")
            status = status if isinstance(status, int) and 400 <= status < 600 else 200
            raise error_of(self._refusal(status, error, call.request.model, call.signed))

    # --- answers that are not wanted -----------------------------------------------------------

    async def _refused(self, answer: Answer, call: _Call) -> Exception:
        body = await answer.body(bytes_max=REFUSAL_BYTES_MAX)
        error = read_error(body)
        refusal = self._refusal(
            answer.status, error, call.request.model, call.signed, answer.retry_after_s
        )
        meant = error_of(refusal)
        is_about_fields = answer.status in {400, 422} and isinstance(meant, ModelRefused)
        return _Unknown(meant, refusal.text) if is_about_fields else meant

    async def _object(self, answer: Answer, model: str, signed: Signed) -> dict[str, Any]:
        """Read an answer that is one JSON object, or raise what it means."""
        body = await answer.body()
        if answer.status != 200 or answer.is_page:
            error = read_error(body[:REFUSAL_BYTES_MAX])
            raise error_of(self._refusal(answer.status, error, model, signed, answer.retry_after_s))
        try:
            found = json.decode(body)
        except json.NotJson:
            found = None
        if not isinstance(found, dict):
            raise error_of(self._refusal(200, None, model, signed))
        if "error" in found and error_in(found):
            raise error_of(self._refusal(200, error_in(found), model, signed))
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

    # --- what the server has -------------------------------------------------------------------

    async def _sign(self) -> Signed:
        return await self._server.sign("Authorization", scheme="Bearer")

    async def _sign_or_not(self) -> Signed:
        """Without its key a server can still be seen to be there."""
        try:
            return await self._sign()
        except ModelRefused:
            return Signed({}, ())

    async def _judge(self, answer: Answer) -> Health:
        if answer.status in {401, 403}:
            return Health(reachable=True, reason="it refuses the key")
        body = await answer.body(bytes_max=REFUSAL_BYTES_MAX)
        if answer.status == 503:
            text = str((read_error(body) or {}).get("message", ""))
            loading = "loading" in text.lower()
            return Health(
                reachable=False, reason="it is loading its model" if loading else "status 503"
            )
        if answer.status >= 500:
            return Health(reachable=False, reason=f"it answers with status {answer.status}")
        return Health(reachable=True)

    async def _list(self, signed: Signed) -> Sequence[Mapping[str, Any]]:
        try:
            async with (
                asyncio.timeout(LIST_TIMEOUT_S),
                self._server.exchange("GET", "/models", None, signed) as answer,
            ):
                found = await self._object(answer, "", signed)
        except TimeoutError:
            raise ModelUnavailable(self.resource, f"no list within {LIST_TIMEOUT_S:g} s") from None
        listed = found.get("data")
        if not isinstance(listed, list):
            raise ModelReplyBroken("The model server's list of models is not a list.")
        # llama.cpp tells what a model can do in a second list, in Ollama's form.
        more = found.get("models")
        told = {
            str(entry.get("model") or entry.get("name")): entry
            for entry in (more if isinstance(more, list) else [])
            if isinstance(entry, dict)
        }
        entries = [entry for entry in listed if isinstance(entry, dict) and entry.get("id")]
        return [
            {**entry, **_only(told.get(str(entry["id"]), {}), "capabilities")} for entry in entries
        ]

    async def _entry(self, model: str) -> Mapping[str, Any]:
        """Look a model up in the list, kept for a while; empty when it is not there."""
        async with self._listing:
            if monotonic_s() >= self._catalogue.until_s:
                try:
                    entries = await self._list(await self._sign_or_not())
                except AgencyError:
                    self._catalogue.until_s = monotonic_s() + CATALOGUE_MISSED_KEPT_S
                else:
                    self._catalogue.entries = {str(entry["id"]): entry for entry in entries}
                    self._catalogue.until_s = monotonic_s() + CATALOGUE_KEPT_S
        entries_now = self._catalogue.entries
        if model not in entries_now and len(entries_now) == 1:
            # llama.cpp serves its one model under any name.
            only = next(iter(entries_now.values()))
            return only if only.get("owned_by") == "llamacpp" else {}
        return entries_now.get(model, {})

    async def _dialect(self, request: ChatRequest, signed: Signed) -> Dialect:
        del signed
        dialect = self._dialects.setdefault(request.model, Dialect())
        if isinstance(request.think, bool):
            entry = await self._entry(request.model)
            dialect.takes_template_options = entry.get("owned_by") in _TEMPLATED
        return dialect


@dataclass(slots=True)
class _Catalogue:
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    until_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class _Call:
    """What one try needs."""

    request: ChatRequest
    signed: Signed
    dialect: Dialect
    limits: CallLimits
    signs: Signs
    on_token: Callable[[str], None] | None


class _Unknown(Exception):
    """A refusal that may be about one of our optional fields."""

    def __init__(self, error: AgencyError, text: str) -> None:
        super().__init__(error.message)
        self.error = error
        self._text = text

    def adapt(self, dialect: Dialect) -> bool:
        """Leave out or rename what the refusal names; False when it names nothing of the kind."""
        if "max_completion_tokens" in self._text and dialect.tokens_key == "max_tokens":
            dialect.tokens_key = "max_completion_tokens"
            return True
        if "stream_options" in self._text and dialect.takes_stream_options:
            dialect.takes_stream_options = False
            return True
        return False


@asynccontextmanager
async def open_openai(server: Server) -> AsyncIterator[OpenAiProvider]:
    """Open the provider; the server may be away, runs that need it wait."""
    provider = OpenAiProvider(server)
    try:
        yield provider
    finally:
        await provider.close()


def _vectors(found: Mapping[str, Any]) -> object:
    """Take the vectors out of an answer, in the order of the texts."""
    data = found.get("data")
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        return None
    if all(isinstance(row.get("index"), int) for row in data):
        data = sorted(data, key=lambda row: row["index"])
    return [row.get("embedding") for row in data]


def _only(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: entry[name] for name in names if name in entry}


def _number(places: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _size(entry: Mapping[str, Any]) -> int:
    meta = entry.get("meta")
    size = meta.get("size") if isinstance(meta, dict) else None
    return size if isinstance(size, int) else 0
