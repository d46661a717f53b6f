"""Legs that are HTTP calls, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agency.domain.run import RunStatus
from agency.workflows.saga.declared import parse
from agency.workflows.saga.http import RESPONSE_BYTES_MAX
from agency.workflows.saga.saga import Saga
from tests.integration.engine.house import crashed, open_house

QUICK = {"attempts": 4, "base_s": 0.01, "jitter": False}


@dataclass
class Shop:
    """A server that answers as it is told, in order; the last answer is repeated.

    Attributes:
        seen: Requests as ``(method, path, key, body)``.
    """

    url: str
    answers: dict[str, list[Callable[[web.Request], Awaitable[web.StreamResponse]]]] = field(
        default_factory=dict
    )
    seen: list[tuple[str, str, str, str]] = field(default_factory=list)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def on(self, path: str, *answers: Any) -> None:
        self.answers[path] = [self._make(answer) for answer in answers]

    def _make(self, answer: Any) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        if callable(answer):
            made: Callable[[web.Request], Awaitable[web.StreamResponse]] = answer
            return made

        async def respond(_: web.Request) -> web.StreamResponse:
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            return web.Response(status=status, **more)

        return respond

    async def respond(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key", "")
        self.seen.append((request.method, request.raw_path, key, await request.text()))
        self.is_asked.set()
        answers = self.answers[request.path]
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    application = web.Application(client_max_size=1 << 22)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    shop = Shop("")
    application.router.add_route("*", "/{path:.*}", shop.respond)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    shop.url = f"http://127.0.0.1:{port}"
    try:
        yield shop
    finally:
        await runner.cleanup()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


def call(shop: Shop, path: str, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "url": shop.url + path, **more}


def order(*legs: Any, **more: Any) -> Saga:
    return parse({"name": "order", "legs": list(legs), **more}, lambda _: None)


async def test_calls_send_templates_and_keys_and_hand_back_json(tmp_path: Path, shop: Shop) -> None:
    shop.on("/reservations", (201, {"text": '{"id": "r 1/2"}', "content_type": "application/json"}))
    shop.on("/say/r 1/2", (200, {"text": "hello"}))
    saga = order(
        {"id": "reserve", "action": call(shop, "/reservations", body={"n": "${input.n}"})},
        {
            "id": "say",
            "action": call(
                shop,
                "/say/${results.reserve.body.id}?q=${input.q}",
                method="GET",
                headers={"X-Run": "run ${run_id}"},
            ),
        },
        output="${results.say.body}",
    )

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order", {"n": 5, "q": "a&b=../"})

    assert ("completed", "hello") == (detail.run.status, detail.run.output)
    first, second = shop.seen
    assert ("POST", "/reservations", '{"n": 5}') == (first[0], first[1], first[3])
    # What is put into an address cannot change where it leads.
    assert ("GET", "/say/r%201%2F2?q=a%26b%3D../") == (second[0], second[1])
    assert first[2]
    assert second[2]
    assert first[2] != second[2]


async def test_busy_and_failing_servers_are_asked_again_with_the_same_key(
    tmp_path: Path, shop: Shop
) -> None:
    shop.on("/pay", 500, (429, {"headers": {"Retry-After": "1"}}), 503, 200)
    saga = order({"id": "pay", "action": call(shop, "/pay"), "retry": QUICK})
    loop = asyncio.get_running_loop()

    async with open_house(tmp_path, saga, memory_delay_s=5.0) as house:
        started_s = loop.time()
        detail = await house.run("order")
        elapsed_s = loop.time() - started_s

    assert ("completed", {"pay": {"status": 200, "body": None}}) == (
        detail.run.status,
        detail.run.output,
    )
    assert (4, 1) == (len(shop.seen), len({key for _, _, key, _ in shop.seen}))
    assert elapsed_s >= 1.0


@pytest.mark.parametrize("status", [301, 400, 404, 409, 422])
async def test_refusals_are_final_and_leave_nothing_to_take_back(
    tmp_path: Path, shop: Shop, status: int
) -> None:
    shop.on("/pay", (status, {"text": "no such card", "headers": {"Location": "/elsewhere"}}))
    undo = call(shop, "/undo")
    saga = order({"id": "pay", "action": call(shop, "/pay"), "compensation": undo, "retry": QUICK})

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert 1 == len(shop.seen)
    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "http_refused") == (detail.run.status, detail.run.error.code)
    assert "no such card" in detail.run.error.message
    assert {"status": status} == detail.run.error.details["cause"]


async def test_expected_statuses_are_successes(tmp_path: Path, shop: Shop) -> None:
    shop.on("/gone", 404)
    action = call(shop, "/gone", method="DELETE", expected=[204, 404])

    async with open_house(tmp_path, order({"id": "a", "action": action})) as house:
        assert "completed" == (await house.run("order")).run.status


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def lie(_: web.Request) -> web.StreamResponse:
    return web.Response(text="no json", content_type="application/json")


async def shout(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"x" * (RESPONSE_BYTES_MAX + 1))


@pytest.mark.parametrize("answer", [hang, hang_up, lie, shout, 500])
async def test_call_whose_outcome_is_not_known_is_taken_back(
    tmp_path: Path, shop: Shop, answer: Any
) -> None:
    shop.on("/pay", answer)
    shop.on("/undo", 200)
    undo = call(shop, "/undo", body={"key": "${action_key}", "was": "${result}"})
    action = call(shop, "/pay", timeout_s=0.2)
    saga = order({"id": "pay", "action": action, "compensation": undo})

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    paid, undone = shop.seen
    assert RunStatus.COMPENSATED is detail.run.status
    assert f'{{"key": "{paid[2]}", "was": null}}' == undone[3]
    assert paid[2] != undone[2]


async def test_nobody_there_means_that_nothing_was_done(tmp_path: Path, shop: Shop) -> None:
    action = {"kind": "http", "url": "http://127.0.0.1:1/nothing"}
    saga = order({"id": "a", "action": action, "compensation": call(shop, "/undo")})

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order")

    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "http_busy") == (detail.run.status, detail.run.error.code)
    assert [] == shop.seen


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "${input.url}", "http://"]
)
async def test_address_that_is_none_of_http_is_refused(tmp_path: Path, url: str) -> None:
    saga = order({"id": "a", "action": {"kind": "http", "url": url}, "retry": QUICK})

    async with open_house(tmp_path, saga) as house:
        detail = await house.run("order", {"url": "gopher://x"})

    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "permanent") == (detail.run.status, detail.run.error.code)


async def test_header_cannot_be_broken_out_of(tmp_path: Path, shop: Shop) -> None:
    action = call(shop, "/x", headers={"X-Name": "${input}"})

    async with open_house(tmp_path, order({"id": "a", "action": action})) as house:
        detail = await house.run("order", "a\r\nX-Evil: 1")

    assert (RunStatus.COMPENSATED, []) == (detail.run.status, shop.seen)


async def test_missing_reference_fails_the_leg_before_anything_is_sent(
    tmp_path: Path, shop: Shop
) -> None:
    action = call(shop, "/x/${input.missing}")

    async with open_house(tmp_path, order({"id": "a", "action": action})) as house:
        detail = await house.run("order", {"there": 1})

    assert detail.run.error is not None
    assert "reference_missing" == detail.run.error.code
    assert [] == shop.seen


async def test_key_is_the_same_after_a_crash(tmp_path: Path, shop: Shop) -> None:
    may_answer = asyncio.Event()

    async def answer_late(_: web.Request) -> web.StreamResponse:
        await may_answer.wait()
        return web.Response()

    shop.on("/pay", answer_late)
    saga = order({"id": "pay", "action": call(shop, "/pay")})
    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await shop.is_asked.wait()
        left = crashed(tmp_path, tmp_path / "killed")
        may_answer.set()
        await house.ended(run_id)
    async with open_house(left, saga) as house:
        assert "completed" == (await house.ended(run_id)).run.status

    assert (2, 1) == (len(shop.seen), len({key for _, _, key, _ in shop.seen}))
