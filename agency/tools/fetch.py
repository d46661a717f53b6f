"""``fetch`` and ``http_request``: HTTP on behalf of a model, which may have been told where to go.

Whoever wrote the page that the model has read last may choose the address. So each address is
resolved once and judged before it is connected to, each redirect anew; what comes back is marked as
not to be trusted.
"""

from __future__ import annotations

import asyncio
import codecs
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from agency.config.schema import Tools as Settings
from agency.core import json
from agency.core.addresses import HostRule, resolve_checked
from agency.core.judged import judged_session
from agency.core.records import dataclass
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import (
    AddressRefused,
    HostNotFound,
    InvalidInput,
    ToolInterrupted,
    WorkspaceTooLarge,
)
from agency.ports.tool import ToolContext, ToolRequest
from agency.tools.bounded import bounded
from agency.tools.files.place import failed, own_refusal, relative
from agency.tools.files.text import kind_of, size_text
from agency.tools.programs import ask_program
from agency.tools.shape import describe, text
from agency.version import VERSION

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

REDIRECTS_MAX = 5
ADDRESS_CHARACTERS_MAX = 4096
BODY_CHARACTERS_MAX = 1 << 20
HEADERS_MAX = 32
PIECE_BYTES = 64 << 10
CONNECT_S = 10.0
"""Longest time to connect to an address."""
READ_S = 10.0
"""Longest reading of a page; some take hours, and are shown as they were sent."""
TEXT_BYTES_MAX = 64 << 20
"""Text that a page may come to; more than any page that may be fetched."""
SAID_CHARACTERS_MAX = 200
"""Of what a server says of its answer in words."""

_TEXTS = re.compile(r"text/|application/(?:.*\+)?(?:json|xml|javascript|yaml|x-ndjson|toml|sql)")
_CHARSET = re.compile(r"<meta[^>]+charset=[\"']?([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_CODES = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
"""Python's own, which no page is written in; the time of one grows with the square of its text."""
_PAGE = Path(__file__).with_name("page.py")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OWN_HEADERS = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer",
        "proxy-authorization", "proxy-connection", "accept-encoding", "expect",
    }
)  # fmt: skip
"""What would change where a request goes, or where it ends."""


class Refused(Exception):
    """A request was not made; the text says why."""


class Broken(Exception):
    """A request was begun, and no whole answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        url: Where it came from, after redirects.
        is_cut: It has more bytes than were read.
    """

    url: str
    status: int
    reason: str
    media_type: str
    charset: str
    location: str
    body: bytes
    is_cut: bool

    @property
    def is_good(self) -> bool:
        return self.status < 400

    @property
    def is_page(self) -> bool:
        return "html" in self.media_type

    def decoded(self) -> str | None:
        """Give the body as it was written; None if it is no text."""
        is_named = _TEXTS.match(self.media_type) is not None
        if not is_named and (kind_of(self.body[:8192]) is not None or self.media_type):
            return None
        charset = self.charset
        if not charset and self.is_page:
            found = _CHARSET.search(self.body[:2048].decode("latin-1"))
            charset = found[1] if found else ""
        return self.body.decode(_codec(charset), "replace")

    async def text(self) -> str | None:
        """Give the body as people would read it; None if it is no text."""
        # A text of megabytes takes a while; others have their turn meanwhile.
        decoded = await asyncio.to_thread(self.decoded)
        if decoded is None or not self.is_page:
            return decoded
        given = json.encode({"page": decoded, "address": self.url})
        read, is_whole = await ask_program(_PAGE, given, timeout_s=READ_S, bytes_max=TEXT_BYTES_MAX)
        if is_whole:
            return read.decode()
        return f"[It could not be read as a page; this is its source.]\n{decoded}"


def _codec(charset: str) -> str:
    """Name the codec of what a server calls its charset; UTF-8 for what is none."""
    try:
        found = codecs.lookup(charset or "utf-8")
    except (LookupError, ValueError):
        return "utf-8"
    # Others are no encodings of texts: zip, base64, rot13.
    is_text = getattr(found, "_is_text_encoding", True)
    return found.name if is_text and found.name.replace("-", "_") not in _CODES else "utf-8"


