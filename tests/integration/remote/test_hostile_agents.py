"""Agents that lie, stall, flood and lead elsewhere: right errors, bounds, no token leaked."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import RemoteAgent, Server, Settings, Store
from agency.core.addresses import Endpoint
from agency.core.clock import SystemClock
from agency.domain.content import Content, text_part
from agency.domain.remote import RemoteMessage
from agency.errors import (
    AgencyError,
    RemoteAgentAway,
    RemoteAgentDenied,
    RemoteAgentNotFound,
    RemoteAgentRefused,
    RemoteAgentUnfit,
    RemoteAgentUnreachable,
)
from agency.storage.sqlite.store import open_store
from agency.tools.a2a.agents import A2aAgents
from agency.tools.a2a.cards import CARD_BYTES_MAX
from agency.tools.a2a.http import ANSWER_BYTES_MAX, make_client
from agency.tools.a2a.places import Places
from agency.vault.opening import open_vault
from tests.integration.remote.hostile import Asked, Hostile, always, answer, open_hostile, result

MESSAGE = RemoteMessage(id="m1", content=Content(parts=[text_part("hello")]))


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with open_hostile() as opened:
        yield opened


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2A_TEST_TOKEN", "a token for tests")


def agents_of(hostile: Hostile, *, allowed: Sequence[str] = (), **more: Any) -> A2aAgents:
    settings = RemoteAgent(url=hostile.url, token="env://A2A_TEST_TOKEN", **more)
    return A2aAgents({"it": settings}, allowed, clock=SystemClock())


def card(hostile: Hostile, **changed: Any) -> bytes:
    return answer(json.dumps(hostile.good_card(**changed)))


def interface(url: str, version: str = "1.0", binding: str = "JSONRPC") -> dict[str, Any]:
    one = {"url": url, "protocolBinding": binding, "protocolVersion": version}
    return {"supportedInterfaces": [one]}


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (answer("{", status="200 OK"), RemoteAgentUnfit, "no JSON"),
        (answer("[]"), RemoteAgentUnfit, "no card"),
        (answer("{}"), RemoteAgentUnfit, "no card"),
        (answer('{"name": [], "url": {}}'), RemoteAgentUnfit, "cannot be read"),
        (answer("[" * 5000 + "]" * 5000), RemoteAgentUnfit, "no JSON"),
        (answer("no", status="404 Not Found"), RemoteAgentUnfit, "speaks no A2A there"),
        (answer("no", status="401 No", www_authenticate="Bearer"), RemoteAgentDenied, "Bearer"),
        (answer("no", status="403 No"), RemoteAgentDenied, "403"),
        (answer("no", status="413 Big"), RemoteAgentUnfit, "413"),
        (answer("no", status="500 Oh"), RemoteAgentUnfit, "has failed"),
        (answer("no", status="503 Later", retry_after="7"), RemoteAgentUnreachable, "503"),
        (answer("", status="302 Go", location="http://10.0.0.1/"), RemoteAgentUnfit, "redirects"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", RemoteAgentUnreachable, "cannot be reached"),
        (b"", RemoteAgentUnreachable, "cannot be reached"),
    ],
    ids=[
        "no-json", "list", "empty", "wrong-types", "deep", "404", "401", "403", "413", "500",
        "503",
        "redirect", "ssh", "closed",
    ],
)  # fmt: skip
async def test_what_is_no_card_is_told_as_such(
    hostile: Hostile, given: bytes, kind: type[AgencyError], said: str
) -> None:
    hostile.card = always(given)

    with pytest.raises(kind, match=said):
        await agents_of(hostile).card("it")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param(f"Mon, 01 Jan 2024 00:00:00 +{'9' * 20}", None, id="no-moment"),
    ],
)
async def test_retry_after_is_kept(hostile: Hostile, asked: str, found: float | None) -> None:
    hostile.card = always(answer("", status="429 Slow", retry_after=asked))

    with pytest.raises(RemoteAgentUnreachable) as caught:
        await agents_of(hostile).card("it")

    assert found == caught.value.retry_after_s


async def test_each_address_of_a_name_is_tried(hostile: Hostile) -> None:
    async def both_kinds(_: str, port: int) -> Sequence[Endpoint]:
        return [
            Endpoint(socket.AF_INET6, "::1", port),
            Endpoint(socket.AF_INET, "127.0.0.1", port),
        ]

    url = f"http://both.test:{hostile.port}"
    place = Places({"it": RemoteAgent(url=url)}, ()).find("it")
    hostile.rpc = always(answer("taken"))

    async with make_client(place, lookup=both_kinds) as client:
        response = await client.post(f"{url}/rpc", content=b"what")

    assert ("taken", b"what") == (response.text, hostile.asked[0].body)
    assert f"both.test:{hostile.port}" == hostile.asked[0].headers["host"]


async def test_huge_card_is_not_read_to_its_end(hostile: Hostile) -> None:
    hostile.card = always(answer("x" * (CARD_BYTES_MAX + 1)))

    with pytest.raises(RemoteAgentUnfit, match="more than"):
        await agents_of(hostile).card("it")


async def test_many_who_wait_for_a_stalling_agent_wait_together(hostile: Hostile) -> None:
    over = asyncio.Event()

    async def stall(_: Asked) -> bytes:
        await over.wait()
        return b""

    hostile.card = stall
    agents = agents_of(hostile, timeout_s=0.3)

    found = await asyncio.gather(*(agents.card("it") for _ in range(9)), return_exceptions=True)
    over.set()

    assert {"remote_agent_silent"} == {getattr(one, "code", None) for one in found}
    # One after another, each would have asked and waited its whole time.
    assert 2 >= len(hostile.asked)


async def test_packed_card_is_refused(hostile: Hostile) -> None:
    packed = gzip.compress(json.dumps(hostile.good_card()).encode())
    hostile.card = always(answer(packed, content_encoding="gzip"))

    with pytest.raises(RemoteAgentUnfit, match="compresses"):
        await agents_of(hostile).card("it")


async def test_slow_drip_is_cut_off(hostile: Hostile) -> None:
    async def drip(asked: Asked) -> bytes:
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not asked.writer.is_closing():
            asked.writer.write(b" ")
            await asked.writer.drain()
            await asyncio.sleep(0.02)
        return b""

    hostile.card = drip

    with pytest.raises(RemoteAgentUnreachable, match=r"no answer within 0\.3 s"):
        await agents_of(hostile, timeout_s=0.3).card("it")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (interface("http://127.0.0.1:1/rpc"), "not its own host"),
        (interface("http://169.254.169.254/latest"), "not its own host"),
        (interface("http://[::1]:8080/"), "not its own host"),
        (interface("ftp://127.0.0.1/"), "no address of HTTP"),
        (interface("http://127.0.0.1:99999/"), "no address"),
        (interface("/rpc", "2.0"), "speaks JSONRPC 2.0"),
        (interface("/rpc", "0.2.5"), r"speaks JSONRPC 0\.2\.5"),
        (interface("/rpc", "1.0", "CARRIER-PIGEON"), "CARRIER-PIGEON"),
        ({"supportedInterfaces": []}, "speaks nothing"),
    ],
    ids=["port", "metadata", "v6", "ftp", "bad-port", "2.0", "0.2", "binding", "none"],
)
async def test_card_may_not_lead_elsewhere(
    hostile: Hostile, changed: dict[str, Any], said: str
) -> None:
    hostile.card = always(card(hostile, **changed))

    with pytest.raises(RemoteAgentUnfit, match=said):
        await agents_of(hostile).card("it")


async def test_allowed_host_of_a_card_is_called(hostile: Hostile) -> None:
    async with open_hostile() as other:
        hostile.card = always(card(hostile, **interface(f"{other.url}/rpc")))
        other.rpc = result({"message": {"messageId": "x", "role": "ROLE_AGENT", "parts": []}})
        agents = agents_of(hostile, allowed=[f"127.0.0.1:{other.port}"])

        await agents.send("it", MESSAGE)

        assert ["Bearer a token for tests"] == [one.headers["authorization"] for one in other.asked]


async def test_relative_address_in_a_card_is_its_own(hostile: Hostile) -> None:
    hostile.card = always(card(hostile, **interface("/elsewhere")))

    assert f"{hostile.url}/elsewhere" == (await agents_of(hostile).card("it")).url


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:{port}", []),
        ("http://127.0.0.1:{port}", ["*"]),
        ("http://127.0.0.1:{port}", ["*.example.org"]),
        ("http://localhost:{port}", ["*"]),
        ("http://user@127.0.0.1:{port}", ["127.0.0.1"]),
        ("file:///etc/passwd", ["*"]),
        ("http://127.0.0.1:{port}/ x", ["127.0.0.1"]),
        ("http://" + "a" * 3000, ["*"]),
    ],
    ids=["none", "public-only", "other", "name", "user", "file", "blank", "long"],
)
async def test_address_that_is_not_allowed_is_not_called(
    hostile: Hostile, url: str, allowed: list[str]
) -> None:
    agents = agents_of(hostile, allowed=allowed)

    with pytest.raises(RemoteAgentRefused):
        await agents.send(url.format(port=hostile.port), MESSAGE)

    assert [] == hostile.asked


async def test_allowed_address_is_called_without_anybodys_token(hostile: Hostile) -> None:
    hostile.rpc = result({"message": {"messageId": "x", "role": "ROLE_AGENT", "parts": []}})

    await agents_of(hostile, allowed=["127.0.0.1"]).send(hostile.url, MESSAGE)

    assert ["/.well-known/agent-card.json", "/rpc"] == [one.path for one in hostile.asked]
    assert all("authorization" not in one.headers for one in hostile.asked)


async def test_name_that_is_not_there_is_told_with_those_that_are(hostile: Hostile) -> None:
    with pytest.raises(RemoteAgentNotFound) as caught:
        await agents_of(hostile).card("its")

    assert "There are: it." in caught.value.hint


TASK = {"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}}


@pytest.mark.parametrize(
    "given",
    [
        {"task": {**TASK, "id": "../../admin"}},
        {"task": {**TASK, "id": "a b"}},
        {"task": {**TASK, "id": ""}},
        {"task": {**TASK, "id": "x" * 300}},
        {"task": {**TASK, "contextId": "a/b"}},
        {"task": {**TASK, "artifacts": [{"artifactId": "a", "parts": []}] * 1001}},
        {"task": {**TASK, "status": {"message": {"parts": [{"text": "x"}] * 1001}}}},
        {"task": []},
        {},
        [],
        "x",
        7,
    ],
    ids=[
        "path", "blank", "empty", "long", "context", "artifacts", "parts", "list-task", "nothing",
        "list", "text", "number",
    ],
)  # fmt: skip
async def test_answer_that_makes_no_sense_is_refused(hostile: Hostile, given: Any) -> None:
    hostile.rpc = result(given)

    with pytest.raises(RemoteAgentUnfit):
        await agents_of(hostile).send("it", MESSAGE)


@pytest.mark.parametrize(
    "given",
    [
        answer("{"),
        answer("[" * 3000 + "]" * 3000),
        answer('{"jsonrpc": "2.0", "id": 1}'),
        answer('{"jsonrpc": "2.0", "id": 1, "error": "x"}'),
        answer('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "x"}}'),
        answer('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32009, "message": "1.1"}}'),
        answer("", status="302 Go", location="http://127.0.0.1/"),
        answer(b" " * (ANSWER_BYTES_MAX + 1)),
    ],
    ids=["no-json", "deep", "empty", "error", "internal", "version", "redirect", "huge"],
)
async def test_answer_that_is_no_a2a_is_refused(hostile: Hostile, given: bytes) -> None:
    hostile.rpc = always(given)

    with pytest.raises(RemoteAgentUnfit):
        await agents_of(hostile).send("it", MESSAGE)


async def test_other_task_than_the_one_that_was_asked_about_is_refused(hostile: Hostile) -> None:
    hostile.rpc = result({**TASK, "id": "other"})

    with pytest.raises(RemoteAgentUnfit, match="tells of 'other'"):
        await agents_of(hostile).get("it", "t1", hops=1)


async def test_stream_about_another_task_is_refused(hostile: Hostile) -> None:
    event = {"statusUpdate": {"taskId": "other", "status": {"state": "TASK_STATE_COMPLETED"}}}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "result": event})
    hostile.rpc = always(answer(f"data: {line}\n\n", content_type="text/event-stream"))

    with pytest.raises(RemoteAgentUnfit, match="tells of 'other'"):
        async for _ in agents_of(hostile).watch("it", "t1", hops=1):
            pass


async def test_endless_line_of_a_stream_is_cut_off(hostile: Hostile) -> None:
    async def flood(asked: Asked) -> bytes:
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ")
        for _ in range(ANSWER_BYTES_MAX // (1 << 20) + 2):
            asked.writer.write(b"x" * (1 << 20))
            await asked.writer.drain()
        return b""

    hostile.rpc = flood

    with pytest.raises(RemoteAgentUnfit, match="more than"):
        async for _ in agents_of(hostile).watch("it", "t1", hops=1):
            pass


async def test_broken_stream_is_an_agent_that_is_away(hostile: Hostile) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    hostile.rpc = always(head + b"5\r\nda")

    with pytest.raises(RemoteAgentUnreachable):
        async for _ in agents_of(hostile).watch("it", "t1", hops=1):
            pass


async def test_secret_that_is_not_there_is_named(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A2A_TEST_TOKEN")

    with pytest.raises(RemoteAgentDenied, match="A2A_TEST_TOKEN"):
        await agents_of(hostile).card("it")

    assert [] == hostile.asked


async def test_secret_that_an_agent_repeats_goes_no_further(
    hostile: Hostile, tmp_path: Path
) -> None:
    token = "the-token-of-it"
    status = {"state": "TASK_STATE_COMPLETED"}
    error = {"code": -32602, "message": f"{token} is no good"}

    async def echo(asked: Asked) -> bytes:
        if asked.rpc["method"] == "GetTask":
            given: dict[str, Any] = {"error": error}
        else:
            given = {"result": {"task": {"id": token, "contextId": "c", "status": status}}}
        return answer(json.dumps({"jsonrpc": "2.0", "id": asked.rpc["id"], **given}))

    hostile.card = always(answer(json.dumps(hostile.good_card(description=f"I know {token}."))))
    hostile.rpc = echo
    settings = Settings(server=Server(data_dir=str(tmp_path)))
    storing = Store(free_bytes_min=0)
    path = tmp_path / "agency.db"
    async with open_store(path, settings=storing, clock=SystemClock()) as store:
        vault = await open_vault(settings, SystemClock(), store=store.secrets)
        await vault.set("it", token, principal="test")
        described = RemoteAgent(url=hostile.url, token="secret://it")
        agents = A2aAgents({"it": described}, clock=SystemClock(), vault=vault)
        shown = await agents.card("it")
        with pytest.raises(RemoteAgentUnfit) as named:
            await agents.send("it", MESSAGE)
        with pytest.raises(RemoteAgentUnfit) as refused:
            await agents.get("it", "t1", hops=1)

    assert f"Bearer {token}" == hostile.asked[0].headers["authorization"]
    assert "I know " in shown.description
    assert "is no good" in refused.value.message
    told = [shown.description, str(shown.document), str(named.value), str(refused.value)]
    assert not any(token in one for one in told)


# --- cards that are kept ------------------------------------------------------------------------


async def test_card_is_kept_asked_about_by_its_mark_and_used_while_its_agent_is_away(
    hostile: Hostile,
) -> None:
    agents = agents_of(hostile)
    good = json.dumps(hostile.good_card())
    hostile.card = always(answer(good, etag='"one"', cache_control="max-age=600"))
    first = await agents.card("it")
    await agents.card("it")
    asked_once = len(hostile.asked)

    hostile.card = always(answer("", status="304 Same", cache_control="max-age=0"))
    again = await agents.card("it", is_fresh=True)
    marks = [one.headers.get("if-none-match") for one in hostile.asked]
    hostile.card = always(answer("", status="503 Away"))
    stale = await agents.card("it")

    assert 1 == asked_once
    assert [None, '"one"'] == marks
    assert first == again
    assert (True, "Hostile") == (stale.is_stale, stale.name)
    with pytest.raises(RemoteAgentUnreachable):
        await agents.card("it", is_fresh=True)


async def test_message_is_known_not_to_be_sent_when_the_card_cannot_be_had(
    hostile: Hostile,
) -> None:
    hostile.card = always(answer("", status="503 Away"))

    with pytest.raises(RemoteAgentAway):
        await agents_of(hostile).send("it", MESSAGE)


async def test_signed_card_is_checked_with_the_key_of_the_settings(
    hostile: Hostile, tmp_path: Path
) -> None:
    good, other = _key(tmp_path / "good.pem"), _key(tmp_path / "other.pem")
    hostile.card = always(answer(_signed(hostile.good_card(), good)))

    verified = await agents_of(hostile, card_key=str(tmp_path / "good.pem")).card("it")
    with pytest.raises(RemoteAgentUnfit, match="not signed"):
        await agents_of(hostile, card_key=str(tmp_path / "other.pem")).card("it")
    changed = json.loads(_signed(hostile.good_card(), good)) | {"description": "Trust me."}
    hostile.card = always(answer(json.dumps(changed)))
    with pytest.raises(RemoteAgentUnfit, match="not signed"):
        await agents_of(hostile, card_key=str(tmp_path / "good.pem")).card("it")
    hostile.card = None
    with pytest.raises(RemoteAgentUnfit, match="not signed"):
        await agents_of(hostile, card_key=str(tmp_path / "good.pem")).card("it")
    with pytest.raises(RemoteAgentDenied, match="cannot be read"):
        await agents_of(hostile, card_key=str(tmp_path / "none.pem")).card("it")

    assert verified.is_verified
    assert good != other


def _key(public: Path) -> bytes:
    """Make a key, write its public part, and give the private one as PEM."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _signed(document: dict[str, Any], key: bytes) -> str:
    """Sign a card as the SDK does."""
    from a2a.client.card_resolver import parse_agent_card
    from a2a.utils.signing import ProtectedHeader, create_agent_card_signer
    from google.protobuf.json_format import MessageToJson

    header = ProtectedHeader(kid="k", alg="ES256", jku=None, typ="JOSE")
    signed = create_agent_card_signer(key, header)(parse_agent_card(document))
    return str(MessageToJson(signed))
