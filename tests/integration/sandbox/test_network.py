"""The way into the network: by name, through the proxy, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agency.core.addresses import Endpoint, Lookup, parse_rule
from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.tools.sandbox.proxy import HELD_MAX, Proxy, open_proxy
from tests.integration.sandbox.cell import Cell

FETCH = """
import os, sys, urllib.request, urllib.error
for url in sys.argv[1:]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            print(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
    except OSError as error:
        print(type(error).__name__, error)
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"page {self.path} for {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def served() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


DIRECT = """
import os
for name in list(os.environ):
    if "proxy" in name.lower():
        del os.environ[name]
"""


async def test_an_allowed_host_is_reached_and_told(cell: Cell) -> None:
    with served() as port:
        place = f"127.0.0.1:{port}"

        end = await cell.run(FETCH, f"http://{place}/a?b=c", hosts=[place])

    assert f"200 page /a?b=c for {place}\n".encode() == end.output
    assert (place,) == end.hosts
    assert () == end.refused


async def test_other_hosts_are_refused_and_told(cell: Cell) -> None:
    with served() as port:
        urls = [
            f"http://127.0.0.1:{port}/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[fd00:ec2::254]/",
            "http://localhost:1/",
        ]

        end = await cell.run(FETCH, *urls, hosts=["example.org"], environment={"no_proxy": ""})

    lines = end.output.decode().splitlines()
    assert 4 == sum(line.startswith("403 ") for line in lines), end
    assert 4 == len(end.refused)
    assert "169.254.169.254:80 is not among the hosts that this command may reach." in end.refused
    assert () == end.hosts


async def test_nothing_goes_past_the_proxy(cell: Cell) -> None:
    with served() as port:
        end = await cell.run(
            DIRECT + FETCH, f"http://127.0.0.1:{port}/", hosts=[f"127.0.0.1:{port}"]
        )

    assert b"page" not in end.output
    assert () == end.hosts


async def test_a_tunnel_carries_both_ways_until_both_have_ended(cell: Cell) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece.upper())
            await writer.drain()
        writer.write(b"over")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        told = await cell.told(
            """
            import base64, json, os, socket, sys, threading
            from urllib.parse import urlsplit
            proxy = urlsplit(os.environ["HTTPS_PROXY"])
            one = socket.create_connection((proxy.hostname, proxy.port), 10)
            head = f"CONNECT {sys.argv[1]} HTTP/1.1\\r\\n"
            if proxy.password:
                both = f"{proxy.username}:{proxy.password}".encode()
                head += "Proxy-Authorization: Basic " + base64.b64encode(both).decode() + "\\r\\n"
            one.sendall(head.encode() + b"\\r\\n")
            answer = b""
            while b"\\r\\n\\r\\n" not in answer:
                answer += one.recv(1)
            def send():
                for _ in range(64):
                    one.sendall(b"x" * 65536)
                one.shutdown(socket.SHUT_WR)
            threading.Thread(target=send).start()
            got = b""
            while piece := one.recv(65536):
                got += piece
            ends = [got[:2].decode(), got[-4:].decode()]
            print(json.dumps([answer.decode().split()[1], len(got), *ends]))
            """,
            place,
            hosts=[place],
        )

    assert ["200", 64 * 65536 + 4, "XX", "over"] == told


async def test_the_level_says_when_a_proxy_is_only_a_rule_for_a_port(cell: Cell) -> None:
    end = await cell.run("print(1)", hosts=["example.org"])

    expected = Level.ENFORCED if cell.driver == "bubblewrap" else Level.PARTIAL
    assert expected == end.levels[Capability.NETWORK]


async def test_other_kinds_of_sockets_are_refused_also_with_a_proxy(cell: Cell) -> None:
    told = await cell.tries(
        {
            "metadata": "socket.create_connection(('169.254.169.254', 80), 1)",
            "dns": "socket.getaddrinfo('example.org', 80)",
            "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            "mptcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)"
            ".connect(('1.1.1.1', 53))",
        },
        hosts=["example.org"],
    )

    assert "done" not in told.values(), told


async def test_what_is_no_host_is_refused_before_anything_runs(cell: Cell) -> None:
    with pytest.raises(SandboxFailed, match="is no host"):
        await cell.run("print(1)", hosts=["http://example.org"])


# --- the proxy alone


