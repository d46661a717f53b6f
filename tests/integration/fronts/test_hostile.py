"""What is wrong with a request is said as the protocol has it, on each transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.integration.fronts.conftest import Place

SENT = {"message": {"role": "ROLE_USER", "messageId": "m-1", "parts": [{"text": "Ada"}]}}


def _request(**changes: Any) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": SENT}
    return json.dumps({**body, **changes}).encode()


def _nested(depth: int) -> bytes:
    deep = b"[" * depth + b"]" * depth
    return b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":' + deep + b"}"


async def _post(
    http: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, Any]:
    async with http.post(url, data=BytesIO(body), headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(
    ("body", "version", "code", "request_id"),
    [
        pytest.param(b"", "1.0", -32700, None, id="empty"),
        pytest.param(b"{", "1.0", -32700, None, id="broken"),
        pytest.param(b"\xff\xfe", "1.0", -32700, None, id="not-utf-8"),
        pytest.param(b'{"id": NaN}', "1.0", -32700, None, id="nan"),
        pytest.param(b'{"id": 1e999}', "1.0", -32700, None, id="infinite"),
        pytest.param(b'{"id": "\\ud800"}', "1.0", -32700, None, id="half-a-character"),
        pytest.param(b'{"id": 1, "id": 2}', "1.0", -32700, None, id="twice"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"a","id":"b"}}',
            "1.0",
            -32700,
            None,
            id="twice-inside",
        ),
        pytest.param(_nested(200), "1.0", -32600, None, id="deep"),
        pytest.param(
            _request(method="tasks/get", params={"id": "a", "historyLength": 1 << 31}),
            "0.3",
            -32602,
            1,
            id="0.3-long-history",
        ),
        pytest.param(
            _request(
                method="message/send",
                params={
                    "message": {
                        "kind": "message",
                        "role": "user",
                        "messageId": "m-0",
                        "parts": [{"kind": "data", "data": {"a": json.loads("[" * 90 + "]" * 90)}}],
                    }
                },
            ),
            "0.3",
            -32602,
            1,
            id="0.3-deep-data",
        ),
        pytest.param(_nested(5000), "1.0", -32700, None, id="bottomless"),
        pytest.param(b"[" + _request() + b"]", "1.0", -32600, None, id="batch"),
        pytest.param(b"[]", "1.0", -32600, None, id="empty-batch"),
        pytest.param(b'"SendMessage"', "1.0", -32600, None, id="text"),
        pytest.param(_request(jsonrpc="1.0"), "1.0", -32600, 1, id="json-rpc-1"),
        pytest.param(_request(id={"a": 1}), "1.0", -32600, None, id="object-for-id"),
        pytest.param(_request(id=True), "1.0", -32600, None, id="truth-for-id"),
        pytest.param(_request(id="x" * 1025), "1.0", -32600, None, id="long-id"),
        pytest.param(_request(id=1 << 70), "1.0", -32600, None, id="huge-id"),
        pytest.param(_request(method=""), "1.0", -32600, 1, id="no-method"),
        pytest.param(_request(method=["x"]), "1.0", -32600, 1, id="list-for-method"),
        pytest.param(_request(method="Nothing"), "1.0", -32601, 1, id="unknown-method"),
        pytest.param(_request(method="message/send"), "1.0", -32601, 1, id="old-method"),
        pytest.param(_request(), "", -32009, 1, id="no-version"),
        pytest.param(_request(), "0.3", -32009, 1, id="old-version"),
        pytest.param(_request(), "1.7", -32009, 1, id="later-minor"),
        pytest.param(_request(), "1", -32009, 1, id="major-only"),
        pytest.param(_request(), "one", -32009, 1, id="no-number"),
        pytest.param(_request(params=[SENT]), "1.0", -32602, 1, id="list-for-params"),
        pytest.param(_request(params={}), "1.0", -32602, 1, id="no-message"),
        pytest.param(_request(params={"message": "Ada"}), "1.0", -32602, 1, id="text-for-message"),
        pytest.param(
            _request(params={"message": {"role": "ROLE_USER", "messageId": "m"}}),
            "1.0",
            -32602,
            1,
            id="no-parts",
        ),
        pytest.param(
            _request(params={"message": {**SENT["message"], "role": "ROLE_KING"}}),
            "1.0",
            -32602,
            1,
            id="unknown-role",
        ),
        pytest.param(
            _request(params={"message": {**SENT["message"], "parts": [{"raw": "%%%"}]}}),
            "1.0",
            -32602,
            1,
            id="no-base64",
        ),
        pytest.param(
            _request(
                params={"message": {**SENT["message"], "parts": [{"text": "a", "url": "b:c"}]}}
            ),
            "1.0",
            -32602,
            1,
            id="two-contents",
        ),
        pytest.param(_request(method="GetTask", params={}), "1.0", -32602, 1, id="no-task-id"),
        pytest.param(
            _request(method="GetTask", params={"id": "nothing"}), "1.0", -32001, 1, id="no-task"
        ),
    ],
)
async def test_request_over_json_rpc_is_refused(
    place: Place,
    http: aiohttp.ClientSession,
    body: bytes,
    version: str,
    code: int,
    request_id: int | None,
) -> None:
    headers = {"Content-Type": "application/json"}
    if version:
        headers["A2A-Version"] = version

    status, answer = await _post(http, place.agent("ask"), body, headers)

    assert (200, "2.0", request_id) == (status, answer["jsonrpc"], answer["id"])
    assert code == answer["error"]["code"]
    info = answer["error"]["data"][0]
    assert "type.googleapis.com/google.rpc.ErrorInfo" == info["@type"]
    assert "a2a-protocol.org" == info["domain"]


@pytest.mark.parametrize(
    ("method", "path", "body", "version", "status", "reason"),
    [
        pytest.param("POST", "/message:send", b"{", "1.0", 400, "PARSE_ERROR", id="broken"),
        pytest.param("POST", "/message:send", b"[]", "1.0", 400, "INVALID_PARAMS", id="list"),
        pytest.param("POST", "/message:send", b"{}", "1.0", 400, "INVALID_PARAMS", id="no-message"),
        pytest.param(
            "POST", "/message:stream", b"{}", "1.0", 400, "INVALID_PARAMS", id="stream-of-nothing"
        ),
        pytest.param(
            "POST", "/message:send", b"{}", "1.7", 400, "VERSION_NOT_SUPPORTED", id="later-minor"
        ),
        pytest.param("GET", "/tasks/nothing", b"", "1.0", 404, "TASK_NOT_FOUND", id="no-task"),
        pytest.param(
            "POST", "/tasks/nothing:cancel", b"", "1.0", 404, "TASK_NOT_FOUND", id="cancel-nothing"
        ),
        pytest.param(
            "GET", "/tasks/no:subscribe", b"", "1.0", 404, "TASK_NOT_FOUND", id="subscribe-get"
        ),
        pytest.param(
            "POST", "/tasks/no:subscribe", b"", "1.0", 404, "TASK_NOT_FOUND", id="subscribe-post"
        ),
        pytest.param(
            "GET", "/tasks?pageSize=many", b"", "1.0", 400, "INVALID_PARAMS", id="no-number"
        ),
        pytest.param(
            "GET", "/tasks?status=BUSY", b"", "1.0", 400, "INVALID_PARAMS", id="unknown-status"
        ),
        pytest.param(
            "GET",
            "/tasks?includeArtifacts=perhaps",
            b"",
            "1.0",
            400,
            "INVALID_PARAMS",
            id="neither-true-nor-false",
        ),
        pytest.param("GET", "/tasks", b"", "0.3", 404, "METHOD_NOT_FOUND", id="list-in-0.3"),
        pytest.param(
            "GET", "/tenant/tasks/nothing", b"", "1.0", 404, "TASK_NOT_FOUND", id="with-tenant"
        ),
    ],
)
async def test_request_over_http_is_refused(
    place: Place,
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    body: bytes,
    version: str,
    status: int,
    reason: str,
) -> None:
    headers = {"A2A-Version": version}
    if body:
        headers["Content-Type"] = "application/a2a+json"

    url = place.agent("ask") + "/v1" + path
    async with http.request(method, url, data=body or None, headers=headers) as response:
        answer = await response.json()

    assert (status, status) == (response.status, answer["error"]["code"])
    assert "application/json" == response.content_type
    assert reason == answer["error"]["details"][0]["reason"]


async def test_who_forgets_the_version_is_told_so(
    place: Place, http: aiohttp.ClientSession
) -> None:
    message = {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "x"}]}

    url = place.agent("ask") + "/v1/message:send"
    async with http.post(url, json={"message": message}) as response:
        answer = await response.json()

    assert 400 == response.status
    assert "no A2A-Version means" in answer["error"]["message"]


async def test_version_may_stand_in_the_query(place: Place, http: aiohttp.ClientSession) -> None:
    url = place.agent("ask") + "?A2A-Version=1.0.1"

    _, answer = await _post(http, url, _request(params={}), {"Content-Type": "application/json"})

    assert -32602 == answer["error"]["code"]


async def test_other_content_types_are_refused_on_both_transports(
    place: Place, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Type": "text/plain", "A2A-Version": "1.0"}

    rpc = await _post(http, place.agent("ask"), _request(), headers)
    rest = await _post(http, place.agent("ask") + "/v1/message:send", b"{}", headers)

    assert -32005 == rpc[1]["error"]["code"]
    assert (415, 415) == (rest[0], rest[1]["error"]["code"])
    assert "CONTENT_TYPE_NOT_SUPPORTED" == rest[1]["error"]["details"][0]["reason"]


async def test_body_that_is_too_large_is_refused_before_it_is_read(
    place: Place, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
    huge = b'{"jsonrpc":"2.0","id":"' + b"x" * (1 << 20) + b'"}'

    for path in ("", "/v1/message:send"):
        status, _ = await _post(http, place.agent("ask") + path, huge, headers)
        assert 413 == status


async def test_fields_that_are_missing_are_named(place: Place, http: aiohttp.ClientSession) -> None:
    body = _request(params={"message": {"parts": [{"text": "Ada"}]}})
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}

    _, answer = await _post(http, place.agent("ask"), body, headers)

    violations = answer["error"]["data"][1]["fieldViolations"]
    assert ["message.messageId", "message.role"] == [one["field"] for one in violations]


async def test_page_of_another_site_cannot_call(place: Place, http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json", "Origin": "https://evil.example"}

    status, _ = await _post(http, place.agent("ask"), _request(), headers)

    assert 403 == status


async def test_nobody_cannot_be_called(place: Place, http: aiohttp.ClientSession) -> None:
    for path in ("", "/", "/v1/message:send"):
        status, answer = await _post(http, place.agent("nobody") + path, _request(), {})
        assert (404, "not_published") == (status, answer["code"])


async def test_versions_that_are_switched_off_are_refused(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Type": "application/json", **guarded.headers}

    _, rpc = await _post(http, guarded.agent("ask"), _request(method="message/send"), headers)
    status, rest = await _post(http, guarded.agent("ask") + "/v1/message:send", b"{}", headers)

    assert -32009 == rpc["error"]["code"]
    assert (400, "VERSION_NOT_SUPPORTED") == (status, rest["error"]["details"][0]["reason"])


async def test_many_idle_streams_leave_room_for_others(
    place: Place, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
    _, sent = await _post(http, place.agent("ask"), _request(id="first"), headers)
    task_id = sent["result"]["task"]["id"]
    body = _request(method="SubscribeToTask", params={"id": task_id})
    many = 500
    connector = aiohttp.TCPConnector(limit=0)

    async with aiohttp.ClientSession(connector=connector) as crowd, asyncio.timeout(30):

        async def watch() -> aiohttp.ClientResponse:
            response = await crowd.post(place.agent("ask"), data=body, headers=headers)
            assert "text/event-stream" == response.content_type
            await response.content.readuntil(b"\n\n")
            return response

        watched = await asyncio.gather(*(watch() for _ in range(many)))
        status, told = await _post(
            http, place.agent("ask"), _request(method="GetTask", params={"id": task_id}), headers
        )
        for response in watched:
            response.close()

    assert (200, task_id) == (status, told["result"]["id"])


async def test_stream_beyond_the_limit_is_refused_until_there_is_room(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0", **guarded.headers}
    _, sent = await _post(http, guarded.agent("ask"), _request(), headers)
    params = {"id": sent["result"]["task"]["id"]}
    body = _request(method="SubscribeToTask", params=params)

    held = [await http.post(guarded.agent("ask"), data=body, headers=headers) for _ in range(2)]
    status, refused = await _post(http, guarded.agent("ask"), body, headers)
    url = f"{guarded.agent('ask')}/v1/tasks/{params['id']}:subscribe"
    over_http, told = await _post(http, url, b"", headers)
    await _post(http, guarded.agent("ask"), _request(method="CancelTask", params=params), headers)
    ended = [b"TASK_STATE_CANCELED" in await one.read() for one in held]
    late, ended_already = await _post(http, guarded.agent("ask"), body, headers)

    assert (503, -32603) == (status, refused["error"]["code"])
    assert "TOO_MANY_STREAMS" == refused["error"]["data"][0]["reason"]
    assert (503, "UNAVAILABLE") == (over_http, told["error"]["status"])
    assert [True, True] == ended
    assert (200, -32004) == (late, ended_already["error"]["code"])
