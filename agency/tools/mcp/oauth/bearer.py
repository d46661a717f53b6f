"""Shows a connection's token with its requests, has it renewed, and notes what is demanded."""

from __future__ import annotations

import httpx2

from agency.tools.mcp.logins import NotRenewed
from agency.tools.mcp.oauth.challenge import Challenge, read_challenge
from agency.tools.mcp.oauth.login import Login
from agency.tools.mcp.oauth.wire import origin_of
from agency.tools.mcp.refusals import Refusals

_ASKS = frozenset({401, 403})


class Bearer(httpx2.AsyncBaseTransport):
    """A transport that logs in.

    A request that was refused is sent once more if there is another token; a server that answers
    with 401 or 403 has not begun with it.
    """

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, login: Login, server_url: str, refusals: Refusals
    ) -> None:
        self._inner = inner
        self._login = login
        self._origin = origin_of(server_url)
        self._refusals = refusals

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if origin_of(str(request.url)) != self._origin:
            # Tokens are for the server, and nobody else.
            return await self._inner.handle_async_request(request)
        again = _copy(request)
        token = await self._token(request)
        response = await self._send(request, token)
        if response.status_code not in _ASKS:
            return response
        challenge = _challenge_of(response)
        if challenge.status == 401 or challenge.is_step_up:
            other = await self._token(again, refused=token, challenge=challenge)
            if other and other != token:
                await response.aclose()
                response = await self._send(again, other)
                challenge = _challenge_of(response)
        if (challenge.status == 401 and challenge.is_bearer) or challenge.is_step_up:
            # A server that only says 401 may want a key that no login gives.
            self._refusals.challenge = challenge
        return response

    async def _token(
        self, request: httpx2.Request, *, refused: str = "", challenge: Challenge | None = None
    ) -> str:
        if challenge is not None and challenge.is_step_up and not self._login.is_own():
            # Another token from the same login would allow no more.
            return ""
        try:
            return await self._login.token(refused=refused, challenge=challenge)
        except NotRenewed as error:
            self._refusals.reason = str(error)
            raise httpx2.ConnectError(str(error), request=request) from error

    async def _send(self, request: httpx2.Request, token: str) -> httpx2.Response:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _copy(request: httpx2.Request) -> httpx2.Request:
    """Copy a request as it is before it is sent: judging its address changes it."""
    return httpx2.Request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        extensions=dict(request.extensions),
    )


def _challenge_of(response: httpx2.Response) -> Challenge:
    return read_challenge(response.status_code, response.headers.get_list("www-authenticate"))
