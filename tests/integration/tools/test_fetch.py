"""HTTP on behalf of a model: only where it may go, only as much as fits, and never twice."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from agency.core import json
from agency.core.addresses import Endpoint
from agency.domain.tool import Permission, ToolEffect, ToolOutput
from agency.errors import ConfigurationInvalid, ToolInterrupted
from tests.integration.tools.conftest import Bench, OpenBench

PAGE = """<!doctype html><html><head><title>A page</title><style>p {}</style>
<script>alert("no")</script></head><body><h1>Head</h1><p>Some <b>bold</b>
text &amp; more.</p><ul><li>one</li><li><a href="/two">two</a></li></ul></body></html>"""


@dataclass
class Site:
    """A real server on loopback."""

    url: str = ""
    asked: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)


@asynccontextmanager
async def _serving() -> AsyncIterator[Site]:
    site = Site()

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.text()
        site.asked.append((request.method, request.path, body, dict(request.headers)))
        match request.path:
            case "/page":
                return web.Response(text=PAGE, content_type="text/html")
            case "/long":
                return web.Response(text="\n".join(str(n) for n in range(20_000)))
            case "/huge":
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                with contextlib.suppress(ConnectionError):  # nobody reads so much
                    for _ in range(1000):
                        await response.write(b"x" * 65536)
                return response
            case "/bomb":
                packed = gzip.compress(b"\0" * (64 << 20))
                return web.Response(
                    body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"}
                )
            case "/picture.png":
                return web.Response(body=b"\x89PNG\r\n\x1a\n\0", content_type="image/png")
            case "/away":
                raise web.HTTPFound(request.query["to"])
            case "/around":
                raise web.HTTPFound("/around")
            case "/hang":
                await asyncio.sleep(60)
            case "/drop":
                assert request.transport is not None
                request.transport.close()
        return web.json_response({"ok": True}, status=404 if request.path == "/none" else 200)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with _serving() as served:
        yield served


@pytest.fixture
async def allowed(open_bench: OpenBench) -> AsyncIterator[Bench]:
    """Tools that may fetch from this machine."""
    async with open_bench(
        fetch_allow=["127.0.0.1"], fetch_bytes_max=200_000, fetch_timeout_s=2
    ) as bench:
        yield bench


async def test_page_becomes_text(allowed: Bench, site: Site) -> None:
    output = await allowed.call("fetch", url=f"{site.url}/page")

    assert (
        "HTTP 200 OK\n\nA page\n\n# Head\n\nSome bold text & more.\n\n- one\n\n"
        f"- two ({site.url}/two)" == output.content
    )
    assert output.is_untrusted


async def test_long_page_is_cut_and_can_be_read(allowed: Bench, site: Site) -> None:
    said = await allowed.said("fetch", url=f"{site.url}/long")
    path = said.partition("The whole is in ")[2].partition(":")[0]
    assert (await allowed.said("read_file", path=path, offset=10_000)).startswith("9999\n")


async def test_file_is_saved(allowed: Bench, site: Site) -> None:
    said = await allowed.said("fetch", url=f"{site.url}/picture.png")
    assert "Saved as downloads/picture.png (image/png, 9 bytes)." == said
    await allowed.said("fetch", url=f"{site.url}/page", save_as="web/page.html")
    assert PAGE == (allowed.folder / "web/page.html").read_text()
    assert "leads out" in await allowed.refused("fetch", url=f"{site.url}/x", save_as="../x")


async def test_answers_are_read_no_further_than_allowed(allowed: Bench, site: Site) -> None:
    for path in ("huge", "bomb"):
        said = await allowed.said("fetch", url=f"{site.url}/{path}")
        assert "Only the first 195.3 KB were read" in said
    assert "was not saved" in await allowed.refused("fetch", url=f"{site.url}/huge", save_as="x")


async def test_failure_is_told(allowed: Bench, site: Site) -> None:
    assert "HTTP 404 Not Found" in await allowed.refused("fetch", url=f"{site.url}/none")
    assert "within 2 s" in await allowed.refused("fetch", url=f"{site.url}/hang")
    assert "redirects" in await allowed.refused("fetch", url=f"{site.url}/around")
    assert "No whole answer" in await allowed.refused("fetch", url=f"{site.url}/drop")
    closed = "http://127.0.0.1:9"
    assert "cannot be reached" in await allowed.refused("fetch", url=closed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/page",
        "http://localhost:{port}/page",
        "http://127.1:{port}/page",
        "http://2130706433:{port}/page",
        "http://0x7f000001:{port}/page",
        "http://[::1]:{port}/page",
        "http://[::ffff:127.0.0.1]:{port}/page",
        "http://0.0.0.0:{port}/page",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://user:word@127.0.0.1:{port}/page",
        "http://example.org\\@127.0.0.1:{port}/page",
        "http://127.0.0.1:{port}\t/page",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/page",
        "http://",
        "",
    ],
)
async def test_addresses_of_this_network_are_refused(bench: Bench, site: Site, url: str) -> None:
    url = url.replace("{port}", site.url.rpartition(":")[2])

    await bench.refused("fetch", url=url)
    said = await bench.refused("http_request", method="POST", url=url, body="x")

    assert "Nothing was sent" in said
    assert [] == site.asked


async def test_each_redirect_is_judged(allowed: Bench, site: Site) -> None:
    assert "A page" in await allowed.said("fetch", url=f"{site.url}/away?to=/page")
    for to in ("http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/"):
        said = await allowed.refused("fetch", url=f"{site.url}/away?to={to}")
        assert "was not connected to" in said
    assert "no address of HTTP" in await allowed.refused(
        "fetch", url=f"{site.url}/away?to=file:///etc/passwd"
    )


async def test_a_name_that_resolves_anew_gains_nothing(
    bench: Bench, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was judged, whatever the name says by then."""
    import socket

    from agency.core import addresses

    looks = []

    async def look_up(host: str, port: int) -> list[Endpoint]:
        looks.append(host)
        address = "192.0.2.1" if len(looks) > 1 else "127.0.0.1"
        return [Endpoint(socket.AF_INET, address, port)]

    monkeypatch.setattr(addresses, "_look_up", look_up)
    port = site.url.rpartition(":")[2]

    said = await bench.refused("fetch", url=f"http://rebinding.test:{port}/page")

    assert "'rebinding.test' was not connected to" in said
    assert ["rebinding.test"] == looks
    assert [] == site.asked


