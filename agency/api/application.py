"""The REST door: all its routes behind one guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from agency.api import (
    agent,
    agents,
    approvals,
    bulk,
    connection_logins,
    connections,
    db,
    dead_letters,
    definitions,
    documents,
    health,
    lineage,
    memory,
    models,
    notebooks,
    peers,
    pushes,
    queues,
    remote_agents,
    run_files,
    runs,
    sagas,
    schedules,
    secrets,
    sessions,
    snapshots,
    tasks,
    tokens,
    topics,
    transfers,
    updates,
    workflows,
)
from agency.api.documents import DOCUMENTS, Documents
from agency.api.health import MODEL_HEALTH, ModelHealth
from agency.web.access import Access
from agency.web.answers import SERVICES
from agency.web.guard import make_guard
from agency.web.patience import PATIENCE, Patience
from agency.web.routes import Door, Route, add_routes
from agency.web.services import Services
from agency.web.sse import STREAMS, Streams
from agency.web.tokens import CachedTokens


def make_application(services: Services, doors: Sequence[Door] = ()) -> web.Application:
    """Make the application. It is served by whoever calls, who also closes it.

    Requests that wait for a run are answered at once when the application shuts down.

    Args:
        services: What is below the doors.
        doors: Those beside this one, on the same port.
    """
    services = replace(services, tokens=CachedTokens(services.tokens))
    routes = (*all_routes(), *(route for door in doors for route in door.routes))
    public_paths = frozenset(route.template for route in routes if route.is_public)
    access = Access(services.settings.server, services.tokens)
    patience = Patience()
    streams = Streams(services.settings.server)
    application = web.Application(
        middlewares=[make_guard(access, public_paths)],
        client_max_size=services.settings.server.body_bytes_max,
    )
    application[SERVICES] = services
    application[PATIENCE] = patience
    application[STREAMS] = streams
    application[MODEL_HEALTH] = ModelHealth(services.provider)
    application[DOCUMENTS] = Documents(routes, version=services.version)
    application.on_shutdown.append(patience.end)
    application.on_shutdown.append(streams.end)
    add_routes(application, routes)
    for door in doors:
        door.open(application)
    return application


def all_routes() -> Sequence[Route]:
    """List everything that is served, in the order of the API's document."""
    # Fixed paths come before those with a name in the same place.
    return (
        *health.routes(),
        *agent.routes(),
        *agents.routes(),
        *snapshots.routes(),
        *workflows.routes(),
        *bulk.routes(),
        *updates.routes(),
        *runs.routes(),
        *run_files.routes(),
        *pushes.routes(),
        *lineage.routes(),
        *dead_letters.routes(),
        *transfers.routes(),
        *queues.routes(),
        *schedules.routes(),
        *db.routes(),
        *sagas.routes(),
        *definitions.routes(),
        *approvals.routes(),
        *topics.routes(),
        *tasks.routes(),
        *tokens.routes(),
        *secrets.routes(),
        *sessions.routes(),
        *memory.routes(),
        *notebooks.routes(),
        *connections.routes(),
        *connection_logins.routes(),
        *peers.routes(),
        *remote_agents.routes(),
        *models.routes(),
        *documents.routes(),
    )
