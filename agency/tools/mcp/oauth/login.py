"""The login of one connection: begun and finished by people, renewed by the daemon, forgotten.

All that is known of it is one secret of the vault, which is read anew each time; so there is no
state beside it that could be another. Whoever renews a token holds the connection's lock, and
looks again once it has it, because an authorization server may take each renewal only once.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx2
from mcp.client.auth import PKCEParameters
from mcp.client.auth.utils import get_client_metadata_scopes, issuers_match, union_scopes
from mcp.shared.auth import OAuthToken
from mcp.shared.auth_utils import resource_url_from_server_url
from pydantic import ValidationError

from agency.core.json import NotJson, decode
from agency.core.records import dataclass
from agency.domain.connection import Connection
from agency.domain.login import LoginFlow, LoginStarted, LoginState, LoginView
from agency.errors import AgencyError, LoginFailed, SecretBroken, SecretNotFound, VaultLocked
from agency.tools.mcp.logins import NotRenewed, secret_name
from agency.tools.mcp.means import Means
from agency.tools.mcp.oauth.challenge import Challenge
from agency.tools.mcp.oauth.client import (
    Client,
    client_for_login,
    is_document,
    method_of,
    scopes_text,
    token_request,
)
from agency.tools.mcp.oauth.discovery import Place, find_place
from agency.tools.mcp.oauth.grant import Grant, Pending, is_secret, parse_grant, to_text
from agency.tools.mcp.oauth.wire import Unreachable, Wire

log = logging.getLogger(__name__)

LOGIN_S = 900.0
"""How long a person has for a login that was begun."""

EARLY_S = 30.0
"""A token is renewed so long before it ends, or a quarter of its time, because requests take time
and clocks differ."""

LASTS_S_MAX = 10 * 365 * 86_400
"""Longest time that is believed of a token."""

SCOPE_CHARACTERS_MAX = 4096
"""Longest list of scopes that is asked for."""

TOLD_CHARACTERS_MAX = 300
"""How much of an authorization server's own words is told."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a browser brings back. Source: RFC 6749, section 4.1.2; RFC 9207."""

    code: str = ""
    state: str = ""
    iss: str | None = None
    error: str = ""
    description: str = ""


def read_returned(url: str) -> Returned:
    """Read the address that a browser was sent to; also only what stands after its ``?``."""
    try:
        query = urlsplit(url.strip()).query or url.strip().lstrip("?")
        found = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=32))
    except ValueError:
        return Returned()
    return Returned(
        code=found.get("code", ""),
        state=found.get("state", ""),
        iss=found.get("iss"),
        error=found.get("error", ""),
        description=found.get("error_description", ""),
    )