class Web:
    """Makes requests, to addresses that were judged."""

    def __init__(self, settings: Settings, rules: Sequence[HostRule]) -> None:
        self._settings = settings
        self._rules = rules

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Fetch an address and follow its redirects.

        Raises:
            Refused: it may not be connected to, or nobody answers there.
            Broken: no whole answer came.
        """
        async with self._limit():
            for _ in range(REDIRECTS_MAX + 1):
                answer = await self._once(Asked(method="GET", url=url, headers=headers))
                if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                    return answer
                url = _next(url, answer.location)
        raise Refused(f"There are more than {REDIRECTS_MAX} redirects; the last one is to {url}.")

    async def send(self, asked: Asked) -> Answer:
        """Make one request; a redirect is handed back, not followed.

        Raises:
            Refused: nothing was sent.
            Broken: nobody knows what has become of it.
        """
        async with self._limit():
            return await self._once(asked)

    def _limit(self) -> _Limit:
        return _Limit(self._settings.fetch_timeout_s)

    async def _once(self, asked: Asked) -> Answer:
        import aiohttp

        # Of the very object that is connected to: two parsers may see two hosts in one address.
        target = parse(asked.url)
        host, port = target.host or "", target.port or 0
        try:
            endpoints = await resolve_checked(host, port, private=self._rules)
        except (AddressRefused, HostNotFound) as error:
            raise Refused(f"{error.message} {error.hint}".strip()) from error

        try:
            async with (
                judged_session(endpoints, connect_s=CONNECT_S) as session,
                session.request(
                    asked.method,
                    target,
                    headers={"User-Agent": f"agency/{VERSION}", "Accept-Encoding": "gzip"}
                    | dict(asked.headers),
                    data=asked.body,
                    allow_redirects=False,
                ) as response,
            ):
                return await self._read(asked.url, response)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.InvalidURL,
            aiohttp.ConnectionTimeoutError,
        ) as error:
            raise Refused(f"{host} cannot be reached: {error}.") from error
        except (aiohttp.ClientError, zlib.error, ConnectionError) as error:
            raise Broken(
                f"No whole answer came from {host}: {error or type(error).__name__}."
            ) from error

    async def _read(self, url: str, response: ClientResponse) -> Answer:
        bytes_max = self._settings.fetch_bytes_max
        body = bytearray()
        unpack = _Unpacking(response.headers.get("Content-Encoding", ""), bytes_max)
        is_cut = False
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            body += unpack.feed(piece, bytes_max - len(body) + 1)
            if len(body) > bytes_max:
                is_cut = True
                break
        return Answer(
            url=url,
            status=response.status,
            reason=_plain(response.reason or "")[:SAID_CHARACTERS_MAX],
            media_type=_plain(response.content_type)[:SAID_CHARACTERS_MAX]
            if "Content-Type" in response.headers
            else "",
            charset=_plain(response.charset or "")[:SAID_CHARACTERS_MAX],
            location=_plain(response.headers.get("Location", "")),
            body=bytes(body[:bytes_max]),
            is_cut=is_cut,
        )


class _Limit:
    """Bounds a request with all its redirects, and tells it as ours."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._inner = asyncio.timeout(timeout_s)

    async def __aenter__(self) -> None:
        await self._inner.__aenter__()

    async def __aexit__(self, *error: Any) -> None:  # noqa: ANN401  as the protocol has it
        try:
            await self._inner.__aexit__(*error)
        except TimeoutError as late:
            raise Broken(f"No whole answer came within {self._timeout_s:g} s.") from late


class _Unpacking:
    """Unpacks what came packed, no further than wanted: a small answer may unpack to gigabytes."""

    def __init__(self, coding: str, bytes_max: int) -> None:
        coding = coding.strip().lower()
        self._unpack = None
        if coding in {"gzip", "x-gzip", "deflate"}:
            self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif coding not in {"", "identity"}:
            raise zlib.error(f"the answer is coded as {coding!r}, which was not asked for")

    def feed(self, piece: bytes, room: int) -> bytes:
        """Take a piece; hand back up to ``room`` bytes."""
        if self._unpack is None:
            return piece[:room]
        return self._unpack.decompress(piece, max(1, room))


def _plain(text: str) -> str:
    """Make a text of a header: bytes that are no UTF-8 come as what no record can hold."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _next(url: str, location: str) -> str:
    """Tell where a redirect leads.

    Raises:
        Refused: nowhere.
    """
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Refused(f"It redirects to {location[:200]!r}, which is no address.") from error


def parse(url: str) -> URL:
    """Check an address.

    Raises:
        Refused: it is none of HTTP, or hides whom it is for.
    """
    import yarl

    shown = repr(url[:200])
    try:
        parts = urlsplit(url)
        port = parts.port
        target = yarl.URL(url)
        target.host  # noqa: B018  it is only worked out, and refused, when it is asked for
    except ValueError as error:
        raise Refused(f"{shown} is no address: {error}.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise Refused(f"{shown} is no address of HTTP: write https://host/path.")
    if "@" in parts.netloc:
        raise Refused(f"{shown} holds a user name; nothing is sent with one.")
    if any(ord(one) < 33 or ord(one) == 127 for one in url) or len(url) > ADDRESS_CHARACTERS_MAX:
        raise Refused(f"{shown} holds blanks or control characters, or is too long.")
    return target


class Fetch:
    """Fetches a page or a file."""

    spec = describe(
        "fetch",
        "Fetch a web page as text, or a file.",
        {
            "url": text("Address, with https://.", maxLength=ADDRESS_CHARACTERS_MAX),
            "save_as": text("File to save it in, unchanged."),
        },
        optional="save_as",
    )
    # What is too long for a prompt is put into the workspace.
    effect = ToolEffect.RESTORE
    permission = Permission.ASK
    needs: frozenset[Capability] = frozenset()

    def __init__(self, web: Web, settings: Settings) -> None:
        self._web = web
        self._settings = settings
        self.timeout_s = settings.fetch_timeout_s + 15.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        show = {"method": "GET", **arguments}
        return ToolRequest(question="Fetch from the web?", show=show, risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Fetch; see `Tool.call`."""
        save_as = arguments.get("save_as") or ""
        if save_as:
            save_as = relative(save_as, await context.workspace.folder())
            if (refusal := own_refusal(save_as)) is not None:
                return failed(refusal)
        try:
            accept = {"Accept": "text/html, text/plain, application/json, */*;q=0.5"}
            answer = await self._web.get(arguments["url"].strip(), accept)
        except (Refused, Broken) as error:
            return failed(str(error))
        found = await answer.text()
        if answer.is_good and (save_as or found is None):
            return await _saved(answer, save_as or _name_of(answer), context)
        return await told(answer, found, context, self._settings.result_characters_max)


