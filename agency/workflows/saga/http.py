"""The HTTP call of a declared saga: one request, bounded, with an idempotency key.

Addresses are not restricted: whoever may define a saga may reach what the daemon can reach, as
with a workflow in Python. Redirects are not followed, because the key and the body would go to
somebody whom the author has not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from agency.core import json
from agency.core.records import dataclass
from agency.core.retry_after import read_retry_after_s
from agency.errors import OutcomeUnknown, Permanent, Unavailable
from agency.workflows.saga.leg import LegContext
from agency.workflows.saga.templates import render, render_text

RESPONSE_BYTES_MAX = 1 << 20
"""What is read of an answer: it is recorded whole, so a longer one is a failure."""

EXCERPT_CHARACTERS = 500
"""What is told of an answer that is a failure."""

TIMEOUT_S = 30.0
"""One request, when the leg has no time limit."""

_NOT_TAKEN = frozenset({408, 425, 429})
"""Refusals by which a server says that it has done nothing, and that the same may work later."""


class HttpBusy(Unavailable):
    """A server has refused a request for now, and has done nothing."""

    code = "http_busy"

    def __init__(self, message: str, *, status: int | None, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class HttpRefused(Permanent):
    """A server has refused a request; the same request is refused again."""

    code = "http_refused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class HttpFailed(OutcomeUnknown):
    """Whether a request has had its effect is not known: the server failed, or was lost."""

    code = "http_failed"

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HttpCall:
    """A request, with templates in address, headers and body.

    Attributes:
        expected: Statuses that are a success; empty: all from 200 to 299.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    expected: Sequence[int] = ()
    timeout_s: float = TIMEOUT_S

    async def __call__(self, context: LegContext, result: Any = None) -> Any:  # noqa: ANN401
        """Make the request.

        Returns:
            ``{"status": …, "body": …}``: JSON if the answer says that it is JSON, else text.

        Raises:
            HttpBusy: refused for now, or nobody was reached: nothing was done.
            HttpRefused: refused for good.
            HttpFailed: nobody knows whether it was done.
        """
        import aiohttp

        scope = scope_of(context)
        url = render_text(self.url, scope, escape=_quoted)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Permanent(f"The address {url[:200]!r} is not one of HTTP.")
        headers = {"Idempotency-Key": context.idempotency_key, "Accept": "application/json, */*"}
        for name, value in self.headers.items():
            headers[name] = render_text(value, scope)
        content = None if self.body is None else render(self.body, scope)
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=self.timeout_s), cookie_jar=None
                ) as session,
                session.request(
                    self.method, url, headers=headers, json=content, allow_redirects=False
                ) as response,
            ):
                text = await _read(response)
                return self._judge(response.status, response.headers, text)
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            if isinstance(error, aiohttp.InvalidURL):
                raise Permanent(f"The address {url[:200]!r} cannot be used.") from error
            raise HttpBusy(
                f"{self.method} {url}: nobody answers there: {error}.",
                status=None,
                retry_after_s=None,
            ) from error
        except TimeoutError as error:
            raise HttpFailed(
                f"{self.method} {url}: no answer came within {self.timeout_s:g} s."
            ) from error
        except aiohttp.ClientError as error:
            raise HttpFailed(
                f"{self.method} {url}: the answer was lost: {type(error).__name__} {error}."
            ) from error
        except ValueError as error:
            raise Permanent(f"{self.method} {url}: the request cannot be sent: {error}.") from error

    def _judge(self, status: int, headers: Mapping[str, str], text: bytes) -> dict[str, Any]:
        is_expected = status in self.expected if self.expected else 200 <= status < 300
        if is_expected:
            return {"status": status, "body": _body(headers, text)}
        said = text[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace")[:EXCERPT_CHARACTERS]
        message = f"{self.method} was answered with HTTP {status}" + (f": {said}" if said else ".")
        if status in _NOT_TAKEN:
            raise HttpBusy(message, status=status, retry_after_s=_retry_after_s(headers))
        if status >= 500:
            raise HttpFailed(message, status=status, retry_after_s=_retry_after_s(headers))
        raise HttpRefused(message, status=status)


def scope_of(context: LegContext) -> dict[str, Any]:
    """Give what the references of a leg begin with."""
    scope = {
        "input": context.input,
        "results": context.results,
        "run_id": context.run_id,
        "idempotency_key": context.idempotency_key,
        "action_key": context.action_key,
    }
    if context.is_compensating:
        error = context.error
        scope["result"] = context.result
        scope["error"] = {
            "code": error.code if error else "",
            "message": error.message if error else "",
        }
    return scope


async def _read(response: Any) -> bytes:  # noqa: ANN401  the library's response
    text = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        text += chunk
        if len(text) > RESPONSE_BYTES_MAX:
            raise HttpFailed(
                f"The answer has more than {RESPONSE_BYTES_MAX} bytes.", status=response.status
            )
    return bytes(text)


def _body(headers: Mapping[str, str], text: bytes) -> Any:  # noqa: ANN401  JSON value
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not text:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.decode(text)
        except json.NotJson as error:
            raise HttpFailed(f"The answer says that it is JSON, and is not: {error}.") from error
    return text.decode("utf-8", "replace")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    return read_retry_after_s(headers.get("Retry-After", ""), now=datetime.now(UTC))


def _quoted(text: str) -> str:
    """Write what is put into an address so that it cannot change where the address leads."""
    return quote(text, safe="")