class Login:
    """The login of one connection."""

    def __init__(self, connection: Connection, server_url: str, means: Means) -> None:
        """Make it; nothing is asked yet.

        Args:
            server_url: Address of the server, secrets put in.
        """
        self._connection = connection
        self._means = means
        self._server = resource_url_from_server_url(server_url)
        self._wire = Wire(connection, server_url, means)
        self._secret = secret_name(connection.name)
        self._shared = means.logins.of(connection.name)

    # --- what is kept -----------------------------------------------------------------------

    async def grant(self) -> Grant | None:
        """Read what is kept for this server; None when there is nothing, or it is of another.

        Raises:
            VaultLocked, SecretBroken: as `agency.ports.vault.Vault.reveal`.
        """
        found = self._shared.unkept
        if not isinstance(found, Grant):
            try:
                text = await self._means.vault.reveal(self._secret)
            except SecretNotFound:
                return None
            found = parse_grant(text)
        # A connection may have got another address since: nothing is shown to anybody else.
        return found if found is not None and found.server == self._server else None

    async def _keep(self, grant: Grant) -> None:
        await self._means.vault.set(
            self._secret, to_text(grant), principal=f"connection {self._connection.name}"
        )
        self._shared.unkept = None

    async def view(self, challenge: Challenge | None) -> LoginView:
        """Tell how things stand."""
        grant = await self.grant()
        if grant is None:
            return LoginView(state=LoginState.NONE if challenge is None else LoginState.NEEDED)
        now = self._means.clock.now()
        pending = grant.pending
        if pending is not None and not _is_over(pending, now):
            return LoginView(
                state=LoginState.WAITING,
                issuer=grant.issuer,
                scope=grant.asked_scope or "",
                expires_at=pending.began_at + timedelta(seconds=LOGIN_S),
            )
        has_token = bool(grant.access_token or grant.refresh_token)
        is_demanded = challenge is not None and not is_vain(grant, challenge)
        if not has_token or is_demanded:
            return LoginView(
                state=LoginState.NEEDED,
                reason=grant.failure,
                issuer=grant.issuer,
                scope=grant.scope,
            )
        return LoginView(
            state=LoginState.DONE,
            issuer=grant.issuer,
            scope=grant.scope,
            expires_at=grant.renew_at,
        )

    # --- a person logs in -------------------------------------------------------------------

    async def begin(self, challenge: Challenge | None, redirect_uri: str) -> LoginStarted:
        """Find out where to log in, and begin.

        Raises:
            LoginFailed: it cannot be done there; the message says why.
            VaultLocked: there is no place for what must be kept.
        """
        try:
            return await self._shared.alone(lambda: self._begin(challenge, redirect_uri))
        except Unreachable as error:
            raise LoginFailed(self._connection.name, str(error)) from error

    async def _begin(self, challenge: Challenge | None, redirect_uri: str) -> LoginStarted:
        setup, name = self._connection.setup, self._connection.name
        kept = await self.grant()
        if kept is not None and challenge is not None and is_vain(kept, challenge):
            # Nobody is asked once more for what was asked for, and did not help.
            told = f"the server demands {challenge.scope!r}, which was asked for already"
            raise LoginFailed(name, f"{told}, and refuses all the same")
        place = await find_place(
            self._wire, name, self._server, challenge, issuer=setup.oauth_issuer
        )
        methods = place.metadata.code_challenge_methods_supported
        if "S256" not in (methods or []):
            # Source: MCP 2026-07-28, authorization: without it, clients refuse to go on.
            raise LoginFailed(name, f"{place.issuer} does not say that it has PKCE (S256)")
        scope = self._scope(place, kept, challenge)
        secret = await self._means.vault.resolve(setup.oauth_client_secret)
        client = await client_for_login(
            self._wire,
            place,
            setup,
            name=name,
            kept=kept,
            secret=secret,
            redirect_uri=redirect_uri,
            scope=scope,
        )
        pkce = PKCEParameters.generate()
        now = self._means.clock.now()
        pending = Pending(
            state=secrets.token_urlsafe(32),
            verifier=pkce.code_verifier,
            redirect_uri=redirect_uri,
            wants_iss=bool(place.metadata.authorization_response_iss_parameter_supported),
            began_at=now,
        )
        grant = replace(
            _at(place, self._server, _still_good(kept, place, client)),
            client_id=client.id,
            # That of the settings is read there each time, and kept at one place only.
            client_secret=client.secret if client.is_registered else "",
            method=client.method,
            is_registered=client.is_registered,
            redirect_uri=redirect_uri,
            asked_scope=scope,
            failure="",
            pending=pending,
        )
        await self._keep(grant)
        return LoginStarted(
            url=_authorization_url(place, grant, pending, pkce.code_challenge),
            redirect_uri=redirect_uri,
            issuer=place.issuer,
            scope=scope or "",
            expires_at=now + timedelta(seconds=LOGIN_S),
        )

    def _scope(self, place: Place, kept: Grant | None, challenge: Challenge | None) -> str | None:
        """Choose what is asked for; what was granted before stays asked for.

        Source: MCP 2026-07-28, authorization, scope selection and step-up.
        """
        demanded = None if challenge is None else challenge.scope
        scopes = self._connection.setup.oauth_scopes
        chosen = scopes_text(scopes) or get_client_metadata_scopes(
            demanded, place.protected, place.metadata, ["authorization_code", "refresh_token"]
        )
        if challenge is not None and challenge.is_step_up:
            before = None if kept is None else union_scopes(kept.asked_scope, kept.scope)
            chosen = union_scopes(union_scopes(before, chosen), demanded)
        if chosen is not None and len(chosen) > SCOPE_CHARACTERS_MAX:
            raise LoginFailed(self._connection.name, "the server demands too many scopes")
        return chosen

    async def finish(self, returned: Returned) -> None:
        """Take what the browser has brought back, and get the tokens for it.

        Each login is finished once: whatever comes of it, it is not pending any more.

        Raises:
            LoginFailed: it was not begun here, or the tokens are not given.
        """
        # Whoever has asked may hang up; the code is good for one exchange only.
        await self._shared.alone(lambda: self._finish(returned))

    async def _finish(self, returned: Returned) -> None:
        name = self._connection.name
        grant = await self.grant()
        pending = None if grant is None else grant.pending
        if grant is None or pending is None:
            raise LoginFailed(name, "no login was begun, or it has been finished")
        if not hmac.compare_digest(returned.state.encode(), pending.state.encode()):
            # Not the end of the login: it may be somebody who only guesses.
            raise LoginFailed(name, "what came back belongs to another login")
        try:
            self._check_returned(returned, grant, pending)
            await self._keep(replace(grant, pending=None))
            form = {
                "grant_type": "authorization_code",
                "code": returned.code,
                "redirect_uri": pending.redirect_uri,
                "code_verifier": pending.verifier,
            }
            made = await self._exchange(grant, form)
        except (LoginFailed, Unreachable, _Refused) as error:
            reason = error.reason if isinstance(error, LoginFailed) else str(error)
            await self._keep(replace(grant, pending=None, failure=reason[:500]))
            raise LoginFailed(name, reason) from error
        await self._keep(replace(made, pending=None, failure=""))
        log.info("login done", extra={"connection": name, "issuer": grant.issuer})

    def _check_returned(self, returned: Returned, grant: Grant, pending: Pending) -> None:
        """Check who has sent the browser back. Source: RFC 9207, section 2.4."""
        name = self._connection.name
        if _is_over(pending, self._means.clock.now()):
            raise LoginFailed(name, f"it took longer than {LOGIN_S / 60:g} minutes")
        if returned.iss is not None and returned.iss != grant.issuer:
            told = f"{returned.iss[:256]!r}, and the login was begun at {grant.issuer!r}"
            raise LoginFailed(name, f"the browser was sent back by {told}")
        if returned.iss is None and pending.wants_iss:
            raise LoginFailed(name, f"{grant.issuer} has not named itself, as it says that it does")
        if returned.error:
            raise LoginFailed(name, f"{grant.issuer} says {_told(returned)}")
        if not returned.code:
            raise LoginFailed(name, "what came back has no code")

    async def forget(self) -> None:
        """Log out: the tokens are taken back where that is offered, and forgotten here."""
        await self._shared.alone(self._forget)

    async def _forget(self) -> None:
        grant = await self.grant()
        if grant is not None and grant.revocation_endpoint:
            token = grant.refresh_token or grant.access_token
            if token:
                await self._revoke(grant, token)
        try:
            self._shared.unkept = None
            await self._means.vault.delete(self._secret)
        except SecretNotFound:
            return

    async def _revoke(self, grant: Grant, token: str) -> None:
        """Tell the issuer that a token is not needed any more. Source: RFC 7009."""
        try:
            client = await self._client(grant)
            request = token_request(
                grant.revocation_endpoint,
                {"token": token},
                client,
                issuer=grant.issuer,
                now=self._means.clock.now(),
            )
            response = await self._wire.send(request)
            reason = "" if response.is_success else f"HTTP {response.status_code}"
        except (AgencyError, Unreachable, ValueError) as error:
            reason = str(error)
        if reason:
            told = {"connection": self._connection.name, "reason": reason}
            log.warning("token not taken back", extra=told)

    # --- the daemon shows and renews tokens ---------------------------------------------------

    async def token(self, *, refused: str = "", challenge: Challenge | None = None) -> str:
        """Give the access token, renewed if need be; empty when only a person can get one.

        Args:
            refused: A token that the server has not taken, although it looked good.
            challenge: With which it was refused.

        Raises:
            NotRenewed: somebody who must be asked does not answer, or the vault is locked.
        """
        try:
            grant = await self.grant()
            if grant is not None and self._is_good(grant, refused):
                return grant.access_token
            if grant is None and (challenge is None or not self.is_own()):
                return ""
            # The renewal is not given up with the call that needs it: others wait for it, and
            # what an authorization server has handed out is lost if nobody keeps it.
            return await self._shared.alone(lambda: self._renew(refused, challenge))
        except (VaultLocked, SecretBroken) as error:
            if challenge is None:
                # Whether a token is needed at all, the server will say.
                return ""
            raise NotRenewed(error.message.rstrip(".")) from error
        except AgencyError as error:
            raise NotRenewed(error.message.rstrip(".")) from error

    def is_own(self) -> bool:
        """Tell whether the daemon logs in by itself."""
        return self._connection.setup.oauth is LoginFlow.CLIENT_CREDENTIALS

    def _is_good(self, grant: Grant, refused: str) -> bool:
        return grant.access_token != refused and grant.is_fresh(self._means.clock.now())

    async def _renew(self, refused: str, challenge: Challenge | None) -> str:
        grant = await self.grant()
        if grant is not None and self._is_good(grant, refused):
            return grant.access_token
        if grant is None and (challenge is None or not self.is_own()):
            return ""
        self._shared.check()
        try:
            if self.is_own():
                made = await self._own(grant, challenge)
            elif grant is None or not grant.refresh_token:
                return ""
            else:
                made = await self._refreshed(grant)
        except Unreachable as error:
            failure = NotRenewed(f"its login cannot be renewed: {error}")
            self._shared.note(failure)
            raise failure from error
        self._shared.note(None)
        if made is None:
            return ""
        try:
            await self._keep(made)
        except AgencyError as error:
            # The one before may be good for nothing any more; this one is kept with the next.
            self._shared.unkept = made
            told = {"connection": self._connection.name, "reason": error.message}
            log.warning("login not kept", extra=told)
        return made.access_token

    async def _refreshed(self, grant: Grant) -> Grant | None:
        """Get the next token; None when the issuer does not give it any more."""
        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
        try:
            return await self._exchange(grant, form)
        except _Refused as error:
            name = self._connection.name
            log.warning("login ended", extra={"connection": name, "reason": str(error)})
            reason = f"the login has ended: {error}"
            await self._keep(replace(grant.without_tokens(), failure=reason[:500]))
            return None

    async def _own(self, kept: Grant | None, challenge: Challenge | None) -> Grant | None:
        """Log in with what the daemon has itself. Source: RFC 6749, section 4.4."""
        setup, name = self._connection.setup, self._connection.name
        if kept is None or challenge is not None:
            if kept is not None and challenge is not None and is_vain(kept, challenge):
                return None
            place = await find_place(
                self._wire, name, self._server, challenge, issuer=setup.oauth_issuer
            )
            grant = _at(place, self._server, None)
            scope = self._scope_of_own(place, kept, challenge)
        else:
            grant, scope = kept, kept.asked_scope
            place = None
        client = await self._own_client(place, grant)
        grant = replace(grant, client_id=client.id, method=client.method, asked_scope=scope)
        form = {"grant_type": "client_credentials"}
        if scope:
            form["scope"] = scope
        try:
            return await self._exchange(grant, form)
        except _Refused as error:
            raise LoginFailed(name, str(error)) from error

    def _scope_of_own(
        self, place: Place, kept: Grant | None, challenge: Challenge | None
    ) -> str | None:
        demanded = None if challenge is None else challenge.scope
        chosen = scopes_text(self._connection.setup.oauth_scopes) or get_client_metadata_scopes(
            demanded, place.protected, place.metadata, ["client_credentials"]
        )
        if challenge is not None and challenge.is_step_up:
            before = None if kept is None else kept.asked_scope
            chosen = union_scopes(union_scopes(before, chosen), demanded)
        return None if chosen is None else chosen[:SCOPE_CHARACTERS_MAX]

    async def _own_client(self, place: Place | None, grant: Grant) -> Client:
        setup = self._connection.setup
        if setup.oauth_key:
            key = await self._means.vault.resolve(setup.oauth_key)
            return Client(
                setup.oauth_client_id, "private_key_jwt", key=key, algorithm=setup.oauth_algorithm
            )
        secret = await self._means.vault.resolve(setup.oauth_client_secret)
        method = grant.method if place is None else method_of(place.metadata, has_secret=True)
        return Client(setup.oauth_client_id, method, secret)

    async def _client(self, grant: Grant) -> Client:
        """Find who the daemon is at the issuer of a grant."""
        setup = self._connection.setup
        if self.is_own():
            return await self._own_client(None, grant)
        if grant.is_registered:
            return Client(grant.client_id, grant.method, grant.client_secret, is_registered=True)
        if setup.oauth_client_id and not is_document(setup.oauth_client_id):
            secret = await self._means.vault.resolve(setup.oauth_client_secret)
            return Client(grant.client_id, grant.method, secret)
        return Client(grant.client_id)

    async def _exchange(self, grant: Grant, form: dict[str, str]) -> Grant:
        """Get tokens, and give the grant with them. Source: RFC 6749, sections 5 and 6.

        Raises:
            _Refused: the authorization server has decided that there are none.
            Unreachable: it does not answer, or not with what it should.
        """
        client = await self._client(grant)
        asked = {**form, "resource": grant.resource}
        now = self._means.clock.now()
        try:
            request = token_request(
                grant.token_endpoint, asked, client, issuer=grant.issuer, now=now
            )
        except ValueError as error:
            raise LoginFailed(self._connection.name, f"oauth_key: {error}") from error
        response = await self._wire.send(request)
        if response.status_code >= 500 or response.status_code == 429:
            raise Unreachable(f"{grant.issuer} answers with HTTP {response.status_code}")
        if response.status_code not in {200, 201}:
            raise _Refused(f"{grant.issuer} says {_refusal(response)}")
        try:
            token = OAuthToken.model_validate_json(response.content)
        except ValidationError as error:
            raise Unreachable(f"{grant.issuer} answers with something that is no token") from error
        refresh = token.refresh_token or grant.refresh_token
        if not is_secret(token.access_token) or (refresh and not is_secret(refresh)):
            raise Unreachable(f"{grant.issuer} answers with a token that cannot be sent")
        before = grant.scope if form["grant_type"] == "refresh_token" else (grant.asked_scope or "")
        scope = before if token.scope is None else token.scope
        return replace(
            grant,
            access_token=token.access_token,
            refresh_token=refresh,
            scope=scope[:SCOPE_CHARACTERS_MAX],
            renew_at=None if token.expires_in is None else now + _time_of(token.expires_in),
        )


