"""A bridge from a client on stdin and stdout to the daemon's ``/mcp``.

Desktop applications and editors start MCP servers as programs. This one holds nothing: each line
goes to the daemon as one request, whatever it answers comes out as lines. So runs live where they
always live, and a daemon that was restarted meets the same client again: the bridge begins a new
session with what the client said at its beginning, and takes up its subscriptions.

It stands on the standard library, because a program that a desktop starts must be there at once.
Each request has a thread and a connection of its own; what comes out is written line by line.

Source: MCP 2025-11-25 and 2026-07-28, transports, sections "stdio" and "Streamable HTTP".
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from agency.cli.address import Address
from agency.cli.mirrored import Mirror
from agency.core import json
from agency.core.clock import monotonic_s
from agency.event_stream import parse_events

LINE_BYTES_MAX = 64 << 20
"""Longest line that is read; the daemon's own limit for a request is far below."""

REQUESTS_MAX = 128
"""Requests at work at once: each has a thread."""

CONNECT_S = 5.0
SILENCE_S = 60.0
"""The daemon gives a sign of life every 15 s; one that is silent so long is away."""

START_S = 10.0
"""A client's first request waits so long for a daemon: both may be started when somebody logs in,
and clients do not try again."""

END_S = 5.0
"""Answers that are still on their way when the client leaves may take so long: the first of all
waits for the daemon to load what it needs for it."""

PAUSE_S, PAUSE_S_MAX = 0.25, 5.0
"""Between two looks for a daemon that is away."""

PATH = "/mcp"
SESSION, VERSION = "Mcp-Session-Id", "MCP-Protocol-Version"
VERSION_META = "io.modelcontextprotocol/protocolVersion"

CONNECTION_CLOSED = -32000
PARSE_ERROR = -32700
FIRST = frozenset({"initialize", "server/discover"})
"""What clients begin with."""

LISTEN = "subscriptions/listen"
"""A request that is answered only when it ends."""

LISTS = ("tools", "prompts", "resources")

Message = dict[str, Any]


class Away(Exception):
    """The daemon did not answer; the text says what is so."""


class NotThere(Away):
    """Nobody listens there: nothing was sent."""


class SessionLost(Exception):
    """The daemon does not know the session: it was started anew, or the session was idle."""


@dataclass(slots=True)
class Session:
    """A session of a client from before 2026-07-28.

    Attributes:
        opening: What the client has begun with; said again to a daemon that was restarted.
        id: None while there is none.
        number: Rises with each one.
        uris: Resources that the client watches.
    """

    opening: Message | None = None
    id: str | None = None
    version: str = ""
    number: int = 0
    is_listening: bool = False
    uris: dict[str, None] = field(default_factory=dict)