class HttpRequest:
    """Makes a request that may change something elsewhere."""

    spec = describe(
        "http_request",
        "Make an HTTP request that changes something.",
        {
            "method": text("What to do.", enum=["POST", "PUT", "PATCH", "DELETE"]),
            "url": text("Address, with https://.", maxLength=ADDRESS_CHARACTERS_MAX),
            "body": text("Body; JSON if it is JSON.", maxLength=BODY_CHARACTERS_MAX),
            "headers": {
                "type": "object",
                "description": "Headers.",
                "additionalProperties": {"type": "string"},
                "maxProperties": HEADERS_MAX,
            },
        },
        optional="body headers",
    )
    effect = ToolEffect.ONCE
    permission = Permission.ASK
    needs: frozenset[Capability] = frozenset()

    def __init__(self, web: Web, settings: Settings) -> None:
        self._web = web
        self._settings = settings
        self.timeout_s = settings.fetch_timeout_s + 15.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        show = dict(arguments) | {"headers": _headers_of(arguments, context.call_key)}
        return ToolRequest(question="Make an HTTP request?", show=show, risk=Risk.HIGH)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Make it; see `Tool.call`."""
        headers = _headers_of(arguments, context.call_key)
        unfit = [
            name
            for name, value in headers.items()
            if not _HEADER.fullmatch(name)
            or name.lower() in _OWN_HEADERS
            or any(ord(one) < 32 or ord(one) == 127 for one in value)
        ]
        if unfit:
            return failed(f"The header {unfit[0]!r} cannot be sent. Nothing was sent.")
        body = arguments.get("body")
        asked = Asked(
            method=arguments["method"],
            url=arguments["url"].strip(),
            headers=headers,
            body=None if body is None else body.encode(errors="replace"),
        )
        try:
            answer = await self._web.send(asked)
        except Refused as error:
            return failed(f"Nothing was sent: {error}")
        except Broken as error:
            raise ToolInterrupted(f"{asked.method} {asked.url}: {error}") from error
        found = await answer.text()
        return await told(answer, found, context, self._settings.result_characters_max)


def _headers_of(arguments: Mapping[str, Any], call_key: str) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in (arguments.get("headers") or {}).items()}
    known = {name.lower() for name in headers}
    body = arguments.get("body")
    if body is not None and "content-type" not in known:
        try:
            json.decode(body)
            headers["Content-Type"] = "application/json"
        except json.NotJson:
            headers["Content-Type"] = "text/plain; charset=utf-8"
    if call_key and "idempotency-key" not in known:
        headers["Idempotency-Key"] = call_key
    return headers


async def told(
    answer: Answer, found: str | None, context: ToolContext, characters_max: int
) -> ToolOutput:
    """Make the result of a request.

    Args:
        found: The answer as text; None if it is none.
    """
    head = f"HTTP {answer.status} {answer.reason}".rstrip()
    if answer.location:
        head += f", to {answer.location[:500]}"
    if found is None:
        body = f"({answer.media_type or 'unknown kind'}, {size_text(len(answer.body))})"
    else:
        body = await bounded(context.workspace, "page", found.strip(), characters_max)
    cut = f"\n[Only the first {size_text(len(answer.body))} were read.]" if answer.is_cut else ""
    return ToolOutput(
        content=f"{head}\n\n{body}{cut}".rstrip(),
        is_error=not answer.is_good,
        is_untrusted=True,
        structured={"status": answer.status, "url": answer.url, "media_type": answer.media_type},
    )


async def _saved(answer: Answer, path: str, context: ToolContext) -> ToolOutput:
    if answer.is_cut:
        return failed(f"It has more than {size_text(len(answer.body))}, and was not saved.")
    try:
        await context.workspace.put(path, answer.body)
    except (InvalidInput, WorkspaceTooLarge) as error:
        return failed(error.message)
    kind = answer.media_type or "unknown kind"
    return ToolOutput(
        content=f"Saved as {path} ({kind}, {size_text(len(answer.body))}).",
        files=[path],
        structured={"status": answer.status, "url": answer.url, "media_type": answer.media_type},
    )


def _name_of(answer: Answer) -> str:
    last = urlsplit(answer.url).path.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip(".-")[:100]
    return f"downloads/{name or 'file'}"
