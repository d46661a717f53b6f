"""How the daemon is."""

from __future__ import annotations

import re
from pathlib import Path

from agency.api.health import sandbox_json
from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings
from agency.domain.tool import Capability
from agency.ports.model import Health
from agency.tools.sandbox.sandbox import make_sandbox
from tests.integration.api.conftest import Daemon


async def test_a_healthy_daemon_tells_all(daemon: Daemon) -> None:
    await daemon.ask("POST", "/api/v1/runs", json={"workflow": "asks"})

    answer = await daemon.ask("GET", "/health")

    assert answer.status == 200
    body = answer.json
    assert body["status"] == "healthy"
    assert body["service"] == "agency-daemon"
    assert body["version"] == "0.0.test"
    assert re.fullmatch(r"\d+h \d+m \d+s", body["uptime"])
    assert body["uptime_seconds"] >= 0
    assert body["timestamp"].endswith("Z")
    assert body["database"] == "connected"
    assert body["llm"]["rehearsal"] is True
    assert body["llm"]["reachable"] is True
    assert sum(body["runs"].values()) == 1
    assert body["workflows"]["failed"][0]["path"] == "broken.py"
    assert {"driver": "", "levels": {}, "fix": ""} == body["sandbox"]


async def test_an_absent_model_server_degrades(daemon: Daemon) -> None:
    daemon.provider.health_now = Health(reachable=False, reason="connection refused")

    answer = await daemon.ask("GET", "/health")

    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["llm"]["reason"] == "connection refused"


async def test_a_model_server_that_hangs_does_not_hold_up(daemon: Daemon) -> None:
    daemon.provider.is_hanging = True

    answer = await daemon.ask("GET", "/health")
    again = await daemon.ask("GET", "/health")

    assert (answer.json["status"], again.json["status"]) == ("degraded", "degraded")
    assert daemon.provider.looks == 1


async def test_a_broken_database_is_unhealthy(daemon: Daemon) -> None:
    daemon.store_works = False

    health = await daemon.ask("GET", "/health")
    live = await daemon.ask("GET", "/health/live")
    ready = await daemon.ask("GET", "/health/ready")

    assert (health.status, health.json["status"]) == (503, "unhealthy")
    assert health.json["database"] == "disconnected"
    assert (live.status, ready.status) == (200, 503)


async def test_a_stopping_daemon_lives_but_is_not_ready(daemon: Daemon) -> None:
    daemon.is_stopping = True

    assert (await daemon.ask("GET", "/health/live")).status == 200
    assert (await daemon.ask("GET", "/health/ready")).status == 503
    assert (await daemon.ask("GET", "/health")).status == 200


async def test_the_sandbox_is_told_once_it_was_probed_and_is_not_probed_for_it(
    tmp_path: Path,
) -> None:
    settings = Settings(
        server=Server(data_dir=str(tmp_path)), sandbox=SandboxSettings(driver="none")
    )
    sandbox = make_sandbox(settings)

    before = sandbox_json(sandbox)
    await sandbox.ready()
    after = sandbox_json(sandbox)

    assert {"driver": "", "levels": {}, "fix": ""} == before
    assert "none" == after["driver"]
    assert dict.fromkeys(map(str, Capability), "absent") == after["levels"]
    assert "switched off" in after["fix"]
