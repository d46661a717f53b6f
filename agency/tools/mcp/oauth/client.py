"""Who the daemon is at an authorization server, and how it shows that."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit

import httpx2
from mcp.client.auth import OAuthRegistrationError
from mcp.client.auth.utils import (
    create_client_registration_request,
    handle_registration_response,
    issuers_match,
)
from mcp.shared.auth import OAuthClientMetadata, OAuthMetadata
from pydantic import AnyUrl

from agency.core.records import dataclass
from agency.domain.connection import ConnectionSetup
from agency.errors import LoginFailed
from agency.tools.mcp.oauth.discovery import Place
from agency.tools.mcp.oauth.grant import Grant, is_secret
from agency.tools.mcp.oauth.wire import Wire
from agency.version import VERSION

METHODS = ("client_secret_basic", "client_secret_post", "none")
"""How a client can show who it is, the one that is preferred first."""

ASSERTION_S = 300
"""How long an assertion that was signed with a client's key is good, in seconds."""

_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Client:
    """A client at one authorization server.

    Attributes:
        method: One of `METHODS`, or ``private_key_jwt``.
        secret: Empty where there is none.
        key: Private key in PEM; empty where there is none.
        algorithm: That assertions are signed with; empty for the usual one of the key.
    """

    id: str
    method: str = "none"
    secret: str = ""
    key: str = ""
    algorithm: str = ""
    is_registered: bool = False


def method_of(metadata: OAuthMetadata, *, has_secret: bool) -> str:
    """Choose how a client shows who it is, by what the authorization server takes.

    Source: RFC 8414, section 2: without a list it is ``client_secret_basic``.
    """
    supported = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
    if not has_secret:
        return "none"
    return next((one for one in METHODS[:2] if one in supported), METHODS[0])


async def client_for_login(
    wire: Wire,
    place: Place,
    setup: ConnectionSetup,
    *,
    name: str,
    kept: Grant | None,
    secret: str,
    redirect_uri: str,
    scope: str | None,
) -> Client:
    """Find the client that people log in with: that of the settings, the kept one, or a new one.

    A client is bound to the issuer that it was registered with, and shown to no other one.

    Raises:
        LoginFailed: there is none, and none can be registered.
        Unreachable: the authorization server does not answer.
    """
    if setup.oauth_client_id and not is_document(setup.oauth_client_id):
        method = method_of(place.metadata, has_secret=bool(secret))
        return Client(setup.oauth_client_id, method, secret)
    if setup.oauth_client_id and place.metadata.client_id_metadata_document_supported:
        return Client(setup.oauth_client_id)
    if (
        kept is not None
        and kept.is_registered
        and issuers_match(kept.issuer, place.issuer)
        and kept.redirect_uri == redirect_uri
    ):
        return Client(kept.client_id, kept.method, kept.client_secret, is_registered=True)
    return await _register(wire, place, name=name, redirect_uri=redirect_uri, scope=scope)


def is_document(client_id: str) -> bool:
    """Tell whether the id of a client is the address of a document that describes it.

    Source: MCP 2026-07-28, authorization, Client ID Metadata Documents.
    """
    try:
        parts = urlsplit(client_id)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and parts.path not in {"", "/"}


async def _register(
    wire: Wire, place: Place, *, name: str, redirect_uri: str, scope: str | None
) -> Client:
    """Register a client. Source: RFC 7591."""
    metadata = place.metadata
    if metadata.registration_endpoint is None:
        raise LoginFailed(
            name,
            f"{place.issuer} registers no clients by itself; register one there with the redirect "
            f"address {redirect_uri}, and set oauth_client_id (and oauth_client_secret)",
        )
    supported = metadata.token_endpoint_auth_methods_supported
    wished = next((one for one in METHODS if supported and one in supported), None)
    request = create_client_registration_request(
        metadata,
        OAuthClientMetadata.model_validate(
            {
                "redirect_uris": [AnyUrl(redirect_uri)],
                "client_name": "Agency",
                "software_id": "agency",
                "software_version": VERSION,
                "token_endpoint_auth_method": wished,
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "scope": scope,
                "application_type": "native" if _is_loopback(redirect_uri) else "web",
            }
        ),
        "",
    )
    response = await wire.send(request)
    try:
        made = await handle_registration_response(response)
    except OAuthRegistrationError as error:
        told = f"{place.issuer} has registered no client: {str(error)[:300]}"
        raise LoginFailed(name, told) from error
    secret = made.client_secret or ""
    method = made.token_endpoint_auth_method or method_of(metadata, has_secret=bool(secret))
    if method not in METHODS or (method != "none" and not secret):
        told = f"{place.issuer} wants {method[:64]!r} of a client, and has given it no means for it"
        raise LoginFailed(name, told)
    if not is_secret(made.client_id) or (secret and not is_secret(secret)):
        raise LoginFailed(name, f"{place.issuer} has given a client that cannot be used")
    return Client(made.client_id, method, secret, is_registered=True)


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}


def token_request(
    url: str, form: dict[str, str], client: Client, *, issuer: str, now: datetime
) -> httpx2.Request:
    """Make a request to a token endpoint, and show in it who the client is.

    Source: RFC 6749, section 2.3.1; RFC 7523, section 2.2, with the issuer as the audience.

    Raises:
        ValueError: the client's key is of no use.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    match client.method:
        case "client_secret_basic":
            pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        case "client_secret_post":
            form = {**form, "client_id": client.id, "client_secret": client.secret}
        case "private_key_jwt":
            assertion = _assertion(client, issuer, now)
            form = {**form, "client_assertion": assertion, "client_assertion_type": _JWT_BEARER}
        case _:
            form = {**form, "client_id": client.id}
    return httpx2.Request("POST", url, data=form, headers=headers)


def _assertion(client: Client, issuer: str, now: datetime) -> str:
    """Sign that it is the client who asks.

    Raises:
        ValueError: its key is of no use.
    """
    import jwt

    began_s = int(now.timestamp())
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": issuer,
        "iat": began_s,
        "exp": began_s + ASSERTION_S,
        "jti": str(uuid.uuid4()),
    }
    try:
        algorithm = client.algorithm or algorithm_of(client.key)
        return jwt.encode(claims, client.key, algorithm=algorithm)
    except (jwt.PyJWTError, NotImplementedError, TypeError) as error:
        raise ValueError(f"nothing can be signed with it: {error}") from error


def algorithm_of(key: str) -> str:
    """Name the usual algorithm of a private key.

    Raises:
        ValueError: it is none that assertions can be signed with.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(key.encode(), None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key is locked with a password, or of an unknown kind") from error
    if isinstance(found, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(found, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(found, ec.EllipticCurvePrivateKey):
        return {256: "ES256", 384: "ES384", 521: "ES512"}[found.curve.key_size]
    raise ValueError("the key is of a kind that nothing is signed with")


def scopes_text(scopes: Sequence[str]) -> str | None:
    """Write scopes of the settings as they are asked for; None when there are none."""
    return " ".join(scopes) or None
