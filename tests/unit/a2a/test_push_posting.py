"""What an answer of a receiver means, and when it is to be asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from aiohttp import web

from agency.a2a.push.posting import Outcome, Poster
from agency.core.addresses import parse_rule
from agency.core.limits import RETRY_AFTER_S_MAX

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers with the status and the Retry-After that its path names."""

    async def answer(request: web.Request) -> web.Response:
        headers = {"Retry-After": request.query["after"]} if request.query else {}
        return web.Response(status=int(request.match_info["status"]), headers=headers)

    application = web.Application()
    application.router.add_post("/{status}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def post(url: str) -> Outcome:
    poster = Poster([parse_rule("127.0.0.1")], timeout_s=5)
    return await poster.post(url, b"{}", {}, now=NOW)


@pytest.mark.parametrize(
    ("status", "is_taken", "is_final"),
    [
        (200, True, True),
        (202, True, True),
        (204, True, True),
        (301, False, True),
        (400, False, True),
        (401, False, True),
        (404, False, True),
        (408, False, False),
        (425, False, False),
        (429, False, False),
        (500, False, False),
        (503, False, False),
    ],
)
async def test_status_says_whether_it_was_taken_and_whether_to_try_again(
    url: str, status: int, is_taken: bool, is_final: bool
) -> None:
    outcome = await post(f"{url}/{status}")

    assert (is_taken, is_final) == (outcome.is_taken, outcome.is_final)


@pytest.mark.parametrize(
    ("after", "expected_s"),
    [
        ("120", 120.0),
        ("Fri, 20 Nov 2026 12:10:00 GMT", 600.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("99999999999999999999", RETRY_AFTER_S_MAX),
        ("Sat, 20 Nov 2027 12:00:00 GMT", RETRY_AFTER_S_MAX),
        ("soon", 0.0),
        ("-5", 0.0),
        ("Fri, 20 Nov 2026 12:10:00", 0.0),
    ],
)
async def test_receiver_says_when_to_come_again(url: str, after: str, expected_s: float) -> None:
    outcome = await post(f"{url}/503?after={quote(after)}")

    assert outcome.retry_after_s == expected_s


async def test_nobody_there_is_no_final_answer(url: str) -> None:
    outcome = await post("http://127.0.0.1:1/")

    assert (outcome.is_taken, outcome.is_final) == (False, False)
    assert "was not taken" in outcome.reason
