"""The way from a command into the network: a small proxy that knows whom it may connect to.

It speaks ``CONNECT`` for everything encrypted, and plain HTTP by absolute addresses. Names are
resolved here and nowhere else, once; the connection is made to an address that was judged. Each
command has a proxy of its own, so that what it was connected to is known, and ends with it.

Source: RFC 9110, section 9.3.6 (CONNECT); RFC 9112, section 3.2 (forms of the target).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from agency.core.addresses import HostRule, Lookup, parse_rule, resolve_checked
from agency.core.records import dataclass
from agency.errors import AddressRefused, HostNotFound, SandboxFailed
from agency.tools.sandbox.plan import ProxyPlace
from agency.tools.sandbox.process import Connections

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 32768
HEAD_S = 15.0
"""Longest time for the head of a request to come."""

CONNECT_S = 15.0
"""Longest time for a connection to be made."""

CONNECTIONS_MAX = 64
"""Connections of one command that are served at once; more wait."""

HELD_MAX = 256
"""Connections of one command that are served or wait; more are closed at once, because each has one
of the daemon's open files."""

TOLD_MAX = 100
"""Hosts, and refusals, that are told of one command."""

_PIECE_BYTES = 65536
_SOCKET = "proxy"


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """A request that is answered here."""

    status: str
    reason: str


class Proxy:
    """The proxy of one command."""

    def __init__(
        self,
        hosts: Sequence[HostRule],
        private: Sequence[HostRule],
        *,
        password: str = "",
        lookup: Lookup | None = None,
    ) -> None:
        self.connections = Connections()
        self._hosts, self._private = hosts, private
        self._password, self._lookup = password, lookup
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the command."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= HELD_MAX:
            _note(self.connections.refused, f"More than {HELD_MAX} connections at once.")
            writer.close()
            return
        self._tasks.add(task)
        try:
            async with self._places:
                await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Either end hung up, or the command has ended; both end this connection alone.
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, version, fields = _parse(head)
            self._check_password(fields)
            host, port, first = _aim(method, target, version, fields)
            outer = await self._connect(host, port)
        except Refused as refused:
            body = refused.reason.encode() + b"\n"
            answer = (
                f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            )
            if refused.status.startswith("407"):
                answer += 'Proxy-Authenticate: Basic realm="agency"\r\n'
            writer.write(answer.encode() + b"\r\n" + body)
            await writer.drain()
            return
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        far_reader, far_writer = outer
        try:
            if first:
                far_writer.write(first)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _both_ways((reader, far_writer), (far_reader, writer))
        finally:
            far_writer.close()

    def _check_password(self, fields: Sequence[tuple[str, str]]) -> None:
        if not self._password:
            return
        given = next((value for name, value in fields if name == "proxy-authorization"), "")
        wanted = base64.b64encode(f"agency:{self._password}".encode()).decode()
        if not hmac.compare_digest(given.encode(), f"Basic {wanted}".encode()):
            raise Refused("407 Proxy Authentication Required", "This proxy is another command's.")

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = f"{host}:{port}"
        if not any(rule.fits(host, port) for rule in self._hosts):
            raise self._refuse(f"{place} is not among the hosts that this command may reach.")
        # An address that is listed as such was meant; a name may resolve to anything.
        private = [*self._private, *(rule for rule in self._hosts if rule.network is not None)]
        try:
            ends = await resolve_checked(host, port, private=private, lookup=self._lookup)
        except AddressRefused as error:
            raise self._refuse(error.message) from error
        except HostNotFound as error:
            raise Refused("502 Bad Gateway", error.message) from error
        failure: Exception = TimeoutError("no answer")
        for end in ends:
            bare = socket.socket(end.family, socket.SOCK_STREAM)
            bare.setblocking(False)  # noqa: FBT003  the library's
            try:
                async with asyncio.timeout(CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(bare, (end.address, end.port))
                    opened = await asyncio.open_connection(sock=bare)
            except (OSError, TimeoutError) as error:
                bare.close()
                failure = error
                continue
            _note(self.connections.hosts, place)
            return opened
        raise Refused("502 Bad Gateway", f"{place} could not be connected to: {failure}.")

    def _refuse(self, reason: str) -> Refused:
        _note(self.connections.refused, reason)
        return Refused("403 Forbidden", reason)


def _note(told: list[str], text: str) -> None:
    if text not in told and len(told) < TOLD_MAX:
        told.append(text)


def _parse(head: bytes) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Read the head of a request."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused("400 Bad Request", "This is no request of HTTP/1.1.")
    fields = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(":") for line in lines)
    ]
    return words[0], words[1], words[2], fields


