"""The provider port without a model."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence

from agency.config.schema import Llm
from agency.core.clock import monotonic_s
from agency.errors import ModelAnswerUnfit
from agency.models.aside import aside
from agency.models.lane import Lanes
from agency.models.progress import Signs
from agency.models.rehearsal.answers import own_answer
from agency.models.rehearsal.failure import failure
from agency.models.rehearsal.script import Rule, Script
from agency.models.schema import check_answer
from agency.models.vectors import hashed_vector
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
)

NAME = "rehearsal"
RESOURCE = "model:rehearsal"

_TOKEN = re.compile(r"\s*\S+\s*")


class RehearsalProvider:
    """A stand-in that answers by script or by rule, as `agency.ports.model.Provider`."""

    def __init__(self, settings: Llm, script: Script | None = None) -> None:
        """Take the settings, and the script if there is one."""
        self._context_tokens = settings.num_ctx
        self._model = settings.model
        self._script = script or Script()
        self._lanes = Lanes(places=settings.concurrency)
        self._used: Counter[int] = Counter()

    @property
    def name(self) -> str:
        """``rehearsal``."""
        return NAME

    @property
    def resource(self) -> str:
        """``model:rehearsal``; it is away only when a script says so."""
        return RESOURCE

    @property
    def is_rehearsal(self) -> bool:
        """True: the answers are made up."""
        return True

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Answer by the first rule of the script that applies, else by `own_answer`.

        Raises:
            the errors of the port, where a script asks for them or breaks the response schema.
        """
        signs = Signs(on_progress, provider=NAME, model=request.model)
        with signs.shown():
            signs.enter(CallStage.QUEUED)
            async with self._lanes.place(
                request.model, urgency=request.urgency, turn_key=request.turn_key
            ):
                signs.enter(CallStage.LOADING)
                reply = await self._answer(request)
                signs.quiet()
                if on_token is not None:
                    for token in _TOKEN.findall(reply.content):
                        on_token(token)
        return reply

    async def _answer(self, request: ChatRequest) -> ChatReply:
        began_s = monotonic_s()
        rule = self._scripted(request)
        is_own = rule is None
        if rule is None:
            rule = await self._own(request)
        if rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        if rule.fail is not None:
            raise failure(rule.fail, resource=RESOURCE, model=request.model, place=rule.place)
        reply = _reply(request, rule, elapsed_s=monotonic_s() - began_s)
        if request.response_schema is not None and not is_own:
            await _check_scripted(reply, request, rule)
        return reply

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Make up vectors: the same text has the same one, shared words bring texts nearer."""
        del model
        return [hashed_vector(text) for text in texts]

    async def models(self) -> Sequence[ModelInfo]:
        """Name the configured model; any other name is answered as well."""
        return [ModelInfo(name=self._model, details={"rehearsal": True})]

    async def context(self, model: str) -> ContextLimits:
        """Say what is asked for; see the port."""
        return ContextLimits(configured=self._context_tokens)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """It plays whatever is asked of it; see the port."""
        return frozenset({"completion", "tools", "vision", "thinking", "embedding"})

    async def health(self) -> Health:
        """It always answers."""
        return Health(reachable=True, version=NAME)

    def rewind(self) -> None:
        """Forget how often each rule was used."""
        self._used.clear()

    def _scripted(self, request: ChatRequest) -> Rule | None:
        for i, rule in enumerate(self._script.rules):
            is_left = not rule.times or self._used[i] < rule.times
            if is_left and rule.when.holds(request):
                self._used[i] += 1
                return rule
        return None

    async def _own(self, request: ChatRequest) -> Rule:
        if request.response_schema is None and not request.tools:
            return own_answer(request)
        # Making values up imports jsonschema and may search for some tenths of a second.
        return await aside(lambda: own_answer(request))


def _reply(request: ChatRequest, rule: Rule, *, elapsed_s: float) -> ChatReply:
    prompt_words = sum(len(message.content.split()) for message in request.messages)
    reply_words = len(rule.reply.split()) + len(rule.thinking.split()) + len(rule.tool_calls)
    return ChatReply(
        content=rule.reply,
        thinking=rule.thinking,
        tool_calls=tuple(rule.tool_calls),
        model=request.model,
        provider=NAME,
        ended_by=rule.ended_by,
        prompt_tokens=prompt_words,
        reply_tokens=reply_words,
        elapsed_s=elapsed_s,
    )


async def _check_scripted(reply: ChatReply, request: ChatRequest, rule: Rule) -> None:
    assert request.response_schema is not None
    try:
        await check_answer(reply, request.response_schema)
    except ModelAnswerUnfit as error:
        error.hint = f"Correct the reply of {rule.place} in the rehearsal script."
        raise
