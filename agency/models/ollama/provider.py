"""The provider port over Ollama's native API."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agency.config.schema import Llm
from agency.core import json
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import AgencyError, ModelLacks, ModelReplyBroken, ModelUnavailable
from agency.models import probe
from agency.models.address import parse_address
from agency.models.aside import aside
from agency.models.lane import Lanes
from agency.models.limits import CallLimits, Phase
from agency.models.ollama.body import chat_body, embed_body, load_body
from agency.models.ollama.faults import (
    REFUSAL_BYTES_MAX,
    Refusal,
    error_of,
    error_text,
    is_thinking_unsupported,
)
from agency.models.ollama.looks import REMOTE_KEPT_S, Looks
from agency.models.ollama.names import canonical_name, is_cloud_name, remote_refused
from agency.models.ollama.pull import pull
from agency.models.ollama.reply import NANOSECONDS, ReplyBuilder, parse_line
from agency.models.progress import Signs
from agency.models.prompt_check import is_prompt_doubtful
from agency.models.schema import check_answer
from agency.models.vectors import unit_rows
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
    PullProgress,
    Urgency,
)

if TYPE_CHECKING:
    from agency.models.ollama.wire import Answer, Wire

log = logging.getLogger(__name__)

NAME = "ollama"

HEALTH_TIMEOUT_S = 2.0
LIST_TIMEOUT_S = 10.0


class OllamaProvider:
    """Ollama, as `agency.ports.model.Provider`. Opened by `open_ollama`."""

    def __init__(self, settings: Llm, *, name: str = NAME) -> None:
        """Take the settings; nothing is imported and nothing is sent.

        Args:
            settings: The section ``[llm]``, or what a section ``[providers.NAME]`` makes of it.
            name: How it is called.

        Raises:
            ConfigurationInvalid: ``base_url`` is not an address.
        """
        self._settings = settings
        self._name = name
        self._resource = f"model:{name}"
        self._address = parse_address(settings.base_url)
        self._lanes = Lanes(places=settings.concurrency)
        self._opening = asyncio.Lock()
        self._wire: Wire | None = None
        self._looks = Looks(show=self._show, loaded=self._loaded)

    @property
    def name(self) -> str:
        """``ollama``, or the name of its section."""
        return self._name

    @property
    def resource(self) -> str:
        """``model:ollama``, or with the name of its section."""
        return self._resource

    @property
    def is_rehearsal(self) -> bool:
        """False: the answers are a model's."""
        return False

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask for one reply, as the port promises; streaming inside.

        A model that cannot think is asked again without ``think``. With a response schema the
        reply is checked against it, because the server drops parts of it on the way.
        """
        self._refuse_cloud_name(request.model)
        wire = await self._connect()
        limits = CallLimits(self._settings, has_tools=bool(request.tools))
        signs = Signs(on_progress, provider=self._name, model=request.model)
        with signs.shown():
            signs.enter(CallStage.QUEUED)
            async with (
                self._lanes.place(
                    canonical_name(request.model),
                    urgency=request.urgency,
                    turn_key=request.turn_key,
                ),
                limits.watch(),
            ):
                limits.enter(Phase.LOAD)
                signs.enter(CallStage.LOADING)
                await self._refuse_remote(request.model)
                await self._refuse_blind(request)
                call = _Call(wire, request, limits, signs, on_token)
                if on_progress is not None and await self._looks.is_loaded(request.model):
                    signs.enter(CallStage.READING)
                try:
                    reply = await self._ask(call)
                except _ThinkingUnsupported as refused:
                    if not request.think:
                        raise refused.error from None
                    call = replace(call, request=replace(request, think=None))
                    reply = await self._ask(call)
        self._looks.note_call(request.model, reply.prompt_tokens)
        if reply.is_prompt_doubtful:
            log.warning(
                "the server may have cut the prompt",
                extra={"model": request.model, "prompt_tokens": reply.prompt_tokens},
            )
        if request.response_schema is not None:
            await check_answer(reply, request.response_schema)
        return reply

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Turn texts into vectors, as the port promises."""
        self._refuse_cloud_name(model)
        if not texts:
            return []
        wire = await self._connect()
        limits = CallLimits(self._settings, has_tools=False)
        async with self._lanes.place(canonical_name(model)), limits.watch():
            limits.enter(Phase.LOAD)
            await self._refuse_remote(model)
            body = embed_body(model, texts, self._settings)
            async with wire.exchange("POST", "/api/embed", body) as answer:
                limits.enter(Phase.TOTAL)
                found = await self._object(answer, model)
        return unit_rows(found.get("embeddings"), model, count=len(texts))

    async def models(self) -> Sequence[ModelInfo]:
        """List the models that the server has, those of the cloud marked."""
        wire = await self._connect()
        try:
            async with (
                asyncio.timeout(LIST_TIMEOUT_S),
                wire.exchange("GET", "/api/tags") as answer,
            ):
                found = await self._object(answer, "")
        except TimeoutError:
            raise ModelUnavailable(self._resource, f"no list within {LIST_TIMEOUT_S:g} s") from None
        listed = found.get("models")
        if listed is not None and not isinstance(listed, list):
            raise ModelReplyBroken("The model server's list of models is not a list.")
        return [_model_info(entry) for entry in listed or [] if isinstance(entry, dict)]

    async def load(self, model: str) -> float:
        """Have the server load a model, so that the next call does not wait for it.

        Returns:
            Seconds that it took; 0 when it was loaded.

        Raises:
            as `chat`.
        """
        self._refuse_cloud_name(model)
        wire = await self._connect()
        limits = CallLimits(self._settings, has_tools=False)
        async with (
            self._lanes.place(canonical_name(model), urgency=Urgency.BACKGROUND),
            limits.watch(),
        ):
            limits.enter(Phase.LOAD)
            await self._refuse_remote(model)
            body = load_body(model, self._settings)
            async with wire.exchange("POST", "/api/chat", body) as answer:
                found = await self._object(answer, model)
        self._looks.note_call(model, None)
        return _seconds(found.get("load_duration"))

    async def pull(self, model: str, *, on_progress: Callable[[PullProgress], None]) -> None:
        """Have the server fetch a model, as `agency.ports.model.Puller` promises."""
        self._refuse_cloud_name(model)
        await pull(
            await self._connect(),
            model,
            on_progress=on_progress,
            refuse=lambda status, body: error_of(self._refusal(status, body, model)),
        )
        self._looks.forget(model)

    async def context(self, model: str) -> ContextLimits:
        """Say what is asked for, what the model was made for and what is set aside."""
        return await self._looks.limits(model, configured=self._settings.num_ctx)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """Look what a model can do; see the port."""
        shown = await self._looks.known(model)
        return shown.capabilities if shown is not None else None

    async def health(self) -> Health:
        """Look whether the server answers, without importing its client."""
        return await probe.look(self._address, limit_s=HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def _connect(self) -> Wire:
        if self._wire is None:
            async with self._opening:
                if self._wire is None:
                    self._wire = await self._make_wire()
        return self._wire

    async def _make_wire(self) -> Wire:
        # The import takes 0.4 s, and certificates some more: too long for the loop.
        def make() -> Wire:
            module = importlib.import_module("agency.models.ollama.wire")
            wire: Wire = module.Wire(self._address, self._resource)
            return wire

        return await aside(make)

    async def _ask(self, call: _Call) -> ChatReply:
        began_s = monotonic_s()
        request, limits = call.request, call.limits
        builder = ReplyBuilder(request.model)
        body = chat_body(request, self._settings)
        limits.enter(Phase.LOAD)
        async with call.wire.exchange("POST", "/api/chat", body) as answer:
            if answer.status != 200 or answer.is_page:
                raise await self._chat_refusal(answer, request.model)
            limits.enter(Phase.FIRST_TOKEN)
            async with aclosing(answer.lines()) as lines:
                async for text in lines:
                    content, has_news = builder.add(self._line(text, request.model))
                    if has_news:
                        call.signs.quiet()
                        limits.enter(Phase.BETWEEN_TOKENS)
                    if content and call.on_token is not None:
                        call.on_token(content)
                    if builder.is_done:
                        break
        reply = builder.finish(
            provider=self._name,
            elapsed_s=monotonic_s() - began_s,
            tokens_max=body["options"].get("num_predict"),
        )
        is_doubtful = is_prompt_doubtful(request, reply.prompt_tokens, self._settings.num_ctx)
        return replace(reply, is_prompt_doubtful=True) if is_doubtful else reply

    def _line(self, text: bytes, model: str) -> dict[str, Any]:
        line = parse_line(text, model)
        if line.get("error"):
            raise error_of(self._refusal(200, text, model))
        return line

    async def _refuse_remote(self, model: str) -> None:
        """Look up the model, so that nothing is sent to one that only pretends to be local.

        A stub under any name passes on to the cloud.
        """
        if self._settings.allow_remote:
            return
        if (await self._looks.shown(model, kept_s=REMOTE_KEPT_S)).is_remote:
            raise remote_refused(model)

    async def _refuse_blind(self, request: ChatRequest) -> None:
        """Refuse pictures for a model that cannot see: the server would drop them in silence."""
        if not any(message.images for message in request.messages):
            return
        shown = await self._looks.known(request.model)
        if shown is not None and shown.capabilities and "vision" not in shown.capabilities:
            raise ModelLacks(
                f"The model {request.model!r} cannot see pictures.",
                capability="vision",
                hint="Name a model with the capability `vision` in [roles] vision.",
            )

    async def _show(self, model: str) -> Mapping[str, Any]:
        wire = await self._connect()
        async with wire.exchange("POST", "/api/show", {"model": model}) as answer:
            if answer.status in {404, 405}:
                body = await answer.body(bytes_max=REFUSAL_BYTES_MAX)
                if error_text(body) is None:
                    return {}  # It does not know the path, so it is too simple to pass things on.
                raise error_of(self._refusal(answer.status, body, model))
            return await self._object(answer, model)

    async def _loaded(self) -> Mapping[str, Any]:
        wire = await self._connect()
        async with wire.exchange("GET", "/api/ps") as answer:
            return await self._object(answer, "")

    def _refuse_cloud_name(self, model: str) -> None:
        if not self._settings.allow_remote and is_cloud_name(model):
            raise remote_refused(model)

    async def _chat_refusal(self, answer: Answer, model: str) -> Exception:
        body = await answer.body(bytes_max=REFUSAL_BYTES_MAX)
        refusal = self._refusal(answer.status, body, model, answer.retry_after_s)
        error = error_of(refusal)
        return _ThinkingUnsupported(error) if is_thinking_unsupported(refusal) else error

    async def _object(self, answer: Answer, model: str) -> dict[str, Any]:
        """Read an answer that is one JSON object, or raise what it means."""
        body = await answer.body()
        if answer.status != 200 or answer.is_page:
            raise error_of(self._refusal(answer.status, body, model, answer.retry_after_s))
        try:
            found = json.decode(body)
        except json.NotJson:
            raise error_of(self._refusal(answer.status, body, model)) from None
        if not isinstance(found, dict):
            raise ModelReplyBroken("The model server answered with something else than an object.")
        return found

    def _refusal(
        self, status: int, body: bytes, model: str, retry_after_s: float | None = None
    ) -> Refusal:
        return Refusal(
            status=status,
            body=body,
            model=model,
            resource=self._resource,
            url=self._address.url,
            retry_after_s=retry_after_s,
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """What one try needs."""

    wire: Wire
    request: ChatRequest
    limits: CallLimits
    signs: Signs
    on_token: Callable[[str], None] | None


@asynccontextmanager
async def open_ollama(settings: Llm, *, name: str = NAME) -> AsyncIterator[OllamaProvider]:
    """Open the provider; the server may be away, runs that need it wait.

    Args:
        settings: As in `OllamaProvider`.
        name: As in `OllamaProvider`.

    Raises:
        ConfigurationInvalid: ``base_url`` is not an address.
    """
    provider = OllamaProvider(settings, name=name)
    try:
        yield provider
    finally:
        await provider.close()


class _ThinkingUnsupported(Exception):
    """Carries the error to raise if there is nothing to leave out."""

    def __init__(self, error: AgencyError) -> None:
        super().__init__(error.message)
        self.error = error


def _model_info(entry: dict[str, Any]) -> ModelInfo:
    name = str(entry.get("name") or entry.get("model") or "")
    size = entry.get("size")
    details = entry.get("details")
    return ModelInfo(
        name=name,
        size_bytes=size if isinstance(size, int) else 0,
        is_remote=bool(entry.get("remote_host") or entry.get("remote_model"))
        or is_cloud_name(name),
        digest=str(entry.get("digest") or ""),
        details=details if isinstance(details, dict) else {},
    )


def _seconds(nanoseconds: object) -> float:
    return nanoseconds / NANOSECONDS if isinstance(nanoseconds, int) else 0.0