async def test_request_is_sent_once_with_its_key(allowed: Bench, site: Site) -> None:
    tool = await allowed.find("http_request")
    assert (ToolEffect.ONCE, Permission.ASK) == (tool.effect, tool.permission)
    arguments = {
        "method": "POST",
        "url": f"{site.url}/orders",
        "body": '{"a": 1}',
        "headers": {"X-Mine": "1"},
    }
    context = allowed.context("the-key")
    await allowed.place.workspace.folder()

    shown = tool.request(arguments, context).show
    output = await tool.call(arguments, context)

    assert isinstance(output, ToolOutput)
    assert 'HTTP 200 OK\n\n{"ok": true}' == output.content
    ((method, path, body, headers),) = site.asked
    assert ("POST", "/orders", '{"a": 1}') == (method, path, body)
    assert shown["headers"] == {
        "X-Mine": "1",
        "Content-Type": "application/json",
        "Idempotency-Key": "the-key",
    }
    assert shown["headers"].items() <= headers.items()


async def test_redirect_of_a_request_is_not_followed(allowed: Bench, site: Site) -> None:
    said = await allowed.said("http_request", method="DELETE", url=f"{site.url}/away?to=/page")
    assert "HTTP 302 Found, to /page" in said
    assert 1 == len(site.asked)


@pytest.mark.parametrize("path", ["drop", "hang"])
async def test_request_that_broke_off_is_in_doubt(allowed: Bench, site: Site, path: str) -> None:
    with pytest.raises(ToolInterrupted):
        await allowed.call("http_request", method="PUT", url=f"{site.url}/{path}")


async def test_request_that_was_not_sent_is_told(allowed: Bench) -> None:
    said = await allowed.refused("http_request", method="PUT", url="http://127.0.0.1:9/")
    assert "Nothing was sent" in said
    said = await allowed.refused(
        "http_request", method="PUT", url="http://127.0.0.1:9/", headers={"Host": "other"}
    )
    assert "The header 'Host' cannot be sent" in said


@pytest.mark.parametrize("name", ["fetch_allow", "command_hosts", "package_hosts"])
async def test_list_of_hosts_is_checked_at_the_start(open_bench: OpenBench, name: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=name):
        async with open_bench(**{name: ["not a host"]}):
            pass


@asynccontextmanager
async def _saying(answer: bytes) -> AsyncIterator[str]:
    """Serve the same bytes to everybody."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def _answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(lines) + body


@pytest.mark.parametrize("location", [b"http://[", b"//a]b/", b"http://xn--/", b"http://\xff/"])
async def test_redirect_to_no_address_is_told(allowed: Bench, location: bytes) -> None:
    answer = _answer(b"", b"Location: " + location, status=b"302 Found")
    async with _saying(answer) as url:
        output = await allowed.call("fetch", url=url)

    assert output.is_error
    assert "failed with" not in output.content


async def test_bytes_of_headers_that_are_no_text_can_be_recorded(allowed: Bench) -> None:
    answer = _answer(
        b"", b"Location: /\xff", b"Content-Type: text/\xff; charset=\xff", status=b"201 \xff"
    )
    async with _saying(answer) as url:
        output = await allowed.call("http_request", method="POST", url=url)

    assert json.encode([output.content, output.structured])
    assert output.content.startswith("HTTP 201")


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "punycode", "hex", "unicode_escape", "no-such", "\0"]
)
async def test_charset_that_no_page_has_is_taken_for_utf_8(allowed: Bench, charset: str) -> None:
    answer = _answer("é".encode(), b"Content-Type: text/plain; charset=" + charset.encode())
    async with _saying(answer) as url:
        output = await allowed.call("fetch", url=url)

    assert charset == "\0" or output.content.endswith("é")
    assert "failed with" not in output.content


async def test_page_that_takes_for_ever_holds_nobody_up(
    allowed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's parser takes two minutes for this one, and holds the interpreter."""
    monkeypatch.setattr("agency.tools.fetch.READ_S", 0.5)
    page = _answer(b"<a " * 20_000, b"Content-Type: text/html")
    loop = asyncio.get_running_loop()
    waits_s: list[float] = []

    async def look() -> None:
        while True:
            began_s = loop.time()
            await asyncio.sleep(0.01)
            waits_s.append(loop.time() - began_s)

    looking = loop.create_task(look())
    async with _saying(page) as url:
        output = await allowed.call("fetch", url=url)
    looking.cancel()

    assert "could not be read as a page" in output.content
    assert max(waits_s) < 0.3