def _aim(
    method: str, target: str, version: str, fields: Sequence[tuple[str, str]]
) -> tuple[str, int, bytes]:
    """Find whom a request is for, and what is to be sent there first."""
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise Refused("400 Bad Request", "CONNECT needs a host and a port.")
        return host.removeprefix("[").removesuffix("]").lower(), int(port), b""
    try:
        parts = urlsplit(target)
        host, port_number = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port_number = "", 0
    if not host or parts.scheme != "http":
        raise Refused("400 Bad Request", "A proxy needs the whole address, http://host/path.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [
        (name, value)
        for name, value in fields
        if name not in {"host", "connection", "keep-alive"} and not name.startswith("proxy-")
    ]
    # One request each: what follows on this connection would go to the same host unseen.
    lines = [f"{method} {path} {version}", f"Host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in kept]
    lines += ["Connection: close", "", ""]
    return host.lower(), port_number, "\r\n".join(lines).encode("latin-1", "replace")


async def _both_ways(
    *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry bytes until both directions have ended, or one is broken."""
    try:
        async with asyncio.TaskGroup() as group:
            for reader, writer in ways:
                group.create_task(_carry(reader, writer))
    except* OSError as broken:
        log.debug("connection of a command broke", extra={"error": str(broken.exceptions[0])})


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _socket_in(folder: Path) -> socket.socket:
    """Make a socket in a folder whose path may be too long for a socket's name."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    bare = socket.socket(socket.AF_UNIX)
    try:
        bare.bind(f"/proc/self/fd/{held}/{_SOCKET}")
        (folder / _SOCKET).chmod(0o600)
    except OSError:
        bare.close()
        raise
    finally:
        os.close(held)
    return bare


@asynccontextmanager
async def open_proxy(
    hosts: Sequence[str],
    *,
    private: Sequence[HostRule],
    by_path: bool,
    scratch: Path,
    lookup: Lookup | None = None,
) -> AsyncIterator[tuple[ProxyPlace, Proxy]]:
    """Open the proxy of one command.

    Args:
        by_path: Listen on a Unix socket in ``scratch``; else on a port, with a password.

    Raises:
        SandboxFailed: a host is none, or the proxy cannot listen.
    """
    try:
        rules = [parse_rule(each) for each in hosts]
    except ValueError as error:
        raise SandboxFailed(str(error), hint="Correct the list of hosts.") from error
    password = "" if by_path else secrets.token_urlsafe(24)
    proxy = Proxy(rules, private, password=password, lookup=lookup)
    folder: Path | None = None
    try:
        if by_path:
            folder = Path(tempfile.mkdtemp(prefix="proxy-", dir=scratch))
            server = await asyncio.start_unix_server(
                proxy.attend, sock=_socket_in(folder), limit=HEAD_BYTES_MAX
            )
            place = ProxyPlace(path=str(folder / _SOCKET))
        else:
            server = await asyncio.start_server(
                proxy.attend, host="127.0.0.1", port=0, limit=HEAD_BYTES_MAX
            )
            port = server.sockets[0].getsockname()[1]
            place = ProxyPlace(port=port, url=f"http://agency:{password}@127.0.0.1:{port}")
    except OSError as error:
        raise SandboxFailed(f"The proxy of the sandbox cannot listen: {error}.") from error
    try:
        yield place, proxy
    finally:
        server.close()
        proxy.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await server.wait_closed()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
