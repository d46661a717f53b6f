"""A server of tools that demands a login, and the authorization server that issues its tokens.

Both are strict where a client could be careless: PKCE is verified, codes and refresh tokens are
good once, and clients, redirect addresses and resources must be those that were said before.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
from aiohttp import web

VERSION = "2026-07-28"


@dataclass
class Authorization:
    """An authorization server.

    Attributes:
        client_id, client_secret, public_key: A client that is known without registration.
        metadata: What its document says otherwise.
        returns: What browsers are sent back with otherwise; None leaves a part out.
        lasts_s: How long its tokens are said to last.
        answers: Statuses that the next requests for tokens are answered with.
        gate: Requests for tokens wait for it.
        moved_to: Where its document is said to be.
        is_slow: Its document does not come.
    """

    url: str = ""
    client_id: str = "known-client"
    client_secret: str = ""
    public_key: str = ""
    registers: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    returns: dict[str, str | None] = field(default_factory=dict)
    lasts_s: int = 3600
    answers: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None
    moved_to: str = ""
    is_slow: bool = False
    good: dict[str, str] = field(default_factory=dict)
    """Scopes of the access tokens that are good."""
    refreshes: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)
    """Requests for tokens."""
    revoked: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    """All that is secret and was handed out."""

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/.well-known/oauth-authorization-server", self._describe)
        application.router.add_get("/authorize", self._authorize)
        application.router.add_post("/register", self._register)
        application.router.add_post("/token", self._token)
        application.router.add_post("/revoke", self._revoke)
        return application

    def expire(self) -> None:
        """Take back all access tokens."""
        self.good.clear()

    async def _describe(self, _: web.Request) -> web.Response:
        if self.moved_to:
            return web.Response(status=302, headers={"Location": self.moved_to})
        if self.is_slow:
            await asyncio.Event().wait()
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
        }
        if self.registers:
            document["registration_endpoint"] = f"{self.url}/register"
        document |= self.metadata
        return web.json_response({key: one for key, one in document.items() if one is not None})

    async def _register(self, request: web.Request) -> web.Response:
        asked = await request.json()
        client = {
            **asked,
            "client_id": f"client-{len(self.clients) + 1}",
            "client_secret": self._secret("client"),
            "token_endpoint_auth_method": "client_secret_basic",
        }
        self.clients[client["client_id"]] = client
        return web.json_response(client, status=201)

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert asked["code_challenge_method"] == "S256"
        known = self.clients.get(asked["client_id"])
        if known is not None:
            assert asked["redirect_uri"] in known["redirect_uris"]
        code = self._secret("code")
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.url, **self.returns}
        query = urlencode({key: one for key, one in back.items() if one is not None})
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{query}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl(await request.text(), strict_parsing=True))
        self.seen.append(form)
        if self.gate is not None:
            await self.gate.wait()
        if self.answers:
            return web.Response(status=self.answers.pop(0))
        client = self._client_of(request, form)
        if client is None:
            return _refused("invalid_client", 401)
        match form["grant_type"]:
            case "authorization_code":
                return self._for_code(form, client)
            case "refresh_token":
                return self._for_refresh(form)
            case "client_credentials":
                return self._issue(form.get("scope", ""), has_refresh=False)
        return _refused("unsupported_grant_type")

    def _client_of(self, request: web.Request, form: dict[str, str]) -> str | None:
        if "client_assertion" in form:
            claims = jwt.decode(
                form["client_assertion"],
                self.public_key,
                algorithms=["ES256", "RS256"],
                audience=self.url,
            )
            return str(claims["sub"])
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return form.get("client_id") if not self.client_secret else None
        name, _, secret = map(unquote_plus, base64.b64decode(pair).decode().partition(":"))
        known = self.clients.get(name, {"client_secret": self.client_secret})
        return name if secrets.compare_digest(secret, known["client_secret"]) else None

    def _for_code(self, form: dict[str, str], client: str) -> web.Response:
        asked = self.codes.pop(form["code"], None)
        if asked is None:
            return _refused("invalid_grant")
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        same = ("redirect_uri", "resource")
        is_same = all(form[name] == asked[name] for name in same) and client == asked["client_id"]
        if challenge != asked["code_challenge"] or not is_same:
            return _refused("invalid_grant")
        return self._issue(asked.get("scope", ""))

    def _for_refresh(self, form: dict[str, str]) -> web.Response:
        if form["refresh_token"] not in self.refreshes:
            return _refused("invalid_grant")
        self.refreshes.discard(form["refresh_token"])
        return self._issue("notes:read")

    def _issue(self, scope: str, *, has_refresh: bool = True) -> web.Response:
        access = self._secret("access")
        self.good[access] = scope
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.lasts_s,
            "scope": scope,
        }
        if has_refresh:
            answer["refresh_token"] = self._secret("refresh")
            self.refreshes.add(answer["refresh_token"])
        return web.json_response(answer)

    async def _revoke(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl(await request.text()))
        self.revoked.append(form["token"])
        self.refreshes.discard(form["token"])
        return web.Response()

    def _secret(self, kind: str) -> str:
        made = f"{kind}-{secrets.token_urlsafe(24)}"
        self.given.append(made)
        return made


@dataclass
class Guarded:
    """A server of tools for those with a token: ``read`` for all, ``write`` for ``notes:write``.

    Attributes:
        protected: What its document says otherwise.
        never: It refuses ``write`` whatever the token allows.
        shown: Tokens that were shown to it.
    """

    authorization: Authorization
    url: str = ""
    protected: dict[str, Any] = field(default_factory=dict)
    never: bool = False
    shown: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/mcp", self._answer)
        application.router.add_get("/where", self._describe)
        return application

    async def _describe(self, _: web.Request) -> web.Response:
        document = {"resource": self.url, "authorization_servers": [self.authorization.url]}
        return web.json_response(document | self.protected)

    async def _answer(self, request: web.Request) -> web.Response:
        message = await request.json()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token:
            self.shown.append(token)
        scope = self.authorization.good.get(token)
        if scope is None:
            return self._demand(401, "notes:read", "invalid_token")
        match message["method"]:
            case "server/discover":
                result: dict[str, Any] = {
                    "supportedVersions": [VERSION],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "guarded", "version": "1"},
                }
            case "tools/list":
                schema = {"type": "object"}
                tools = [{"name": name, "inputSchema": schema} for name in ("read", "write")]
                result = {"tools": tools}
            case _:
                name = message["params"]["name"]
                if name == "write" and (self.never or "notes:write" not in scope.split()):
                    return self._demand(403, "notes:write", "insufficient_scope")
                # As careless servers do, it tells what it was shown.
                result = {"content": [{"type": "text", "text": f"{name} with {token}"}]}
        whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result}
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": whole})

    def _demand(self, status: int, scope: str, error: str) -> web.Response:
        where = self.url.removesuffix("/mcp") + "/where"
        told = f'Bearer error="{error}", scope="{scope}", resource_metadata="{where}"'
        return web.Response(status=status, headers={"WWW-Authenticate": told})


def _refused(error: str, status: int = 400) -> web.Response:
    return web.json_response({"error": error, "error_description": "So it is."}, status=status)


@asynccontextmanager
async def served(application: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on the loopback; gives its address."""
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def guarded_tools() -> AsyncIterator[Guarded]:
    """Serve both."""
    authorization = Authorization()
    guarded = Guarded(authorization)
    async with served(authorization.application()) as issuer, served(guarded.application()) as base:
        authorization.url = issuer
        guarded.url = f"{base}/mcp"
        yield guarded
