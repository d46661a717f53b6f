"""The JSON of agents of other systems, and of their tasks."""

from __future__ import annotations

from typing import Any

from agency.core.clock import to_text
from agency.domain.remote import RemoteCard, RemoteTask, data_of, result_of, text_of


def card_json(agent: str, card: RemoteCard) -> dict[str, Any]:
    """Make the JSON of a card."""
    return {
        "agent": agent,
        "name": card.name,
        "description": card.description,
        "version": card.version,
        "card_url": card.card_url,
        "url": card.url,
        "binding": card.binding,
        "protocol": card.protocol,
        "streams": card.streams,
        "skills": [
            {"id": one.id, "name": one.name, "description": one.description, "tags": [*one.tags]}
            for one in card.skills
        ],
        "is_verified": card.is_verified,
        "is_stale": card.is_stale,
        "fetched_at": to_text(card.fetched_at),
        "document": dict(card.document),
    }


def task_json(task: RemoteTask) -> dict[str, Any]:
    """Make the JSON of a task."""
    result = result_of(task) if task.state.is_final else task.said
    return {
        "id": task.id,
        "context_id": task.context_id,
        "state": task.state.value,
        "text": text_of(result),
        "data": data_of(result),
        "said": [part.to_json() for part in task.said.parts],
        "artifacts": [
            {"name": one.name, "content": [part.to_json() for part in one.parts]}
            for one in task.artifacts
        ],
    }
