"""Where the outcomes of model checks are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agency.domain.fitness import Fitness


class FitnessStore(Protocol):
    """The newest outcome for each model of each provider."""

    async def keep(self, fitness: Fitness) -> None:
        """Keep an outcome in place of an earlier one of the same model; safe to repeat."""
        ...

    async def find(self, provider: str, model: str) -> Fitness | None:
        """Look up the newest outcome for a model, by the names that it was checked under."""
        ...

    async def list(self, *, limit: int) -> Sequence[Fitness]:
        """List the outcomes, by provider and model."""
        ...
