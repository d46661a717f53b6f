"""`agency secret` as a real process, against a played daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.playing import Agency, PlayedDaemon, Reply, problem

PATH = "/api/v1/secrets"
VALUE = "canary-value"


def secret(**members: Any) -> dict[str, Any]:
    return {
        "name": "token",
        "reference": "secret://token",
        "created_at": "2026-11-20T12:00:00.000000Z",
        "updated_at": "2026-11-20T12:00:00.000000Z",
        "updated_by": "local",
        "used_by": [],
        "readable": True,
        "redacted": True,
        **members,
    }


@pytest.mark.parametrize(
    ("stdin", "value"),
    [(VALUE, VALUE), (f"{VALUE}\n", VALUE), (f"{VALUE}\r\n", VALUE), ("a\nb\n\n", "a\nb\n")],
    ids=range(4),
)
def test_value_is_read_from_stdin(
    agency: Agency, daemon: PlayedDaemon, stdin: str, value: str
) -> None:
    daemon.on("PUT", f"{PATH}/token", Reply(secret(), 201))

    ended = agency("secret", "set", "token", stdin=stdin)

    assert (0, "") == (ended.code, ended.out)
    assert {"value": value} == daemon.seen[-1].body
    assert VALUE not in ended.err
    assert "secret://token" in ended.err


def test_value_on_the_command_line_is_refused_and_not_repeated(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    ended = agency("secret", "set", "token", VALUE)

    assert 2 == ended.code
    assert VALUE not in ended.out + ended.err
    assert "pipe it in" in ended.err
    assert [] == daemon.seen


def test_nothing_on_stdin_is_refused(agency: Agency, daemon: PlayedDaemon) -> None:
    assert 2 == agency("secret", "set", "token", stdin="\n").code
    assert [] == daemon.seen


def test_short_value_is_warned_about(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("PUT", f"{PATH}/token", Reply(secret(redacted=False), 201))

    assert "less than 8 characters" in agency("secret", "set", "token", stdin="1234").err


def test_list_tells_who_uses_what_and_that_the_vault_is_locked(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    rows = [secret(used_by=["connection github"]), secret(name="other", readable=False)]
    daemon.on("GET", PATH, Reply({"secrets": rows, "next_cursor": None}))
    vault = {"locked": True, "reason": "No key.", "hint": "Put it back.", "key_id": None}
    daemon.on("GET", "/api/v1/vault", Reply({**vault, "key_source": "/var/vault.key"}))

    ended = agency("secret", "ls")
    as_json = agency("secret", "ls", "--json")

    first, second = ended.out.splitlines()
    assert ["token", "connection github"] == [first.split("\t")[0], first.split("\t")[3]]
    assert second.endswith("cannot be read")
    assert "The vault is locked. No key. Put it back." in ended.err
    assert rows == json.loads(as_json.out)["secrets"]


def test_forgotten_secret_that_is_used_is_warned_about(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    gone = {"name": "token", "deleted": True, "used_by": ["setting providers.x.api_key"]}
    daemon.on("DELETE", f"{PATH}/token", Reply(gone))

    ended = agency("secret", "rm", "token")

    assert 0 == ended.code
    assert "still referred to by setting providers.x.api_key" in ended.err


def test_rekey_tells_where_the_old_key_is(agency: Agency, daemon: PlayedDaemon) -> None:
    done = {
        "key_id": "n",
        "key_source": "/var/vault.key",
        "old_key_id": "o",
        "old_key_kept_in": "/var/vault.key.old-o",
        "secrets": 3,
    }
    daemon.on("POST", "/api/v1/vault/rekey", Reply(done))

    ended = agency("secret", "rekey")

    assert 0 == ended.code
    assert "/var/vault.key.old-o" in ended.err
    assert done == json.loads(agency("secret", "rekey", "--json").out)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(404, "secret_not_found", 3), (503, "vault_locked", 5), (409, "rekey_refused", 8)],
)
def test_problems_have_their_exit_codes(
    agency: Agency, daemon: PlayedDaemon, status: int, code: str, exit_code: int
) -> None:
    daemon.on("DELETE", f"{PATH}/token", problem(status, code))

    assert exit_code == agency("secret", "rm", "token").code
