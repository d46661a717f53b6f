"""Logins at servers of tools: done once, kept, renewed, and shown to nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.login import LoginFlow, LoginState
from agency.errors import ConnectionFailed, LoginFailed, StoreFull, ToolUnavailable
from tests.fake_servers.authorization import Authorization, Guarded, guarded_tools, served
from tests.integration.mcp.conftest import GUARD_S, Opener, World


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with guarded_tools() as tools:
        yield tools


def setup_of(guarded: Guarded, **more: Any) -> Mapping[str, ConnectionSetup]:
    return {"notes": ConnectionSetup(url=guarded.url, timeout_s=10.0, **more)}


async def visit(url: str) -> str:
    """Open an address as a browser would, up to where it is sent back."""
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(url, allow_redirects=False) as answer,
    ):
        assert 302 == answer.status, await answer.text()
        return answer.headers["Location"]


async def log_in(world: World) -> None:
    started = await world.connections.begin_login("notes")
    await world.connections.finish_login("notes", await visit(started.url))


async def logged_in(world: World) -> None:
    await world.reach("notes", ConnectionState.LOGIN)
    await log_in(world)
    await world.reach("notes")


async def test_login_is_demanded_done_once_and_kept_over_a_restart(
    world_of: Opener, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world_of(setup_of(guarded)) as world:
        await world.reach("notes", ConnectionState.LOGIN)
        with pytest.raises(ToolUnavailable, match="agency mcp login notes"):
            await world.call("notes__read")
        needed = await world.connections.login("notes")
        await logged_in(world)
        said = await world.say("notes__read")
        done = await world.connections.login("notes")
        folder = world.folder
    async with world_of(setup_of(guarded)) as world:
        again = await world.say("notes__read")

    assert (LoginState.NEEDED, LoginState.DONE) == (needed.state, done.state)
    assert "read with secret://mcp.notes.login" == said == again
    assert 1 == len(guarded.authorization.seen)
    kept = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    for secret in guarded.authorization.given:
        assert secret.encode() not in kept
        assert secret not in caplog.text


async def test_login_begun_before_a_restart_is_finished_after_it(
    world_of: Opener, guarded: Guarded
) -> None:
    async with world_of(setup_of(guarded)) as world:
        started = await world.connections.begin_login("notes")
    async with world_of(setup_of(guarded)) as world:
        waiting = await world.connections.login("notes")
        await world.connections.finish_login("notes", await visit(started.url))
        await world.reach("notes")

    assert LoginState.WAITING is waiting.state


async def test_calls_that_race_renew_a_token_once(world_of: Opener, guarded: Guarded) -> None:
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        guarded.authorization.expire()
        said = await asyncio.gather(*(world.say("notes__read") for _ in range(8)))

    assert {"read with secret://mcp.notes.login"} == set(said)
    kinds = [one["grant_type"] for one in guarded.authorization.seen]
    assert ["authorization_code", "refresh_token"] == kinds


async def test_call_that_is_given_up_does_not_lose_the_token_that_it_waited_for(
    world_of: Opener, guarded: Guarded
) -> None:
    authorization = guarded.authorization
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        authorization.expire()
        authorization.gate = asyncio.Event()
        call = asyncio.create_task(world.say("notes__read"))
        async with asyncio.timeout(10):
            while len(authorization.seen) < 2:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        authorization.gate.set()
        said = await world.say("notes__read")

    assert "read with secret://mcp.notes.login" == said
    assert 2 == len(authorization.seen)


async def test_token_that_ends_is_renewed_before_it_is_shown(
    world_of: Opener, guarded: Guarded
) -> None:
    guarded.authorization.lasts_s = 0
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        guarded.authorization.lasts_s = 3600
        await world.say("notes__read")
        shown = len(guarded.shown)
        await world.say("notes__read")

    assert shown + 1 == len(guarded.shown)
    assert all(token in guarded.authorization.good for token in guarded.shown)


async def test_login_that_has_ended_is_demanded_again(world_of: Opener, guarded: Guarded) -> None:
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        guarded.authorization.expire()
        guarded.authorization.refreshes.clear()
        with pytest.raises(ToolUnavailable, match="agency mcp login notes"):
            await world.call("notes__read")
        await world.reach("notes", ConnectionState.LOGIN)
        ended = await world.connections.login("notes")
        await log_in(world)
        await world.reach("notes")

    assert "invalid_grant: So it is" in ended.reason
    # It is the client that was registered before.
    assert 1 == len(guarded.authorization.clients)


async def test_login_survives_an_authorization_server_that_is_away(
    world_of: Opener, guarded: Guarded
) -> None:
    async with world_of(setup_of(guarded, repeatable=["*"])) as world:
        await logged_in(world)
        guarded.authorization.expire()
        guarded.authorization.answers = [503]
        with pytest.raises(ToolUnavailable, match="answers with HTTP 503"):
            await world.call("notes__read")
        state = (await world.connections.login("notes")).state

    assert LoginState.DONE is state
    async with world_of(setup_of(guarded)) as world:
        assert "read with" in await world.say("notes__read")


async def test_more_is_asked_for_when_a_tool_needs_more(world_of: Opener, guarded: Guarded) -> None:
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        with pytest.raises(ToolUnavailable, match="agency mcp login notes"):
            await world.call("notes__write")
        assert "read with" in await world.say("notes__read")
        started = await world.connections.begin_login("notes")
        # What was granted before is good until the new login is finished.
        assert "read with" in await world.say("notes__read")
        await world.connections.finish_login("notes", await visit(started.url))
        said = await world.say("notes__write")

    assert "notes:read notes:write" == started.scope
    assert "write with" in said


async def test_nobody_is_asked_again_for_what_did_not_help(
    world_of: Opener, guarded: Guarded
) -> None:
    guarded.never = True
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        with pytest.raises(ToolUnavailable):
            await world.call("notes__write")
        await log_in(world)
        with pytest.raises(ToolUnavailable):
            await world.call("notes__write")
        with pytest.raises(LoginFailed, match="refuses all the same"):
            await world.connections.begin_login("notes")


HOSTILE: Mapping[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another issuer": ({"issuer": "http://127.0.0.1:1"}, {}, "could be anybody's"),
    "no PKCE": ({"code_challenge_methods_supported": None}, {}, "PKCE"),
    "plain PKCE": ({"code_challenge_methods_supported": ["plain"]}, {}, "PKCE"),
    "huge": ({"padding": "x" * 300_000}, {}, "more than 262144 bytes"),
    "deep": ({"padding": {"a": [[[[{}]]]]}, "issuer": {}}, {}, "does not say where to log in"),
    "no web address": ({"token_endpoint": "file:///etc/passwd"}, {}, "no address|does not say"),
    "the daemon": ({"token_endpoint": "http://127.0.0.1:7499/x"}, {}, "daemon's own address"),
    "a name in it": ({"token_endpoint": "http://me:pw@127.0.0.1/"}, {}, "no address"),
    "another resource": ({}, {"resource": "https://bank.example/"}, "says to be"),
    "metadata service": (
        {},
        {"authorization_servers": ["http://169.254.169.254/"]},
        "allow_private",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_servers_cannot_lead_anywhere(case: str, world_of: Opener, guarded: Guarded) -> None:
    said, protected, reason = HOSTILE[case]
    guarded.authorization.metadata = said
    guarded.protected = protected
    async with world_of(setup_of(guarded), own_port=7499) as world:
        await world.reach("notes", ConnectionState.LOGIN)
        with pytest.raises(LoginFailed, match=reason):
            await world.connections.begin_login("notes")

    assert [] == guarded.authorization.seen


async def test_redirection_elsewhere_is_not_followed(world_of: Opener, guarded: Guarded) -> None:
    other = Authorization()
    async with served(other.application()) as elsewhere:
        other.url = elsewhere
        guarded.authorization.moved_to = f"{elsewhere}/.well-known/oauth-authorization-server"
        async with world_of(setup_of(guarded)) as world:
            await world.reach("notes", ConnectionState.LOGIN)
            with pytest.raises(LoginFailed, match="does not say where to log in"):
                await world.connections.begin_login("notes")


async def test_slow_authorization_server_is_not_waited_for(
    world_of: Opener, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.tools.mcp.oauth.wire.EXCHANGE_S", 0.5)
    guarded.authorization.is_slow = True
    async with world_of(setup_of(guarded)) as world:
        await world.reach("notes", ConnectionState.LOGIN)
        with pytest.raises(LoginFailed, match="no answer of"):
            await world.connections.begin_login("notes")


async def test_server_that_demands_a_login_is_added(world_of: Opener, guarded: Guarded) -> None:
    setup = setup_of(guarded)["notes"]
    async with world_of() as world:
        added = await world.connections.add("notes", setup, is_active=True, is_tested=True)
        view = await world.connections.login("notes")

    assert [] == list(added.connection.tools)
    assert (LoginState.NEEDED, "run `agency mcp login notes`") == (view.state, view.reason)


RETURNED: Mapping[str, tuple[dict[str, str | None], str]] = {
    "another issuer": ({"iss": "https://evil.example"}, "sent back by"),
    "no issuer": ({"iss": None}, "has not named itself"),
    "an error": ({"code": None, "error": "access_denied"}, "access_denied"),
    "no code": ({"code": None}, "no code"),
}


@pytest.mark.parametrize("case", RETURNED)
async def test_what_comes_back_is_judged(case: str, world_of: Opener, guarded: Guarded) -> None:
    guarded.authorization.returns, reason = RETURNED[case]
    async with world_of(setup_of(guarded)) as world:
        await world.reach("notes", ConnectionState.LOGIN)
        started = await world.connections.begin_login("notes")
        with pytest.raises(LoginFailed, match=reason):
            await world.connections.finish_login("notes", await visit(started.url))
        view = await world.connections.login("notes")

    assert LoginState.NEEDED is view.state
    assert view.reason
    assert [] == guarded.authorization.seen


async def test_login_is_finished_once_and_by_nobody_who_guesses(
    world_of: Opener, guarded: Guarded
) -> None:
    async with world_of(setup_of(guarded)) as world:
        await world.reach("notes", ConnectionState.LOGIN)
        started = await world.connections.begin_login("notes")
        back = await visit(started.url)
        with pytest.raises(LoginFailed, match="another login"):
            await world.connections.finish_login("notes", back.replace("state=", "state=x"))
        outcomes = await asyncio.gather(
            *(world.connections.finish_login("notes", back) for _ in range(3)),
            return_exceptions=True,
        )
        await world.reach("notes")

    assert 2 == sum(isinstance(one, LoginFailed) for one in outcomes)
    assert 1 == len(guarded.authorization.seen)


async def test_token_is_shown_to_no_other_server(world_of: Opener, guarded: Guarded) -> None:
    other = Guarded(guarded.authorization)
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
    async with served(other.application()) as base:
        other.url = f"{base}/mcp"
        async with world_of(setup_of(other)) as world:
            await world.reach("notes", ConnectionState.LOGIN)

    assert [] == other.shown


async def test_logging_out_takes_the_token_back(world_of: Opener, guarded: Guarded) -> None:
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        await world.connections.forget_login("notes")
        await world.reach("notes", ConnectionState.LOGIN)
        secrets = await world.vault.list(after=None, limit=10)

    assert 1 == len(guarded.authorization.revoked)
    assert [] == list(secrets)


async def test_daemon_logs_in_by_itself_with_a_secret(world_of: Opener, guarded: Guarded) -> None:
    authorization = guarded.authorization
    authorization.client_secret = "a secret of the client"
    async with world_of() as world:
        await world.vault.set("own", authorization.client_secret, principal="owner")
        setup = ConnectionSetup(
            url=guarded.url,
            oauth=LoginFlow.CLIENT_CREDENTIALS,
            oauth_client_id=authorization.client_id,
            oauth_client_secret="secret://own",
            oauth_issuer=authorization.url,
        )
        await world.connections.add("notes", setup, is_active=True, is_tested=True)
        assert "read with" in await world.say("notes__read")
        authorization.expire()
        assert "read with" in await world.say("notes__read")
        # More is asked for by itself, too.
        assert "write with" in await world.say("notes__write")


async def test_daemon_logs_in_by_itself_with_a_key(world_of: Opener, guarded: Guarded) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    guarded.authorization.public_key = public.decode()
    async with world_of() as world:
        await world.vault.set("own", private.decode(), principal="owner")
        setup = ConnectionSetup(
            url=guarded.url,
            oauth=LoginFlow.CLIENT_CREDENTIALS,
            oauth_client_id="known-client",
            oauth_key="secret://own",
            oauth_issuer=guarded.authorization.url,
        )
        await world.connections.add("notes", setup, is_active=True, is_tested=True)

        assert "read with" in await world.say("notes__read")


async def test_secret_of_a_client_goes_to_its_issuer_only(
    world_of: Opener, guarded: Guarded
) -> None:
    async with world_of() as world:
        await world.vault.set("own", "a secret of the client", principal="owner")
        setup = ConnectionSetup(
            url=guarded.url,
            oauth=LoginFlow.CLIENT_CREDENTIALS,
            oauth_client_id="known-client",
            oauth_client_secret="secret://own",
            oauth_issuer="https://issuer.example",
        )
        with pytest.raises(ConnectionFailed, match="oauth_issuer"):
            await world.connections.add("notes", setup, is_active=True, is_tested=True)

    assert [] == guarded.authorization.seen


async def test_locked_vault_is_in_the_way_only_where_a_token_is_needed(
    world_of: Opener, guarded: Guarded
) -> None:
    good = guarded.authorization.good
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        key = world.folder / "vault.key"
    away = key.rename(key.with_name("away.key"))
    # Without a token, too, for a while.
    good[""] = "notes:read"
    async with world_of(setup_of(guarded)) as world:
        open_to_all = await world.say("notes__read")
        del good[""]
        with pytest.raises(ToolUnavailable, match="encrypted with the key"):
            await world.call("notes__read")
        away.rename(key)
        async with asyncio.timeout(GUARD_S):
            while not (await world.connections.test("notes")).is_good:
                await asyncio.sleep(0.2)
        await world.reach("notes")
        said = await world.say("notes__read")

    assert "read with " == open_to_all
    assert "read with secret://mcp.notes.login" == said


async def test_token_is_not_lost_when_there_is_no_room_for_it(
    world_of: Opener, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world_of(setup_of(guarded)) as world:
        await logged_in(world)
        guarded.authorization.expire()
        with monkeypatch.context() as full:
            full.setattr(world.vault, "set", _no_room)
            first = await world.say("notes__read")
        again = await world.say("notes__read")
        guarded.authorization.expire()
        renewed = await world.say("notes__read")
    async with world_of(setup_of(guarded)) as world:
        after = await world.say("notes__read")

    assert first.startswith("read with ")
    assert first == again
    assert "read with secret://mcp.notes.login" == renewed == after
    assert 3 == len(guarded.authorization.seen)


async def _no_room(*_: object, **__: object) -> None:
    raise StoreFull("There is no room.")
