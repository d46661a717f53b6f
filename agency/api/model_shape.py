"""Models as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agency.core.clock import to_text
from agency.domain.fitness import Fitness
from agency.ports.model import Choice, ModelInfo, Provider, Traits


def model_json(
    choice: Choice, model: ModelInfo, *, roles: Iterable[str], fitness: Fitness | None
) -> dict[str, Any]:
    """Make the JSON of a model in a list.

    Args:
        choice: The model by provider and name.
        model: What its provider tells of it.
        roles: What it is asked for, by the settings.
        fitness: Of its last check, of whichever weights.
    """
    return {
        "model": str(choice),
        "provider": choice.provider,
        "name": choice.model,
        "size_bytes": model.size_bytes,
        "remote": model.is_remote,
        "digest": model.digest,
        "roles": list(roles),
        "fitness": fitness_json(fitness, digest=model.digest),
    }


def show_json(
    traits: Traits, model: ModelInfo, *, roles: Iterable[str], fitness: Fitness | None
) -> dict[str, Any]:
    """Make the JSON of one model, with what it can do."""
    limits, can = traits.limits, traits.capabilities
    return {
        **model_json(traits.choice, model, roles=roles, fitness=fitness),
        "capabilities": sorted(can) if can is not None else None,
        "context": {
            "tokens": limits.tokens,
            "configured": limits.configured,
            "trained": limits.trained,
            "allocated": limits.allocated,
        },
        "details": {name: text for name, text in model.details.items() if text},
        "rehearsal": traits.is_rehearsal,
    }


def fitness_json(fitness: Fitness | None, *, digest: str) -> dict[str, Any] | None:
    """Make the JSON of a check's outcome; ``stale`` when the model was pulled anew since."""
    if fitness is None:
        return None
    return {
        "answers": fitness.answers,
        "schema": fitness.schema,
        "tool_call": fitness.tool_call,
        "tool_choice": fitness.tool_choice,
        "recall": fitness.recall,
        "recall_tokens": fitness.recall_tokens,
        "tokens_per_s": fitness.tokens_per_s,
        "load_s": fitness.load_s,
        "tools_per_turn": fitness.tools_per_turn,
        "calls_natively": fitness.calls_natively,
        "checked_at": to_text(fitness.checked_at),
        "run_id": fitness.run_id,
        "stale": bool(fitness.digest and digest and fitness.digest != digest),
    }


def provider_json(provider: Provider, *, is_default: bool, reason: str) -> dict[str, Any]:
    """Make the JSON of a provider; ``reason`` says why it lists nothing."""
    return {
        "name": provider.name,
        "default": is_default,
        "rehearsal": provider.is_rehearsal,
        "reachable": not reason,
        "reason": reason,
    }
