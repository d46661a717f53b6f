"""``/api/v1/definitions``: the workflows that can be run."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from agency.web.answers import SERVICES, json_answer
from agency.web.routes import Route


async def list_definitions(request: web.Request) -> web.Response:
    """List the registered workflows, and the files that failed to load."""
    services = request.app[SERVICES]
    found = [
        {
            "name": definition.name,
            "kind": definition.kind,
            "version": definition.version,
            "description": definition.description,
            "input_schema": definition.input_schema,
            "output_schema": definition.output_schema,
            "source": definition.source,
            "enabled": definition.is_enabled,
        }
        for definition in services.runs.definitions()
    ]
    failures = [
        {"path": failure.path, "reason": failure.reason} for failure in services.load_failures
    ]
    return json_answer({"definitions": found, "failures": failures})


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path="/api/v1/definitions",
            answer=list_definitions,
            operation="list_definitions",
            summary="List the workflows that can be run",
            tag="definitions",
            answers={200: "DefinitionPageAnswer"},
        ),
    )
