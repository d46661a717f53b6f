"""One notification on its way: to an address that was judged, within a time, without redirects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agency.core.addresses import HostRule, Lookup, resolve_checked
from agency.core.judged import judged_session
from agency.core.limits import RETRY_AFTER_S_MAX
from agency.core.records import dataclass
from agency.domain.push import PUSH_URL_CHARACTERS_MAX
from agency.errors import AddressRefused, HostNotFound, InvalidInput
from agency.version import VERSION

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

POST_S = 15.0
"""Longest attempt, with connecting: receivers only take note of what they are sent."""

_TRY_AGAIN = frozenset({408, 425, 429})
"""What a receiver refuses now and may take later, of the statuses that blame the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        is_final: Another attempt would come to the same.
        reason: Why the notification was not taken; empty when it was.
        retry_after_s: Not to be tried before, as the receiver asks; 0 if it does not say.
    """

    is_final: bool
    reason: str = ""
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """The receiver has it."""
        return not self.reason


_TAKEN = Outcome(is_final=True)


def parse_target(url: str) -> URL:
    """Check the address of a receiver.

    Raises:
        InvalidInput: it is none of HTTP, is too long, or hides whom it is for.
    """
    import yarl

    if len(url) > PUSH_URL_CHARACTERS_MAX:
        raise InvalidInput(f"The url has more than {PUSH_URL_CHARACTERS_MAX} characters.")
    if any(ord(one) < 33 or ord(one) == 127 for one in url):
        raise InvalidInput("The url holds blanks or control characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
        target = yarl.URL(url)
        host = target.host
    except ValueError as error:
        raise InvalidInput(f"The url {url!r} is no address: {error}.") from error
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise InvalidInput(f"The url {url!r} is no address of HTTP: write https://host/path.")
    if "@" in parts.netloc:
        raise InvalidInput(
            "The url holds a user name; give credentials as `authentication`.",
        )
    return target


class Poster:
    """Posts notifications."""

    def __init__(
        self,
        private: Sequence[HostRule],
        *,
        timeout_s: float = POST_S,
        lookup: Lookup | None = None,
    ) -> None:
        """Take the places that may be reached although they are not public.

        Args:
            private: As `agency.core.addresses.resolve_checked` has it.
            timeout_s: Longest attempt, in seconds.
            lookup: Resolves names otherwise than the system does, for tests.
        """
        self._private = private
        self._timeout_s = timeout_s
        self._lookup = lookup

    async def check(self, url: str, *, timeout_s: float) -> None:
        """Refuse an address that could not be told.

        A name that does not resolve now may do so later, and is no reason.

        Raises:
            InvalidInput: as `parse_target`.
            AddressRefused: it leads to a private place.
        """
        target = parse_target(url)
        try:
            await resolve_checked(
                target.host or "",
                target.port or 0,
                private=self._private,
                timeout_s=timeout_s,
                lookup=self._lookup,
            )
        except HostNotFound:
            return

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, now: datetime
    ) -> Outcome:
        """Make one attempt; what the receiver answers is not read beyond its head."""
        import aiohttp

        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, body, headers, now)
        except TimeoutError:
            reason = f"No answer came within {self._timeout_s:g} s."
        except AddressRefused as error:
            # Callers read it: which addresses a name has in here is nothing for them to know.
            reason = (
                f"{error.host!r} is no public host now. Where it is meant, allow it in [a2a] "
                "push_allow_private."
            )
        except HostNotFound as error:
            reason = error.message
        except InvalidInput as error:
            return Outcome(is_final=True, reason=error.message)
        except (aiohttp.InvalidURL, ValueError) as error:
            return Outcome(is_final=True, reason=f"It cannot be sent: {error}.")
        except (aiohttp.ClientError, OSError) as error:
            reason = f"It was not taken: {error or type(error).__name__}."
        return Outcome(is_final=False, reason=reason)

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], now: datetime
    ) -> Outcome:
        # Of the very object that is connected to: two parsers may see two hosts in one address.
        target = parse_target(url)
        endpoints = await resolve_checked(
            target.host or "", target.port or 0, private=self._private, lookup=self._lookup
        )
        async with (
            judged_session(endpoints) as session,
            session.post(
                target,
                data=body,
                headers={"User-Agent": f"agency/{VERSION}", **headers},
                allow_redirects=False,
            ) as response,
        ):
            return _judge(response, now)


def _judge(response: ClientResponse, now: datetime) -> Outcome:
    status = response.status
    if 200 <= status < 300:
        return _TAKEN
    said = f"The receiver answered {status}."
    if 300 <= status < 400:
        return Outcome(is_final=True, reason=f"{said} Redirects are not followed.")
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        return Outcome(is_final=True, reason=said)
    asked = response.headers.get("Retry-After", "")
    return Outcome(is_final=False, reason=said, retry_after_s=_retry_after_s(asked, now))


def _retry_after_s(text: str, now: datetime) -> float:
    """Read ``Retry-After``, seconds or a date. Source: RFC 9110, section 10.2.3."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), RETRY_AFTER_S_MAX)
    try:
        moment = parsedate_to_datetime(text)
        asked = (moment - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, min(asked, RETRY_AFTER_S_MAX))
