"""Models by what they are asked for: the lists of each role, and falling back along them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agency.core.clock import monotonic_s
from agency.domain.fitness import Fitness, fitness_name
from agency.errors import (
    AgencyError,
    ModelCrashed,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
)
from agency.models.reference import parse_reference
from agency.ports.fitness import FitnessStore
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    Choice,
    Embedded,
    PassedOver,
    Provider,
    Role,
    Traits,
)

log = logging.getLogger(__name__)

FALLBACK_ON = (ModelUnavailable, ModelNotFound, ModelRefused, ModelCrashed)
"""What makes another model of the role be asked. Not a call that was cut off, timed out or came to
nothing: those are tried again with the same model, as its answer may just be late."""

CRASHES_MAX = 2
"""Calls of one run that died with a healthy server, before another model of the role is asked. One
less than the engine allows a step, so that its last try goes to the other model."""

CRASHES_KEPT_S = 600.0
"""A model that crashed is left alone by that run for so long."""

DIGESTS_KEPT_S = 60.0
DIGESTS_WAIT_S = 2.0
"""Whether a model was pulled anew since its check is looked at so often, and so patiently."""

CRASHES_ROWS_MAX = 1000
"""Runs with crashes that are remembered; the oldest are forgotten first."""

T = TypeVar("T")


class Models:
    """All providers of this daemon, as `agency.ports.model.Roles`."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        default: str,
        model: str,
        embedding_model: str = "",
        roles: Mapping[Role, Sequence[str]] | None = None,
        fitness: FitnessStore | None = None,
    ) -> None:
        """Take the providers and the lists of the roles.

        Args:
            providers: By name; ``default`` is among them.
            default: Who serves what names no provider.
            model: Asked for every role without a list but `Role.EMBED`.
            embedding_model: Asked for `Role.EMBED` without a list; empty for ``model``.
            roles: References in order of fallback, for those roles that have a list.
            fitness: Outcomes of checks.
        """
        assert default in providers
        self._providers = dict(providers)
        self._default = default
        self._model = model
        self._embedding_model = embedding_model or model
        self._roles = {role: tuple(names) for role, names in (roles or {}).items() if names}
        self._fitness = fitness
        self._crashes = _Crashes()
        self._digests_kept: dict[str, tuple[float, Mapping[str, str]]] = {}

    @property
    def default(self) -> Provider:
        """Who serves what names no provider."""
        return self._providers[self._default]

    @property
    def providers(self) -> Mapping[str, Provider]:
        """All of them by name."""
        return self._providers

    def choices(
        self, role: Role, *, model: str = "", pinned: str | None = None
    ) -> Sequence[Choice]:
        """List whom the role asks, in order of fallback, as the port promises."""
        references = [model] if model else self._listed(role)
        provider = pinned or self._default
        serving = self._providers.get(provider)
        if serving is not None and serving.is_rehearsal:
            # It stands in for all of them; what is made up must not be mixed with what is not.
            only = parse_reference(references[0], providers=self._known(), default=provider)
            return [Choice(provider=provider, model=only.model)]
        found = [
            parse_reference(text, providers=self._providers, default=provider)
            for text in references
        ]
        if any(choice.provider not in self._providers for choice in found):
            raise ModelUnavailable(
                f"model:{provider}",
                f"the run is pinned to the provider {provider!r}, and this daemon has "
                f"{', '.join(sorted(self._providers))}",
            )
        return list(dict.fromkeys(found))

    async def chat(
        self,
        role: Role,
        request: ChatRequest,
        *,
        pinned: str | None = None,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask the role's models in their order until one answers, as the port promises."""
        has_begun = False

        def note_token(token: str) -> None:
            nonlocal has_begun
            has_begun = True
            if on_token is not None:
                on_token(token)

        async def ask(choice: Choice) -> ChatReply:
            provider = self._providers[choice.provider]
            asked = replace(request, model=choice.model)
            if on_progress is None:
                reply = await provider.chat(asked, on_token=note_token)
            else:
                reply = await provider.chat(asked, on_token=note_token, on_progress=on_progress)
            return replace(reply, is_rehearsal=provider.is_rehearsal)

        choices = self.choices(role, model=request.model, pinned=pinned)
        reply, passed_over = await self._first(
            role,
            choices,
            ask,
            turn_key=request.turn_key,
            may_go_on=lambda: not has_begun,
            on_progress=on_progress,
        )
        return replace(reply, passed_over=tuple(passed_over)) if passed_over else reply

    async def embed(
        self, texts: Sequence[str], *, model: str = "", pinned: str | None = None
    ) -> Embedded:
        """Turn texts into vectors, as the port promises."""

        async def ask(choice: Choice) -> Embedded:
            vectors = await self._providers[choice.provider].embed(choice.model, texts)
            return Embedded(vectors=vectors, provider=choice.provider, model=choice.model)

        choices = self.choices(Role.EMBED, model=model, pinned=pinned)
        found, _ = await self._first(Role.EMBED, choices, ask)
        return found

    async def traits(self, role: Role, *, model: str = "", pinned: str | None = None) -> Traits:
        """Look what the first model of the role is like, as the port promises."""
        choice = self.choices(role, model=model, pinned=pinned)[0]
        provider = self._providers[choice.provider]
        return Traits(
            choice=choice,
            limits=await provider.context(choice.model),
            capabilities=await provider.capabilities(choice.model),
            fitness=await self._fitness_of(choice),
            is_rehearsal=provider.is_rehearsal,
        )

    async def _fitness_of(self, choice: Choice) -> Fitness | None:
        if self._fitness is None:
            return None
        found = await self._fitness.find(choice.provider, choice.model)
        if found is None or not found.digest:
            return found
        now = (await self._digests(choice.provider)).get(fitness_name(choice.model))
        # Other weights under the old name have not been checked.
        return found if now is None or now == found.digest else None

    async def _digests(self, provider: str) -> Mapping[str, str]:
        """Read which weights the names stand for, from memory for a minute; empty when away."""
        kept = self._digests_kept.get(provider)
        if kept is not None and monotonic_s() < kept[0]:
            return kept[1]
        try:
            async with asyncio.timeout(DIGESTS_WAIT_S):
                listed = await self._providers[provider].models()
        except (AgencyError, TimeoutError):
            listed = ()
        digests = {fitness_name(one.name): one.digest for one in listed if one.digest}
        self._digests_kept[provider] = (monotonic_s() + DIGESTS_KEPT_S, digests)
        return digests

    async def _first(
        self,
        role: Role,
        choices: Sequence[Choice],
        ask: Callable[[Choice], Awaitable[T]],
        *,
        turn_key: str = "",
        may_go_on: Callable[[], bool] = lambda: True,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> tuple[T, list[PassedOver]]:
        """Ask one after the other; the error of the first one is raised when none answers."""
        passed_over: list[PassedOver] = []
        first_error: AgencyError | None = None
        for i, choice in enumerate(choices):
            is_last = i + 1 == len(choices)
            try:
                if not is_last and self._crashes.are_too_many(turn_key, choice):
                    raise _crashed(choice)
                return await ask(choice), passed_over
            except FALLBACK_ON as error:
                first_error = first_error or error
                if not may_go_on():
                    raise
                passed_over.append(_passed_over(choice, error))
                if not is_last:
                    _tell(role, choice, choices[i + 1], error, on_progress)
            except ModelInterrupted:
                if not is_last:
                    await self._note_crash(turn_key, choice)
                raise
        assert first_error is not None
        raise first_error

    async def _note_crash(self, turn_key: str, choice: Choice) -> None:
        # A server that is away altogether has not been killed by this call; the run waits for it.
        if (await self._providers[choice.provider].health()).reachable:
            self._crashes.note(turn_key, choice)

    def _listed(self, role: Role) -> Sequence[str]:
        if role in self._roles:
            return self._roles[role]
        if role is Role.EMBED:
            return [self._embedding_model]
        # The plain list of the conversation serves where a role has none of its own.
        return self._roles.get(Role.CHAT) or [self._model]

    def _known(self) -> frozenset[str]:
        """Names that may stand before a slash, also while the rehearsal stands in for them."""
        return frozenset(self._providers) | {"ollama"}


class _Crashes:
    """Which runs have killed which models lately."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Choice], list[float]] = {}

    def note(self, turn_key: str, choice: Choice) -> None:
        self._seen.setdefault((turn_key, choice), []).append(monotonic_s())
        while len(self._seen) > CRASHES_ROWS_MAX:
            del self._seen[next(iter(self._seen))]

    def are_too_many(self, turn_key: str, choice: Choice) -> bool:
        times_s = self._seen.get((turn_key, choice), [])
        recent = [at_s for at_s in times_s if monotonic_s() - at_s < CRASHES_KEPT_S]
        if times_s and not recent:
            del self._seen[turn_key, choice]
        return len(recent) >= CRASHES_MAX


def _crashed(choice: Choice) -> ModelCrashed:
    return ModelCrashed(f"Calls to {choice} died {CRASHES_MAX} times while its server was healthy.")


def _passed_over(choice: Choice, error: AgencyError) -> PassedOver:
    return PassedOver(
        provider=choice.provider, model=choice.model, code=error.code, reason=error.message
    )


def _tell(
    role: Role,
    choice: Choice,
    other: Choice,
    error: AgencyError,
    on_progress: Callable[[CallProgress], None] | None,
) -> None:
    log.warning(
        "another model is asked",
        extra={
            "role": role.value,
            "model": str(choice),
            "instead": str(other),
            "code": error.code,
            "reason": error.message,
        },
    )
    if on_progress is not None:
        on_progress(
            CallProgress(
                stage=CallStage.FALLBACK,
                text=f"asking {other} instead of {choice}: {error.message}",
                provider=other.provider,
                model=other.model,
            )
        )
