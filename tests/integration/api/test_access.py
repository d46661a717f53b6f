"""Who is let in."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime

import pytest

from agency.api.application import all_routes
from agency.core.tokens import make_token, secret_hash, shown_prefix
from agency.domain.principal import Token
from tests.integration.api.conftest import Daemon, Serve

PATH = "/api/v1/runs"


async def add_token(daemon: Daemon, name: str = "laptop") -> dict[str, str]:
    secret = make_token()
    await daemon.tokens.add(
        Token(
            name=name,
            prefix=shown_prefix(secret),
            secret_hash=secret_hash(secret),
            created_at=datetime.now(UTC),
        )
    )
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:80"],
)
async def test_names_of_this_machine_are_answered(daemon: Daemon, host: str) -> None:
    assert (await daemon.ask("GET", PATH, headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.1",
        "localhost:80:80", "localhost:x", "[::1", "0.0.0.0", "localhost@evil.example", "::1",
    ],
)  # fmt: skip
async def test_other_names_are_refused(daemon: Daemon, host: str) -> None:
    answer = await daemon.ask("GET", PATH, headers={"Host": host})

    assert (answer.status, answer.json["code"]) == (403, "host_refused")


async def test_a_request_without_a_host_is_only_lawful_in_http_10(daemon: Daemon) -> None:
    old = await daemon.raw(b"GET /health/live HTTP/1.0\r\n\r\n")
    new = await daemon.raw(b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert old.split(b"\r\n")[0].endswith(b"200 OK")
    assert b" 400 " in new.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_pages_of_other_sites_change_nothing(daemon: Daemon, headers: dict[str, str]) -> None:
    for method in ("POST", "DELETE", "PUT"):
        answer = await daemon.ask(method, PATH, json={"workflow": "echo"}, headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "origin_refused")
    assert await daemon.all_runs() == []


async def test_pages_of_this_machine_may(daemon: Daemon) -> None:
    headers = {"Origin": daemon.url, "Sec-Fetch-Site": "same-origin"}

    answer = await daemon.ask("POST", PATH, json={"workflow": "echo"}, headers=headers)

    assert answer.status in {200, 202}


async def test_no_page_is_told_that_it_may_read(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", PATH, headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_loopback_needs_no_token_but_refuses_a_wrong_one(daemon: Daemon) -> None:
    right = await add_token(daemon)
    secret = make_token()

    assert (await daemon.ask("GET", PATH)).status == 200
    assert (await daemon.ask("GET", PATH, headers=right)).status == 200
    for value in (f"Bearer {secret}", "Bearer", "Bearer x", "Basic eDp5", f"Bearer {secret}x", "ü"):
        answer = await daemon.ask("GET", PATH, headers={"Authorization": value})
        assert (answer.status, answer.json["code"]) == (401, "token_refused")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0"}, {"host": "10.0.0.7"}, {"allowed_hosts": ["box.example"]}]
)
async def test_an_open_daemon_wants_a_token(serve: Serve, settings: dict[str, object]) -> None:
    daemon = await serve(**settings)
    right = await add_token(daemon)

    without = await daemon.ask("GET", PATH)
    unknown = await daemon.ask("GET", "/nothing")
    with_one = await daemon.ask("GET", PATH, headers=right)

    assert (without.status, without.json["code"]) == (401, "token_missing")
    assert without.headers["WWW-Authenticate"].startswith("Bearer")
    assert unknown.status == 401
    assert with_one.status == 200
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert (await daemon.ask("GET", path)).status == 200
    assert (await daemon.ask("GET", "/health")).status == 401


async def test_every_operation_of_an_open_daemon_wants_a_token(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["box.example"])
    guarded = [route for route in all_routes() if not route.is_public]

    let_in = []
    for route in guarded:
        answer = await daemon.ask(route.method, re.sub(r"{\w+}", "x", route.template), json={})
        if (answer.status, answer.json["code"]) != (401, "token_missing"):
            let_in.append(route.operation)

    assert guarded
    assert [] == let_in


async def test_allowed_hosts_are_answered(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["box.example"])
    right = await add_token(daemon)

    named = await daemon.ask("GET", PATH, headers={**right, "Host": "Box.example:8080"})
    other = await daemon.ask("GET", PATH, headers={**right, "Host": "other.example"})

    assert (named.status, other.status) == (200, 403)


async def test_the_owner_of_the_token_is_on_the_run(daemon: Daemon) -> None:
    headers = await add_token(daemon, "ci")

    answer = await daemon.ask("POST", PATH, json={"workflow": "echo"}, headers=headers)
    local = await daemon.ask("POST", PATH, json={"workflow": "echo"})

    assert (answer.json["principal"], local.json["principal"]) == ("ci", "local")


async def test_the_log_says_whose_token_a_request_has_shown(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    headers = await add_token(daemon, "ci")
    caplog.set_level(logging.INFO, "agency.web.guard")

    await daemon.ask("POST", "/api/v1/queues/default/pause", headers=headers)
    await daemon.ask("POST", "/api/v1/queues/default/resume")

    lines = [line for line in caplog.records if line.message == "request answered"]
    assert ["ci", None] == [getattr(line, "principal", None) for line in lines]


async def test_tokens_are_made_listed_and_revoked_at_once(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["box.example"])
    right = await add_token(daemon)
    made = await daemon.ask("POST", "/api/v1/tokens", json={"name": "ci"}, headers=right)
    new = {"Authorization": f"Bearer {made.json['token']}"}

    before = await daemon.ask("GET", PATH, headers=new)
    listed = await daemon.ask("GET", "/api/v1/tokens", headers=right)
    revoked = await daemon.ask("DELETE", "/api/v1/tokens/ci", headers=right)
    after = await daemon.ask("GET", PATH, headers=new)

    assert (made.status, before.status, revoked.status, after.status) == (201, 200, 200, 401)
    assert ["laptop", "ci"] == [token["name"] for token in listed.json["tokens"]]
    assert made.json["token"] not in listed.text


async def test_the_database_is_not_read_for_each_token(daemon: Daemon) -> None:
    headers = await add_token(daemon)

    for _ in range(20):
        await daemon.ask("GET", PATH, headers=headers)

    assert daemon.tokens.reads <= 2


@pytest.mark.parametrize("name", ["X-Correlation-ID", "X-Request-ID"])
async def test_a_sane_correlation_id_is_kept(daemon: Daemon, name: str) -> None:
    kept = await daemon.ask("GET", PATH, headers={name: "order-7.a"})
    made = await daemon.ask("GET", PATH, headers={name: "a b<script>" + "x" * 200})

    assert kept.headers["X-Correlation-ID"] == "order-7.a"
    assert made.headers["X-Correlation-ID"] != "a b<script>" + "x" * 200
    assert made.headers["X-Content-Type-Options"] == "nosniff"
