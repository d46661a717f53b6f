"""Cards: public, cached, signed, of either version, and extended for those who show a token."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from a2a.client import A2ACardResolver
from a2a.types import a2a_pb2 as pb
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from google.protobuf.json_format import ParseDict
from jwt.api_jwk import PyJWKSet

from tests.integration.fronts.conftest import Place

CARD = "/.well-known/agent-card.json"


async def _card(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as response:
        assert 200 == response.status
        return await response.json()


async def test_each_agent_and_workflow_has_a_card_with_absolute_addresses(
    place: Place, http: aiohttp.ClientSession
) -> None:
    card = await _card(http, place.agent("greet") + CARD)

    assert ("greet", "Says hello.") == (card["name"], card["description"])
    assert [
        ("JSONRPC", "1.0", place.agent("greet")),
        ("HTTP+JSON", "1.0", place.agent("greet") + "/v1"),
        ("GRPC", "1.0", f"127.0.0.1:{place.grpc_port}"),
        ("JSONRPC", "0.3", place.agent("greet")),
        ("HTTP+JSON", "0.3", place.agent("greet")),
    ] == [
        (one["protocolBinding"], one["protocolVersion"], one["url"])
        for one in card["supportedInterfaces"]
    ]
    assert ["workflow"] == card["skills"][0]["tags"]


async def test_card_of_nobody_in_particular_is_that_of_the_default_agent(
    place: Place, http: aiohttp.ClientSession
) -> None:
    assert "greet" == (await _card(http, place.url + CARD))["name"]


async def test_directory_lists_whom_one_can_speak_with(
    place: Place, http: aiohttp.ClientSession
) -> None:
    listed = (await _card(http, place.url + "/a2a"))["agents"]

    assert {"answer", "ask", "default", "greet", "pieces", "refuse"} == {
        one["name"] for one in listed
    }
    assert "greet" == (await _card(http, listed[3]["card_url"]))["name"]


async def test_card_of_both_versions_is_read_by_clients_of_either(
    place: Place, http: aiohttp.ClientSession
) -> None:
    card = await _card(http, place.agent("greet") + CARD)

    assert "0.3" == card["protocolVersion"]
    assert place.agent("greet") == card["url"]
    assert "JSONRPC" == card["preferredTransport"]


async def test_card_of_one_version_has_members_of_no_other(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    card = await _card(http, guarded.agent("greet") + CARD)

    known = {field.camelcase_name for field in pb.AgentCard.DESCRIPTOR.fields}
    assert set() == set(card) - known


async def test_card_is_not_sent_again_to_who_has_it(
    place: Place, http: aiohttp.ClientSession
) -> None:
    url = place.agent("greet") + CARD
    async with http.get(url) as first:
        etag, modified = first.headers["ETag"], first.headers["Last-Modified"]
        assert "public, max-age=300" == first.headers["Cache-Control"]

    statuses = []
    for header, value in (
        ("If-None-Match", etag),
        ("If-None-Match", f'"other", W/{etag}'),
        ("If-Modified-Since", modified),
        ("If-None-Match", '"other"'),
        ("If-Modified-Since", "Fri, 01 Jan 2010 00:00:00 GMT"),
    ):
        async with http.get(url, headers={header: value}) as again:
            statuses.append(again.status)
            assert etag == again.headers["ETag"]

    assert [304, 304, 304, 200, 200] == statuses


async def test_signature_stays_the_same_while_the_card_does(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    url = guarded.agent("greet") + CARD

    assert await _card(http, url) == await _card(http, url)


async def test_signature_is_verified_with_the_keys_that_it_names(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    document = await _card(http, guarded.agent("greet") + CARD)
    card = ParseDict(document, pb.AgentCard())
    asked: list[Any] = []
    keys = PyJWKSet.from_dict(await _card(http, f"{guarded.url}/.well-known/jwks.json"))

    def key(kid: str | None, jku: str | None) -> Any:
        asked.append((kid, jku))
        return keys[str(kid)]

    verify = create_signature_verifier(key, ["ES256"])
    verify(card)
    card.description = "Something else."

    assert [(keys.keys[0].key_id, f"{guarded.url}/.well-known/jwks.json")] == asked
    with pytest.raises(InvalidSignaturesError):
        verify(card)


async def test_card_needs_no_token_and_says_which_one_the_rest_needs(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    card = await _card(http, guarded.agent("greet") + CARD)

    assert "Bearer" == card["securitySchemes"]["bearer"]["httpAuthSecurityScheme"]["scheme"]
    assert [{"schemes": {"bearer": {}}}] == card["securityRequirements"]
    assert {"organization": "Example", "url": "https://example.org"} == card["provider"]
    assert card["capabilities"]["extendedAgentCard"]
    for method, path in (
        ("POST", "/a2a/greet"),
        ("POST", "/a2a/greet/v1/message:send"),
        ("GET", "/a2a/greet/v1/extendedAgentCard"),
        ("GET", "/a2a"),
        ("GET", "/a2a/greet/.well-known/agent-card.json/x"),
    ):
        async with http.request(method, guarded.url + path) as refused:
            assert 401 == refused.status, path
            assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path",
    [
        "/a2a/{agent}/.well-known/agent-card.json",
        "/api/v1/workflows/.well-known/agent-card.json",
        "/a2a/greet/.well-known/agent-card.json/",
    ],
)
async def test_path_that_only_looks_like_a_card_needs_a_token(
    guarded: Place, http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(guarded.url + path) as response:
        assert 401 == response.status


async def test_extended_card_tells_more_to_who_shows_a_token(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    headers = {**guarded.headers, "A2A-Version": "1.0"}
    url = guarded.agent("greet") + "/v1/extendedAgentCard"

    async with http.get(url, headers=headers) as response:
        card = await response.json()

    extension = card["capabilities"]["extensions"][-1]
    assert "urn:agency:a2a:schemas:1" == extension["uri"]
    assert "string" == json.dumps(extension["params"]["input"]).split('"type": "')[1][:6]


async def test_daemon_that_asks_nobody_who_they_are_has_no_extended_card(
    place: Place, http: aiohttp.ClientSession
) -> None:
    card = await _card(http, place.agent("greet") + CARD)
    url = place.agent("greet") + "/v1/extendedAgentCard"

    async with http.get(url, headers={"A2A-Version": "1.0"}) as response:
        refused = await response.json()

    assert not card["capabilities"].get("extendedAgentCard")
    assert "UNSUPPORTED_OPERATION" == refused["error"]["details"][0]["reason"]


async def test_official_resolver_reads_the_card(place: Place) -> None:
    import httpx

    async with httpx.AsyncClient() as client:
        card = await A2ACardResolver(client, place.agent("greet")).get_agent_card()

    assert "greet" == card.name


async def test_nobody_has_no_card(place: Place, http: aiohttp.ClientSession) -> None:
    async with http.get(place.agent("nobody") + CARD) as response:
        assert 404 == response.status
        assert "not_published" == (await response.json())["code"]
