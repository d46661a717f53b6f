"""``/health``: how the daemon is, in a moment and whatever is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from agency.api.connection_shape import summary_json
from agency.core.clock import monotonic_s, to_text
from agency.domain.run import RunStatus
from agency.errors import AgencyError, ShuttingDown, Unavailable
from agency.ports.model import Health, Provider
from agency.ports.sandbox import Sandbox
from agency.web.answers import SERVICES, json_answer
from agency.web.routes import Route
from agency.web.services import Services

SERVICE = "agency-daemon"

MODEL_HEALTH_KEPT_S = 3.0
"""Watchers may ask every second; the model server is not asked as often."""

MODEL_HEALTH_WAIT_S = 1.0
"""A model server that takes longer to say that it lives is shown as away."""

STORE_WAIT_S = 2.0
"""A database that takes longer for one small read is shown as disconnected."""


class ModelHealth:
    """The health of the provider, remembered for a few seconds; never raises, never hangs."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._lock = asyncio.Lock()
        self._kept = Health(reachable=False)
        self._until_s = float("-inf")

    async def get(self) -> Health:
        """Tell whether the provider answers; many callers cost one look."""
        if monotonic_s() < self._until_s:
            return self._kept
        async with self._lock:
            if monotonic_s() >= self._until_s:
                self._kept = await self._look()
                self._until_s = monotonic_s() + MODEL_HEALTH_KEPT_S
            return self._kept

    async def _look(self) -> Health:
        try:
            async with asyncio.timeout(MODEL_HEALTH_WAIT_S):
                return await self._provider.health()
        except TimeoutError:
            return Health(reachable=False, reason=f"no answer within {MODEL_HEALTH_WAIT_S:g} s")


MODEL_HEALTH = web.AppKey("model_health", ModelHealth)


async def show_health(request: web.Request) -> web.Response:
    """Tell how the daemon and what it stands on are."""
    services = request.app[SERVICES]
    counts = await _counts(services)
    model = await request.app[MODEL_HEALTH].get()
    has_room = services.has_room()
    vault = services.vault.state
    is_whole = model.reachable and has_room and not vault.is_locked
    status = "unhealthy" if counts is None else "healthy" if is_whole else "degraded"
    now = services.clock.now()
    uptime_s = max(0.0, (now - services.started_at).total_seconds())
    answer = {
        "status": status,
        "service": SERVICE,
        "version": services.version,
        "uptime": uptime_text(uptime_s),
        "uptime_seconds": round(uptime_s, 3),
        "timestamp": to_text(now),
        "database": "disconnected" if counts is None else "connected",
        "intake": "open" if has_room else "full",
        "llm": {
            "provider": services.provider.name,
            "model": services.settings.llm.model,
            "reachable": model.reachable,
            "rehearsal": services.provider.is_rehearsal,
            "reason": model.reason,
        },
        "vault": {
            "locked": vault.is_locked,
            "reason": vault.reason,
        },
        "runs": {str(each): (counts or {}).get(each, 0) for each in RunStatus},
        "dead_letters": (counts or {}).get(RunStatus.DEAD_LETTER, 0),
        "workflows": {
            "loaded": services.runs.definitions_count,
            "failed": [
                {"path": failure.path, "reason": failure.reason}
                for failure in services.load_failures
            ],
        },
        "sandbox": sandbox_json(services.sandbox),
        "connections": _connections_json(services),
    }
    return json_answer(answer, status=503 if counts is None else 200)


def _connections_json(services: Services) -> dict[str, Any]:
    connections = services.connections
    return summary_json([] if connections is None else list(connections.list()))


async def show_live(_: web.Request) -> web.Response:
    """Give a sign of life."""
    return json_answer({"status": "live"})


async def show_ready(request: web.Request) -> web.Response:
    """Tell whether new work is taken."""
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    if not await _works(services):
        raise Unavailable("The database does not answer.")
    if not services.has_room():
        raise Unavailable("The disk is too full for new work.")
    return json_answer({"status": "ready"})


def sandbox_json(sandbox: Sandbox | None) -> dict[str, Any]:
    """Tell what is known of the sandbox by now; it is not probed for this."""
    if sandbox is None or not sandbox.is_ready:
        return {"driver": "", "levels": {}, "fix": ""}
    levels = {str(each): str(level) for each, level in sandbox.levels.items()}
    return {"driver": sandbox.name, "levels": levels, "fix": sandbox.fix}


def uptime_text(uptime_s: float) -> str:
    """Write a time as hours, minutes and seconds: ``0h 0m 5s``."""
    minutes, seconds = divmod(int(uptime_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m {seconds}s"


async def _counts(services: Services) -> Mapping[RunStatus, int] | None:
    """Count the runs; None when the database does not work."""
    if not await _works(services):
        return None
    try:
        async with asyncio.timeout(STORE_WAIT_S):
            return await services.count_by_status()
    except (AgencyError, TimeoutError):
        return None


async def _works(services: Services) -> bool:
    try:
        async with asyncio.timeout(STORE_WAIT_S):
            return await services.check_store()
    except (AgencyError, TimeoutError):
        return False


def routes() -> Sequence[Route]:
    """List what is served here."""
    sign: dict[str, Any] = {"tag": "health", "method": "GET"}
    return (
        Route(
            **sign,
            path="/health",
            answer=show_health,
            operation="show_health",
            summary="How the daemon is",
            description="503 when the database does not work; `degraded` when the model server "
            "does not answer, the disk is too full for new work (`intake`) or the vault is locked.",
            answers={200: "HealthAnswer", 503: "HealthAnswer"},
        ),
        Route(
            **sign,
            path="/health/live",
            answer=show_live,
            operation="show_live",
            summary="Whether the process answers",
            answers={200: "SignAnswer"},
            is_public=True,
        ),
        Route(
            **sign,
            path="/health/ready",
            answer=show_ready,
            operation="show_ready",
            summary="Whether new work is taken",
            answers={200: "SignAnswer"},
            problems=(ShuttingDown, Unavailable),
            is_public=True,
        ),
    )
