"""Secrets over HTTP: values come in and never go out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Server
from agency.vault.keys import write_key
from tests.integration.api.conftest import Daemon, serving

PATH = "/api/v1/secrets"
CANARY = "canary-31f2-value"


async def put(daemon: Daemon, name: str, value: Any = CANARY) -> Any:
    return await daemon.ask("PUT", f"{PATH}/{name}", json={"value": value})


async def test_secret_is_listed_without_its_value(daemon: Daemon) -> None:
    made = await put(daemon, "token")
    changed = await put(daemon, "token", CANARY + "2")
    short = await put(daemon, "pin", "1234")

    listed = await daemon.ask("GET", PATH)

    assert (201, 200) == (made.status, changed.status)
    assert f"{PATH}/token" == made.headers["Location"]
    assert ["pin", "token"] == [one["name"] for one in listed.json["secrets"]]
    token = listed.json["secrets"][1]
    assert ("secret://token", "local", [], True, True) == tuple(
        token[name] for name in ("reference", "updated_by", "used_by", "readable", "redacted")
    )
    assert made.json["created_at"] == token["created_at"] < token["updated_at"]
    assert not short.json["redacted"]
    assert CANARY not in made.text + changed.text + listed.text


async def test_secrets_are_paged(daemon: Daemon) -> None:
    for n in range(5):
        await put(daemon, f"s{n}")

    first = (await daemon.ask("GET", PATH, params={"limit": "3"})).json
    rest = (await daemon.ask("GET", PATH, params={"cursor": first["next_cursor"]})).json

    assert [f"s{n}" for n in range(5)] == [
        one["name"] for one in first["secrets"] + rest["secrets"]
    ]
    assert None is rest["next_cursor"]


async def test_secret_is_forgotten(daemon: Daemon) -> None:
    await put(daemon, "token")

    gone = await daemon.ask("DELETE", f"{PATH}/token")
    again = await daemon.ask("DELETE", f"{PATH}/token")

    assert {"name": "token", "deleted": True, "used_by": []} == gone.json
    assert (404, "secret_not_found") == (again.status, again.json["code"])


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("token", {"value": ""}, 422),
        ("token", {"value": CANARY + "\x00"}, 422),
        ("token", {"value": CANARY * 5000}, 422),
        ("token", {"value": [CANARY]}, 422),
        ("token", {"Value": CANARY}, 422),
        ("token", {}, 422),
        ("a%20b", {"value": CANARY}, 422),
        ("%00", {"value": CANARY}, 422),
        ("x" * 129, {"value": CANARY}, 422),
    ],
    ids=range(9),
)
async def test_bad_requests_are_refused_and_values_not_repeated(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, name: str, body: dict[str, Any], status: int
) -> None:
    caplog.set_level(logging.DEBUG)

    answer = await daemon.ask("PUT", f"{PATH}/{name}", json=body)

    assert status == answer.status, answer.text
    assert CANARY not in answer.text
    assert CANARY not in caplog.text
    assert [] == (await daemon.ask("GET", PATH)).json["secrets"]


async def test_rekey_tells_where_the_keys_are(daemon: Daemon) -> None:
    nothing = await daemon.ask("POST", "/api/v1/vault/rekey")
    await put(daemon, "token")
    before = (await daemon.ask("GET", "/api/v1/vault")).json

    done = await daemon.ask("POST", "/api/v1/vault/rekey")
    after = (await daemon.ask("GET", "/api/v1/vault")).json

    assert (409, "rekey_refused") == (nothing.status, nothing.json["code"])
    assert (200, 1, before["key_id"], after["key_id"]) == (
        done.status,
        done.json["secrets"],
        done.json["old_key_id"],
        done.json["key_id"],
    )
    assert before["key_id"] != after["key_id"]
    assert Path(done.json["old_key_kept_in"]).exists()
    assert after["key_source"] == done.json["key_source"]


async def test_locked_vault_is_said_and_nothing_else_is_down(tmp_path: Path) -> None:
    async with serving(tmp_path, Server(sync_wait_s=5.0)) as daemon:
        await put(daemon, "token")
    (tmp_path / "vault.key").unlink()
    wrong = write_key(tmp_path / "vault.key")

    async with serving(tmp_path, Server(sync_wait_s=5.0)) as daemon:
        refused = await put(daemon, "other")
        listed = await daemon.ask("GET", PATH)
        state = (await daemon.ask("GET", "/api/v1/vault")).json
        health = (await daemon.ask("GET", "/health")).json
        said = await daemon.ask("POST", "/api/v1/agent/process", json={"message": "hi"})
        gone = await daemon.ask("DELETE", f"{PATH}/token")
        fresh = await put(daemon, "token")

    assert (503, "vault_locked") == (refused.status, refused.json["code"])
    assert wrong.id in refused.json["detail"]
    assert refused.json["hint"]
    assert [("token", False)] == [(one["name"], one["readable"]) for one in listed.json["secrets"]]
    assert (True, state["reason"]) == (state["locked"], refused.json["detail"])
    assert ("degraded", {"locked": True, "reason": state["reason"]}) == (
        health["status"],
        health["vault"],
    )
    assert 200 == said.status
    assert (200, 201) == (gone.status, fresh.status)
