"""``model_check``: a short look at what a model is fit for, as a durable run.

Each probe is a recorded step, so that a restart repeats at most one. The outcome is kept for the
agent, which offers a weak model fewer tools and asks it for actions by schema.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar

from pydantic import ConfigDict

from agency.core.records import dataclass
from agency.domain.fitness import Fitness, fitness_name
from agency.domain.run import RunKind
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.retry import Retry
from agency.engine.steps import StepCall
from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelLacks,
    ModelReplyBroken,
    ModelTimedOut,
    ModelUnavailable,
)
from agency.ports.fitness import FitnessStore
from agency.ports.model import CallProgress, Choice, Provider, Role, Roles
from agency.workflows.models.probes import Probe, probes
from agency.workflows.models.pull import ModelName

NAME = "model_check"
VERSION = "1"
CHECKS_AT_ONCE = 1
"""Two checks at once would measure each other's speed."""

DETAIL_CHARACTERS_MAX = 300

_RETRY = Retry(attempts=3, base_s=1.0, cap_s=30.0, retry_on=(ModelBusy,))
_WRONG = (ModelReplyBroken, ModelTimedOut, ContextTooLong)
"""What a model that is not fit for a probe comes to; anything else is no verdict on it."""

SCORES = ("answers", "schema", "tool_call", "tool_choice", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInput:
    """What to check: ``MODEL`` or ``PROVIDER/MODEL``; empty for the default."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: ModelName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutcome:
    """What one probe came to: ``score`` 1 right, 0 wrong, None not possible; ``detail`` why."""

    name: str
    score: float | None
    detail: str = ""
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutput:
    """What a check ends with; see `agency.domain.fitness.Fitness`."""

    provider: str
    model: str
    scores: dict[str, float | None]
    recall_tokens: int
    tokens_per_s: float | None
    load_s: float
    tools_per_turn: int
    calls_natively: bool
    rehearsal: bool
    probes: list[ProbeOutcome] = field(default_factory=list)


class ModelCheck:
    """Runs checks over the providers that this daemon has."""

    def __init__(
        self, roles: Roles, providers: Mapping[str, Provider], fitness: FitnessStore
    ) -> None:
        """Take the providers, who knows which one a name means, and where outcomes are kept."""
        self._roles = roles
        self._providers = providers
        self._fitness = fitness

    def definition(self) -> Definition:
        """The workflow ``model_check``."""
        return Definition(
            name=NAME,
            kind=RunKind.FUNCTION,
            version=VERSION,
            description="Finds out what a model is fit for.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(CheckInput),
            output_codec=codec_for(CheckOutput),
            concurrency=CHECKS_AT_ONCE,
        )

    async def run(self, ctx: Context, task: CheckInput) -> CheckOutput:
        """Check the model, and keep the outcome.

        Raises:
            StepFailed: it cannot be asked at all.
        """
        looked = await self._step(ctx, "look", functools.partial(self._look, task.model or ""))
        choice = Choice(provider=looked["provider"], model=looked["model"])
        todo = probes(looked["context_tokens"])
        found = []
        for number, probe in enumerate(todo):
            ctx.progress(number, len(todo), f"{choice}: {probe.name}")
            ask = functools.partial(self._try, ctx, choice, probe, (number, len(todo)))
            found.append(await self._step(ctx, probe.name, ask))
        fitness = judge(ctx, choice, looked, list(zip(todo, found, strict=True)))
        keep = functools.partial(self._keep, fitness)
        await self._step(ctx, "keep", keep)
        ctx.progress(len(todo), len(todo), f"{choice}: done")
        return CheckOutput(
            provider=choice.provider,
            model=choice.model,
            scores={name: getattr(fitness, name) for name in SCORES},
            recall_tokens=fitness.recall_tokens,
            tokens_per_s=fitness.tokens_per_s,
            load_s=fitness.load_s,
            tools_per_turn=fitness.tools_per_turn,
            calls_natively=fitness.calls_natively,
            rehearsal=looked["rehearsal"],
            probes=[
                ProbeOutcome(
                    name=probe.name,
                    score=one["score"],
                    detail=one["detail"],
                    elapsed_s=one["elapsed_s"],
                )
                for probe, one in zip(todo, found, strict=True)
            ],
        )

    async def _step(self, ctx: Context, name: str, function: Any) -> Any:  # noqa: ANN401
        return await ctx.perform(StepCall(name=name, function=function, retry=_RETRY))

    async def _look(self, reference: str) -> dict[str, Any]:
        """Find out who is meant, and what is known of it."""
        traits = await self._roles.traits(Role.CHAT, model=reference)
        choice, can = traits.choice, traits.capabilities
        if can and "completion" not in can:
            raise ModelLacks(
                f"The model {choice.model!r} cannot chat, so there is nothing to check.",
                capability="completion",
                hint="It makes embeddings only: name it in [roles] embed.",
            )
        provider = self._providers[choice.provider]
        return {
            "provider": choice.provider,
            "model": choice.model,
            "context_tokens": traits.limits.tokens,
            "capabilities": sorted(can) if can is not None else None,
            "digest": await _digest(provider, choice.model),
            "rehearsal": traits.is_rehearsal,
        }

    async def _try(
        self, ctx: Context, choice: Choice, probe: Probe, place: tuple[int, int]
    ) -> dict[str, Any]:
        """Do one probe; what a model is not fit for is an outcome, not a failure."""
        number, count = place

        def show(progress: CallProgress) -> None:
            ctx.step_progress(number, count, f"{choice}: {probe.name}, {progress.text}")

        provider = self._providers[choice.provider]
        request = probe.request(choice.model, ctx.run_id)
        try:
            reply = await provider.chat(request, on_progress=show)
        except ModelLacks as error:
            # Who cannot call tools at all has failed to; who cannot do another thing is not asked.
            return _outcome(0.0 if error.capability == probe.needs else None, error.message)
        except _WRONG as error:
            return _outcome(0.0, error.message)
        is_right = probe.is_right(reply)
        return {
            **_outcome(float(is_right), "" if is_right else _said(reply.content, reply.tool_calls)),
            "elapsed_s": reply.elapsed_s,
            "reply_tokens": reply.reply_tokens,
            "prompt_tokens": reply.prompt_tokens or probe.prompt_tokens,
            "load_s": reply.load_s,
        }

    async def _keep(self, fitness: Fitness) -> None:
        await self._fitness.keep(fitness)


def judge(
    ctx: Context,
    choice: Choice,
    looked: Mapping[str, Any],
    found: Sequence[tuple[Probe, Mapping[str, Any]]],
) -> Fitness:
    """Make one record of what all probes came to."""
    recalled = [
        one["prompt_tokens"] for probe, one in found if probe.score == "recall" and one["score"]
    ]
    return Fitness(
        provider=choice.provider,
        model=choice.model,
        checked_at=ctx.now(),
        run_id=ctx.run_id,
        digest=looked["digest"],
        recall_tokens=max(recalled, default=0),
        tokens_per_s=_speed([one for probe, one in found if probe.score != "recall"]),
        load_s=max((one["load_s"] for _, one in found), default=0.0),
        **{name: _mean(name, found) for name in SCORES},
    )


def _mean(name: str, found: Sequence[tuple[Probe, Mapping[str, Any]]]) -> float | None:
    scores = [one["score"] for probe, one in found if probe.score == name]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _speed(found: Sequence[Mapping[str, Any]]) -> float | None:
    """Tokens a second over all answers to short prompts, loading left out, reading included."""
    counted = [one for one in found if one["reply_tokens"]]
    seconds = sum(max(0.0, one["elapsed_s"] - one["load_s"]) for one in counted)
    tokens = sum(one["reply_tokens"] for one in counted)
    return round(tokens / seconds, 2) if tokens and seconds > 0 else None


def _outcome(score: float | None, detail: str) -> dict[str, Any]:
    return {
        "score": score,
        "detail": detail[:DETAIL_CHARACTERS_MAX],
        "elapsed_s": 0.0,
        "reply_tokens": None,
        "prompt_tokens": 0,
        "load_s": 0.0,
    }


def _said(content: str, calls: Sequence[Any]) -> str:
    called = ", ".join(call.name for call in calls)
    return f"It called {called}." if called else f"It said: {content}"


async def _digest(provider: Provider, model: str) -> str:
    """Find which weights a name stands for; empty where the provider does not tell."""
    try:
        listed = await provider.models()
    except ModelUnavailable:
        raise
    except AgencyError:
        return ""
    wanted = fitness_name(model)
    return next((one.digest for one in listed if fitness_name(one.name) == wanted), "")