class _Refused(Exception):
    """An authorization server has said no; the text says in which words."""


def is_vain(kept: Grant, challenge: Challenge) -> bool:
    """Tell whether a server demands what was asked for already, and still refuses the token."""
    if not challenge.is_step_up or not kept.access_token:
        return False
    asked = set((kept.asked_scope or "").split()) | set(kept.scope.split())
    return challenge.scope is None or set(challenge.scope.split()) <= asked


def _is_over(pending: Pending, now: datetime) -> bool:
    return not timedelta(0) <= now - pending.began_at <= timedelta(seconds=LOGIN_S)


def _at(place: Place, server: str, before: Grant | None) -> Grant:
    """Make a grant at an authorization server, with what is still good of the one before."""
    revocation = place.metadata.revocation_endpoint
    return replace(
        Grant(server=server) if before is None else before,
        resource=place.resource,
        issuer=place.issuer,
        token_endpoint=str(place.metadata.token_endpoint),
        revocation_endpoint="" if revocation is None else str(revocation),
    )


def _still_good(kept: Grant | None, place: Place, client: Client) -> Grant | None:
    """Give the grant whose tokens still serve while a person logs in anew; None for none."""
    if kept is None or not issuers_match(kept.issuer, place.issuer):
        return None
    return kept if kept.client_id == client.id else kept.without_tokens()


