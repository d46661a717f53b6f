"""``model_pull``: having a model server fetch a model, as a durable run.

The server keeps what it has fetched, so a run that is interrupted goes on from there: the one step
is simply repeated. Cancelling the run closes the connection, which ends the download.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.core.records import dataclass
from agency.domain.run import RunKind
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.retry import Retry
from agency.engine.steps import StepCall
from agency.errors import ModelPullFailed, ModelRefused
from agency.ports.model import Choice, Provider, Puller, PullProgress, Role, Roles

NAME = "model_pull"
VERSION = "1"
PULLS_AT_ONCE = 2
"""Runs that fetch at the same time; more would only share the network."""

REFERENCE_CHARACTERS_MAX = 256

_RETRY = Retry(attempts=6, base_s=2.0, cap_s=60.0, retry_on=(ModelPullFailed,))

ModelName = Annotated[str, Field(min_length=1, max_length=REFERENCE_CHARACTERS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullInput:
    """What to fetch: ``MODEL`` or ``PROVIDER/MODEL``."""

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOutput:
    """What was fetched; ``bytes`` are those of all layers, also of those that were there."""

    provider: str
    model: str
    bytes: int


class ModelPull:
    """Runs downloads over the providers that this daemon has."""

    def __init__(self, roles: Roles, providers: Mapping[str, Provider]) -> None:
        """Take the providers, and who knows which one a name means."""
        self._roles = roles
        self._providers = providers

    def definition(self) -> Definition:
        """The workflow ``model_pull``."""
        return Definition(
            name=NAME,
            kind=RunKind.FUNCTION,
            version=VERSION,
            description="Has a model server fetch a model.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(PullInput),
            output_codec=codec_for(PullOutput),
            concurrency=PULLS_AT_ONCE,
        )

    async def run(self, ctx: Context, task: PullInput) -> PullOutput:
        """Fetch the model.

        Raises:
            StepFailed: it could not be fetched.
        """
        fetch = functools.partial(self._fetch, ctx, task.model)
        found = await ctx.perform(StepCall(name="pull", function=fetch, retry=_RETRY))
        return PullOutput(**found)

    async def _fetch(self, ctx: Context, reference: str) -> dict[str, Any]:
        choice = self._roles.choices(Role.CHAT, model=reference)[0]
        provider = self._providers[choice.provider]
        if provider.is_rehearsal or not isinstance(provider, Puller):
            raise ModelRefused(
                f"The provider {choice.provider!r} fetches no models.",
                hint="Name a provider of kind ollama, as PROVIDER/MODEL.",
            )
        shown = Shown(ctx, choice)
        await provider.pull(choice.model, on_progress=shown.note)
        return {
            "provider": choice.provider,
            "model": choice.model,
            "bytes": shown.total_bytes,
        }


class Shown:
    """Adds up the layers and shows how far all of them are."""

    def __init__(self, ctx: Context, choice: Choice) -> None:
        """Take whose run it is, and what is fetched."""
        self._ctx = ctx
        self._choice = choice
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def total_bytes(self) -> int:
        """Bytes of all layers that were told of."""
        return sum(total for _, total in self._layers.values())

    def note(self, progress: PullProgress) -> None:
        """Take in one line of the server's."""
        if progress.digest and progress.total_bytes:
            done = min(progress.completed_bytes, progress.total_bytes)
            self._layers[progress.digest] = (done, progress.total_bytes)
        done_bytes = sum(done for done, _ in self._layers.values())
        note = f"{self._choice}: {progress.status}"
        self._ctx.step_progress(done_bytes, self.total_bytes or None, note)