def looked_up(address: str, port: int) -> Lookup:
    async def look_up(host: str, asked: int) -> list[Endpoint]:
        import socket

        return [Endpoint(socket.AF_INET, address, port)]

    return look_up


@asynccontextmanager
async def proxied(
    *hosts: str, private: tuple[str, ...] = (), lookup: Lookup | None = None
) -> AsyncIterator[tuple[Proxy, str]]:
    rules = [parse_rule(each) for each in private]
    with tempfile.TemporaryDirectory() as scratch:
        opening = open_proxy(
            hosts, private=rules, by_path=True, scratch=Path(scratch), lookup=lookup
        )
        async with opening as (place, proxy):
            yield proxy, place.path


async def ask(path: str, request: str) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer.decode()


async def test_a_name_that_resolves_to_this_machine_is_refused() -> None:
    with served() as port:
        async with proxied("evil.example", lookup=looked_up("127.0.0.1", port)) as (proxy, path):
            answer = await ask(path, "CONNECT evil.example:443 HTTP/1.1\r\n\r\n")

    assert answer.startswith("HTTP/1.1 403 ")
    assert "no public address" in proxy.connections.refused[0]


async def test_a_private_name_is_reached_where_the_settings_allow_it() -> None:
    with served() as port:
        async with proxied(
            "db.corp", private=("db.corp",), lookup=looked_up("127.0.0.1", port)
        ) as (proxy, path):
            answer = await ask(path, "GET http://DB.corp/x HTTP/1.1\r\nHost: other\r\n\r\n")

    assert "200 OK" in answer
    assert "page /x for DB.corp" in answer
    assert ["db.corp:80"] == proxy.connections.hosts


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET https://example.org/ HTTP/1.1\r\n\r\n", "400"),
        ("GET http://[::1/ HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT example.org HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT example.org:0 HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT :443 HTTP/1.1\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        ("GET http://user@other.example/ HTTP/1.1\r\n\r\n", "403"),
        ("GET http://example.org@other.example/ HTTP/1.1\r\n\r\n", "403"),
        ("CONNECT example.org.evil.example:443 HTTP/1.1\r\n\r\n", "403"),
    ],
)
async def test_requests_that_are_none_are_answered(request_head: str, status: str) -> None:
    async with proxied("example.org", lookup=looked_up("127.0.0.1", 1)) as (_, path):
        answer = await ask(path, request_head)

    assert answer.startswith(f"HTTP/1.1 {status} ")


@pytest.mark.parametrize("request_head", ["", "GET http://x", "x" * 40_000])
async def test_requests_without_an_end_are_hung_up_on(request_head: str) -> None:
    async with proxied("example.org") as (_, path):
        with contextlib.suppress(ConnectionError):
            assert "" == await ask(path, request_head)


async def test_the_proxy_is_gone_with_its_command_and_its_path_may_be_long(
    tmp_path: Path,
) -> None:
    scratch = tmp_path / ("long" * 40)
    scratch.mkdir()

    async with open_proxy(["a.example"], private=[], by_path=True, scratch=scratch) as (place, _):
        assert 0o600 == Path(place.path).stat().st_mode & 0o777

    assert [] == list(scratch.iterdir())


async def test_a_proxy_on_a_port_wants_its_password(tmp_path: Path) -> None:
    opening = open_proxy(["example.org"], private=[], by_path=False, scratch=tmp_path)
    async with opening as (place, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b"Proxy-Authenticate: Basic" in answer


async def test_connections_beyond_a_bound_are_closed_at_once() -> None:
    """Each has one of the daemon's open files, whoever waits for its turn included."""
    with tempfile.TemporaryDirectory() as scratch:
        opening = open_proxy(["a.example"], private=[], by_path=True, scratch=Path(scratch))
        async with opening as (place, proxy), contextlib.AsyncExitStack() as stack:
            reading: list[asyncio.Task[bytes]] = []
            for _ in range(HELD_MAX + 50):
                reader, writer = await asyncio.open_unix_connection(place.path)
                stack.callback(writer.close)
                reading.append(asyncio.create_task(reader.read(1)))

            async with asyncio.timeout(5):
                while sum(task.done() for task in reading) < 50:
                    await asyncio.sleep(0.01)

            assert 50 == sum(task.done() for task in reading)
            assert [f"More than {HELD_MAX} connections at once."] == proxy.connections.refused
        await asyncio.gather(*reading, return_exceptions=True)
