"""Connections over REST. What is run for them is in ``tests/integration/mcp``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Daemon, Serve

PATH = "/api/v1/connections"
NOBODY: dict[str, Any] = {"name": "nobody", "config": {"command": "no-such-program"}}


async def add(daemon: Daemon, name: str, **more: Any) -> Any:
    body = {"name": name, "config": {"command": "no-such-program"}, "test": False, **more}
    answer = await daemon.ask("POST", PATH, json=body)
    assert 201 == answer.status, answer.text
    return answer.json


async def test_connection_is_added_shown_changed_and_removed(serve: Serve) -> None:
    daemon = await serve()
    added = await add(daemon, "nobody", is_active=False)
    shown = await daemon.ask("GET", f"{PATH}/{added['id']}")
    changed = await daemon.ask("PATCH", f"{PATH}/nobody", json={"config": {"command": "other"}})
    removed = await daemon.ask("DELETE", f"{PATH}/nobody")
    gone = await daemon.ask("GET", f"{PATH}/nobody")

    assert ("stored", "mcp_stdio", "disabled") == (added["origin"], added["kind"], added["state"])
    assert "" == shown.json["log"]
    assert "other" == changed.json["config"]["command"]
    assert {"name": "nobody", "deleted": True} == removed.json
    assert (404, "connection_not_found") == (gone.status, gone.json["code"])


async def test_connection_that_does_not_work_is_not_added(serve: Serve) -> None:
    daemon = await serve()
    refused = await daemon.ask("POST", PATH, json=NOBODY)
    listed = await daemon.ask("GET", PATH)

    assert (422, "connection_failed") == (refused.status, refused.json["code"])
    assert "no-such-program" in refused.json["detail"]
    assert [] == listed.json["connections"]


async def test_list_is_paged_by_name(serve: Serve) -> None:
    daemon = await serve()
    for name in ("c", "a", "b"):
        await add(daemon, name, is_active=False)
    first = (await daemon.ask("GET", f"{PATH}?limit=2")).json
    cursor = first["next_cursor"]
    second = (await daemon.ask("GET", f"{PATH}?limit=2&cursor={cursor}")).json

    assert ["a", "b"] == [one["name"] for one in first["connections"]]
    assert (["c"], None) == ([one["name"] for one in second["connections"]], second["next_cursor"])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": "a__b", "config": {"command": "x"}}, "/name"),
        ({"name": "", "config": {"command": "x"}}, "/name"),
        ({"name": "x", "config": {}}, "/command"),
        ({"name": "x", "config": {"command": "x", "url": "http://h/"}}, "/command"),
        ({"name": "x", "config": {"url": "file:///etc/passwd"}}, "/url"),
        ({"name": "x", "config": {"url": "http://h/", "headers": {"A": "b\r\nC: d"}}}, "/headers"),
        ({"name": "x", "config": {"command": "x", "args": ["secret://y"]}}, "/args/0"),
        ({"name": "x", "config": {"command": "x", "env": {"API_KEY": "abc"}}}, "/env/API_KEY"),
        ({"name": "x", "config": {"command": "x", "cwd": "here"}}, "/cwd"),
        ({"name": "x", "config": {"command": "x", "hosts": ["a b"]}}, "/hosts/0"),
        ({"name": "x", "config": {"command": "x", "timeout_s": 0}}, "/timeout_s"),
        ({"name": "x", "config": {"command": "x", "concurrency": 0}}, "/concurrency"),
        ({"name": "x", "config": {"command": "x\u0000"}}, "/command"),
        ({"name": "x", "config": {"command": "x", "no": 1}}, "/config/no"),
    ],
    ids=[
        "two underscores",
        "no name",
        "neither",
        "both",
        "scheme",
        "header of two lines",
        "secret in argument",
        "plain secret",
        "relative folder",
        "host",
        "no time",
        "no calls",
        "nul",
        "unknown member",
    ],
)
async def test_setup_that_cannot_be_right_is_refused(
    serve: Serve, body: dict[str, Any], where: str
) -> None:
    daemon = await serve()
    answer = await daemon.ask("POST", PATH, json={**body, "test": False})

    assert 422 == answer.status
    assert where in [fault["pointer"] for fault in answer.json["errors"]]


async def test_name_can_be_had_once(serve: Serve) -> None:
    daemon = await serve()
    await add(daemon, "nobody", is_active=False)
    answer = await daemon.ask("POST", PATH, json={**NOBODY, "test": False})

    assert (409, "connection_name_taken") == (answer.status, answer.json["code"])


async def test_what_is_away_says_so(serve: Serve) -> None:
    daemon = await serve()
    await add(daemon, "nobody", is_active=False)
    tested = await daemon.ask("POST", f"{PATH}/nobody/test")
    listed = await daemon.ask("GET", f"{PATH}/nobody/tools")
    called = await daemon.ask("POST", f"{PATH}/nobody/call", json={"tool": "x"})

    assert (200, False) == (tested.status, tested.json["works"])
    assert (503, "tool_unavailable") == (listed.status, listed.json["code"])
    assert (503, "tool_unavailable") == (called.status, called.json["code"])


async def test_health_counts_connections_and_names_broken_ones(serve: Serve) -> None:
    daemon = await serve()
    await add(daemon, "off", is_active=False)
    await add(daemon, "nobody")
    while (shown := (await daemon.ask("GET", "/health")).json["connections"])["broken"] == []:
        pass

    assert ["nobody"] == [one["name"] for one in shown["broken"]]
    assert (1, 1) == (shown["states"]["disabled"], shown["states"]["broken"])


async def test_browser_comes_back_without_a_token(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["agency.example.org"])
    back = await daemon.ask("GET", f"{PATH}/nobody/callback?code=1&state=2")
    others = await daemon.ask("GET", f"{PATH}/nobody/login")

    assert (404, "text/html; charset=utf-8") == (back.status, back.headers["Content-Type"])
    assert "default-src 'none'" in back.headers["Content-Security-Policy"]
    assert 401 == others.status


async def test_login_is_of_servers_that_demand_one(serve: Serve) -> None:
    daemon = await serve()
    await add(daemon, "nobody", is_active=False)
    view = await daemon.ask("GET", f"{PATH}/nobody/login")
    begun = await daemon.ask("POST", f"{PATH}/nobody/login")
    finished = await daemon.ask(
        "POST", f"{PATH}/nobody/login/finish", json={"returned": "x?state="}
    )

    assert "none" == view.json["state"]
    assert (422, "login_failed") == (begun.status, begun.json["code"])
    assert (422, "login_failed") == (finished.status, finished.json["code"])


async def test_login_is_set_up_as_it_is_asked_for(serve: Serve) -> None:
    daemon = await serve()
    config = {
        "url": "https://mcp.example.org/mcp",
        "oauth": "client_credentials",
        "oauth_client_id": "agency",
        "oauth_client_secret": "secret://own",
        "oauth_issuer": "https://login.example.org",
        "oauth_scopes": ["a", "b"],
    }
    added = await add(daemon, "web", config=config, is_active=False)
    lacking = {"name": "x", "test": False, "config": {**config, "oauth_issuer": ""}}
    refused = await daemon.ask("POST", PATH, json=lacking)
    plain = {"name": "x", "test": False, "config": {**config, "oauth_client_secret": "hunter22"}}
    shown = await daemon.ask("POST", PATH, json=plain)

    assert config == {name: added["config"][name] for name in config}
    assert ["/oauth_issuer"] == [fault["pointer"] for fault in refused.json["errors"]]
    assert ["/oauth_client_secret"] == [fault["pointer"] for fault in shown.json["errors"]]
    assert "hunter22" not in shown.text