def _authorization_url(place: Place, grant: Grant, pending: Pending, code_challenge: str) -> str:
    """Make the address that a person opens.

    Source: RFC 6749, section 4.1.1; RFC 7636, section 4.3; RFC 8707, section 2.
    """
    asked = {
        "response_type": "code",
        "client_id": grant.client_id,
        "redirect_uri": pending.redirect_uri,
        "state": pending.state,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
        "resource": grant.resource,
    }
    if grant.asked_scope:
        asked["scope"] = grant.asked_scope
        if "offline_access" in grant.asked_scope.split():
            # Source: OpenID Connect Core 1.0, section 11.
            asked["prompt"] = "consent"
    parts = urlsplit(str(place.metadata.authorization_endpoint))
    query = "&".join(one for one in (parts.query, urlencode(asked)) if one)
    return urlunsplit(parts._replace(query=query, fragment=""))


def _time_of(lasts_s: int) -> timedelta:
    """Give how long a token is shown, of how long it lasts."""
    believed_s = float(min(max(lasts_s, 0), LASTS_S_MAX))
    return timedelta(seconds=believed_s - min(EARLY_S, believed_s / 4))


def _refusal(response: httpx2.Response) -> str:
    """Say in which words tokens were refused. Source: RFC 6749, section 5.2."""
    try:
        told = decode(response.content)
    except NotJson:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("error"), str):
        return f"no, with HTTP {response.status_code}"
    description = told.get("error_description")
    return _told(
        Returned(
            error=told["error"], description=description if isinstance(description, str) else ""
        )
    )


def _told(returned: Returned) -> str:
    """Say an error in the words of the authorization server, as far as they can be shown."""
    words = f"{returned.error}: {returned.description}" if returned.description else returned.error
    return "".join(one for one in words if one.isprintable())[:TOLD_CHARACTERS_MAX].rstrip(".")