class Bridge:
    """Carries one client's messages, until it leaves."""

    def __init__(
        self,
        find: Callable[[], Address],
        source: BinaryIO,
        sink: int,
        say: Callable[[str], None],
        *,
        start_s: float = START_S,
    ) -> None:
        """Take both ends.

        Args:
            find: Tells where the daemon is; asked each time, because it may come back elsewhere.
            source: Where the client's lines come from.
            sink: File descriptor that lines for the client are written to.
            say: Logs a sentence; never to the client.
            start_s: How long a first request waits for a daemon that is not there.
        """
        self._find = find
        self._source = source
        self._sink = sink
        self._say = say
        self._start_s = start_s
        self._writing = threading.Lock()
        self._renewing = threading.Lock()
        self._session = Session()
        self._mirror = Mirror()
        self._open: dict[str, http.client.HTTPConnection] = {}
        self._taken_back: set[str] = set()
        self._asking: set[threading.Thread] = set()
        self._opening: threading.Thread | None = None
        self._listening: set[threading.Thread] = set()
        self._is_over = threading.Event()
        self._was_away = False

    def run(self) -> None:
        """Carry messages until the client closes its end."""
        while (line := self._source.readline(LINE_BYTES_MAX)) != b"":
            if not line.endswith(b"\n") and len(line) >= LINE_BYTES_MAX:
                self._skip_line()
                self._refuse(None, PARSE_ERROR, f"A line has more than {LINE_BYTES_MAX} bytes.")
            elif line.strip():
                self._take(line)
        until_s = monotonic_s() + END_S
        for asking in self._asking - self._listening:
            asking.join(max(0.0, until_s - monotonic_s()))
        self._is_over.set()
        self._leave()

    def _skip_line(self) -> None:
        while (rest := self._source.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
            pass

    # --- from the client ------------------------------------------------------------------

    def _take(self, line: bytes) -> None:
        try:
            message = json.decode(line)
        except json.NotJson as error:
            self._refuse(None, PARSE_ERROR, f"The line is not JSON: {error}")
            return
        if self._opening is not None:
            # What is piped in at once does not wait for the answer, and needs its session.
            self._opening.join()
            self._opening = None
        if isinstance(message, dict) and "method" in message and "id" in message:
            if len(self._asking) >= REQUESTS_MAX:
                why = f"{REQUESTS_MAX} requests are at work already."
                self._refuse(message["id"], CONNECTION_CLOSED, why)
                return
            asking = threading.Thread(target=self._ask, args=(message,), daemon=True)
            self._asking.add(asking)
            if message["method"] == LISTEN:
                self._listening.add(asking)
            if message["method"] == "initialize":
                self._opening = asking
            asking.start()
            return
        # Notifications and answers keep their order, and are taken at once.
        if isinstance(message, dict) and message.get("method") == "notifications/cancelled":
            self._take_back(message)
        self._tell(message)

    def _ask(self, message: Message) -> None:
        """Carry a request; it is always answered, unless the client has taken it back."""
        key = repr(message["id"])
        try:
            self._carry_patiently(message)
        except Away as away:
            if key not in self._taken_back:
                self._refuse(message["id"], CONNECTION_CLOSED, str(away))
        finally:
            self._taken_back.discard(key)
            self._asking.discard(threading.current_thread())
            self._listening.discard(threading.current_thread())

    def _carry_patiently(self, message: Message) -> None:
        """Carry a request; the first of a client waits for a daemon that is about to start.

        Raises:
            Away: the daemon does not answer.
        """
        is_first = str(message["method"]) in FIRST
        until_s = monotonic_s() + (self._start_s if is_first else 0.0)
        while True:
            try:
                self._carry_anew(message)
            except NotThere as away:
                if monotonic_s() >= until_s:
                    raise
                self._log_away(away)
                if self._is_over.wait(PAUSE_S):
                    raise
            else:
                return

    def _tell(self, message: Any) -> None:  # noqa: ANN401  JSON value
        """Carry what has no answer."""
        try:
            self._carry_anew(message)
        except Away as away:
            self._log_away(away)
        if isinstance(message, dict) and message.get("method") == "notifications/initialized":
            self._listen()

    def _take_back(self, message: Message) -> None:
        """Break a request off. With a session the daemon does it, when it hears of it."""
        key = repr(_params(message).get("requestId"))
        connection = self._open.get(key)
        if connection is not None and self._session.id is None:
            self._taken_back.add(key)
            _break(connection)

    def _carry_anew(self, message: Any) -> None:  # noqa: ANN401  JSON value
        """Carry a message; a session that is lost is begun anew first, as it was not taken then.

        Raises:
            Away: the daemon does not answer.
        """
        number = self._session.number
        try:
            self._carry(message)
        except SessionLost:
            self._renew(number)
            try:
                self._carry(message)
            except SessionLost as lost:
                raise Away("The daemon has forgotten the session at once.") from lost

    # --- to the daemon --------------------------------------------------------------------

    def _carry(self, message: Any) -> None:  # noqa: ANN401  JSON value
        """Send one message, and write down what comes back.

        Raises:
            Away: the daemon does not answer, or not to the end.
            SessionLost: it does not know the session.
        """
        asked = message.get("id") if isinstance(message, dict) and "method" in message else None
        is_opening = isinstance(message, dict) and message.get("method") == "initialize"
        session = None if is_opening else self._session.id
        headers = {**self._headers(message, session), "Content-Type": "application/json"}
        with self._answer("POST", headers, json.encode(message), asked) as answer:
            if answer.status == 404 and session is not None:
                raise SessionLost
            is_whole = asked is None
            for text in _texts(answer):
                is_whole = self._hand_on(text, message, asked, answer) or is_whole
            if answer.status >= 400 and not is_whole:
                raise Away(f"The daemon has refused the request: HTTP {answer.status}.")
            if not is_whole:
                raise Away(_BROKEN)

    def _hand_on(
        self,
        text: bytes,
        message: Any,  # noqa: ANN401  JSON value
        asked: Any,  # noqa: ANN401  a request's id
        answer: http.client.HTTPResponse,
    ) -> bool:
        """Write a message of the daemon; True when it is the answer to what was asked."""
        try:
            found = json.decode(text)
        except json.NotJson as error:
            raise Away(f"What answers does not speak MCP: {error}.") from error
        if not isinstance(found, dict):
            raise Away("What answers does not speak MCP.")
        if "jsonrpc" not in found:
            self._refuse(asked, CONNECTION_CLOSED, _problem(found, answer.status))
            return True
        is_answer = "method" not in found
        if is_answer and answer.status >= 400 and found.get("id") is None:
            found["id"] = asked
            text = json.encode(found)
        if is_answer and found.get("id") == asked:
            self._learn(message, found, answer.headers.get(SESSION))
        self._write(text)
        return is_answer and found.get("id") == asked

    def _learn(self, message: Message, found: Message, session_id: str | None) -> None:
        """Take note of what an answer says about what comes after it."""
        result = found.get("result")
        if not isinstance(result, dict):
            return
        session = self._session
        match message.get("method"):
            case "initialize":
                session.opening, session.id = message, session_id
                session.version = str(result.get("protocolVersion", ""))
                session.number += 1
                session.uris.clear()
            case "tools/list":
                self._mirror.learn(result)
            case "resources/subscribe":
                session.uris[str(_params(message).get("uri"))] = None
            case "resources/unsubscribe":
                session.uris.pop(str(_params(message).get("uri")), None)

    def _headers(self, message: Any, session: str | None) -> dict[str, str]:  # noqa: ANN401  JSON
        headers = {"Accept": "application/json, text/event-stream"}
        if session is not None:
            headers[SESSION] = session
            headers[VERSION] = self._session.version
        meta = _params(message).get("_meta")
        modern = meta.get(VERSION_META) if isinstance(meta, dict) else None
        if isinstance(modern, str):
            headers[VERSION] = modern
            headers |= self._mirror.headers(message)
        return headers

    @contextmanager
    def _answer(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
        asked: Any = None,  # noqa: ANN401  a request's id
    ) -> Iterator[http.client.HTTPResponse]:
        """Make one request; what is read of the answer fails as the request does.

        Raises:
            Away: the daemon does not answer, or not to the end.
        """
        address = self._find()
        connection, path = _connected(address)
        # When the client has left, nothing is worth waiting for.
        connection.sock.settimeout(CONNECT_S if self._is_over.is_set() else SILENCE_S)
        self._log_back(address.url)
        token = {"Authorization": f"Bearer {address.token}"} if address.token else {}
        key = None if asked is None else repr(asked)
        if key is not None:
            self._open[key] = connection
        try:
            try:
                connection.request(method, path, body, {**headers, **token})
            except ValueError as error:
                # The client's own words stand in headers, and may be what no header can hold.
                raise Away(f"This cannot be sent over HTTP: {error}.") from error
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Away(_BROKEN) from error
        finally:
            if key is not None:
                self._open.pop(key, None)
            connection.close()

    # --- sessions -------------------------------------------------------------------------

    def _renew(self, number: int) -> None:
        """Begin a new session as the client had begun the old one, once for all who miss it.

        Raises:
            Away: the daemon does not answer, or does not take the client any more.
        """
        with self._renewing:
            session = self._session
            if session.number != number:
                return  # another request has done it
            assert session.opening is not None, "there is a session only after its opening"
            opening = {**session.opening, "id": f"bridge-{number}"}
            self._say("The daemon was started anew: beginning a new session.")
            session.id = self._call(opening, None)
            for message in (
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
                *(_subscription(uri, number) for uri in tuple(session.uris)),
            ):
                self._call(message, session.id)
            session.number += 1
        # What there is may be another thing by now; a client that does not care reads nothing.
        for what in LISTS:
            method = f"notifications/{what}/list_changed"
            self._write(json.encode({"jsonrpc": "2.0", "method": method}))

    def _call(self, message: Message, session: str | None) -> str | None:
        """Make a request of the bridge's own, whose answer is not for the client.

        Returns:
            The session that the answer names.

        Raises:
            Away: the daemon does not answer, or refuses it.
        """
        headers = {**self._headers(message, session), "Content-Type": "application/json"}
        with self._answer("POST", headers, json.encode(message)) as answer:
            if answer.status >= 400:
                raise Away(f"The daemon has refused a new session: HTTP {answer.status}.")
            for _ in _texts(answer):
                pass  # a client that was taken before is taken again
            return answer.headers.get(SESSION)

    def _listen(self) -> None:
        """Hear what the daemon says unasked, as long as the client is there."""
        if self._session.id is None or self._session.is_listening:
            return
        self._session.is_listening = True
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        pause_s = PAUSE_S
        while not self._is_over.is_set():
            number = self._session.number
            try:
                status = self._hear_once()
                if status == 404:
                    self._renew(number)
                    continue
                if status == 405:
                    return  # it has nothing to say unasked
                if status == 200:
                    pause_s = PAUSE_S
            except Away as away:
                self._log_away(away)
            self._is_over.wait(pause_s)
            pause_s = min(PAUSE_S_MAX, pause_s * 2)

    def _hear_once(self) -> int:
        """Hand on what comes until the stream ends; gives the status of the answer.

        Raises:
            Away: the daemon does not answer, or went away.
        """
        with self._answer("GET", self._headers({}, self._session.id), None) as answer:
            for text in _texts(answer) if answer.status == 200 else ():
                self._write(text)
            return answer.status

    def _leave(self) -> None:
        """Tell the daemon that the session is over."""
        if self._session.id is not None:
            with (
                suppress(Away),
                self._answer("DELETE", self._headers({}, self._session.id), None) as answer,
            ):
                answer.read()

    # --- to the client --------------------------------------------------------------------

    def _refuse(self, request_id: Any, code: int, message: str) -> None:  # noqa: ANN401  an id
        error = {"code": code, "message": message}
        self._write(json.encode({"jsonrpc": "2.0", "id": request_id, "error": error}))

    def _write(self, text: bytes) -> None:
        # Past the standard library's buffers: threads that are left at the end hold no lock then.
        line = memoryview(text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
        with self._writing, suppress(BrokenPipeError):  # a client that is gone also ends our input
            while line:
                line = line[os.write(self._sink, line) :]

    def _log_away(self, away: Away) -> None:
        if not self._was_away:
            self._was_away = True
            self._say(str(away))

    def _log_back(self, url: str) -> None:
        if self._was_away:
            self._was_away = False
            self._say(f"The daemon answers at {url}.")


def _connected(address: Address) -> tuple[http.client.HTTPConnection, str]:
    """Connect to the daemon; gives the path as well.

    Raises:
        Away: that is no address.
        NotThere: nobody listens there.
    """
    try:
        place = urlsplit(address.url)
        is_safe = place.scheme == "https"
        kind = http.client.HTTPSConnection if is_safe else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=CONNECT_S)
    except (ValueError, http.client.HTTPException) as error:
        raise Away(f"{address.url!r} is no address of an Agency daemon: {error}.") from error
    try:
        connection.connect()
    except (OSError, UnicodeError) as error:
        connection.close()
        raise NotThere(
            f"The Agency daemon at {address.url} does not answer ({error}). "
            "Start it with `agency-daemon`."
        ) from error
    return connection, place.path.rstrip("/") + PATH


_BROKEN = (
    "The connection to the Agency daemon broke off before the answer. What was started goes on: "
    "see it with runs_list."
)


def _texts(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the messages in an answer, as they come."""
    media_type = answer.headers.get_content_type()
    if media_type == "text/event-stream":
        for event in parse_events(iter(answer.readline, b"")):
            if event.data:
                yield event.data.encode()
        return
    text = answer.read()
    if text and media_type.endswith("json"):
        yield text


def _params(message: Any) -> Mapping[str, Any]:  # noqa: ANN401  JSON value
    params = message.get("params") if isinstance(message, dict) else None
    return params if isinstance(params, dict) else {}


def _subscription(uri: str, number: int) -> Message:
    message_id = f"bridge-{number}-{uri}"
    params = {"uri": uri}
    return {
        "jsonrpc": "2.0",
        "id": message_id,
        "method": "resources/subscribe",
        "params": params,
    }


def _problem(found: Message, status: int) -> str:
    """Write a problem document as one sentence, and what to do."""
    detail = str(found.get("detail") or found.get("title") or f"HTTP {status}")
    return " ".join(str(one) for one in (detail, found.get("hint")) if one)


def _break(connection: http.client.HTTPConnection) -> None:
    found: socket.socket | None = connection.sock
    if found is not None:
        with suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
