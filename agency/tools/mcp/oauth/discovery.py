"""Where a server of tools lets people log in: found out from what it says of itself.

Source: MCP 2026-07-28, authorization; RFC 9728 (protected resources), RFC 8414 (authorization
servers), OpenID Connect Discovery 1.0. The order of addresses is the SDK's.
"""

from __future__ import annotations

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    issuers_match,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import ValidationError

from agency.core.records import dataclass
from agency.errors import LoginFailed
from agency.tools.mcp.oauth.challenge import Challenge
from agency.tools.mcp.oauth.wire import Unreachable, Wire, origin_of

SERVERS_MAX = 16
"""Authorization servers of one server that are looked at to find the one in the settings."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where tokens for a server are issued.

    Attributes:
        resource: What a token is asked for.
        protected: What the server says of itself; None when it says nothing.
    """

    metadata: OAuthMetadata
    protected: ProtectedResourceMetadata | None
    resource: str

    @property
    def issuer(self) -> str:
        """The authorization server, as it calls itself."""
        return str(self.metadata.issuer)


async def find_place(
    wire: Wire, name: str, server_url: str, challenge: Challenge | None, *, issuer: str
) -> Place:
    """Find out where a server's tokens are issued.

    Args:
        challenge: What the server has demanded; None when that is not known.
        issuer: The only authorization server that will do; empty for whichever it is.

    Raises:
        LoginFailed: the server does not say, or what it says does not fit together.
        Unreachable: somebody who must be asked does not answer.
    """
    told = "" if challenge is None else challenge.resource_metadata
    protected = await _protected(wire, name, server_url, told)
    resource = resource_url_from_server_url(server_url)
    if protected is None:
        expected = ""
    else:
        said = str(protected.resource)
        if not check_resource_allowed(requested_resource=resource, configured_resource=said):
            reason = f"the server says to be {said[:256]!r}, and its address is {resource!r}"
            raise LoginFailed(name, reason)
        resource = said
        expected = _chosen(name, protected, issuer)
    metadata = await _metadata(wire, name, server_url, expected)
    found = str(metadata.issuer)
    if issuer and not issuers_match(found, issuer):
        raise LoginFailed(name, f"it is led to {found!r}, and oauth_issuer is {issuer!r}")
    endpoints = (
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.registration_endpoint,
        metadata.revocation_endpoint,
    )
    for endpoint in endpoints:
        if endpoint is not None:
            wire.check(str(endpoint))
    return Place(metadata, protected, resource)


async def _protected(
    wire: Wire, name: str, server_url: str, told: str
) -> ProtectedResourceMetadata | None:
    """Read what a server says of itself; None when it says nothing, as before 2025-06-18."""
    failed = 0
    for url in build_protected_resource_metadata_discovery_urls(told or None, server_url):
        response = await wire.get(url)
        if response.status_code == 200:
            try:
                return ProtectedResourceMetadata.model_validate_json(response.content)
            except ValidationError:
                continue
        if response.status_code >= 500 or response.status_code == 429:
            failed = response.status_code
    if failed:
        # That says nothing about whether there is such a document.
        raise Unreachable(f"it answers with HTTP {failed} when asked who issues its tokens")
    return None


def _chosen(name: str, protected: ProtectedResourceMetadata, issuer: str) -> str:
    servers = [str(one) for one in protected.authorization_servers[:SERVERS_MAX]]
    if not issuer:
        return servers[0]
    for one in servers:
        if issuers_match(one, issuer):
            return one
    named = ", ".join(one[:128] for one in servers)
    raise LoginFailed(name, f"its tokens are issued by {named}, and oauth_issuer is {issuer!r}")


async def _metadata(wire: Wire, name: str, server_url: str, expected: str) -> OAuthMetadata:
    """Read what an authorization server says of itself; it must be the one that was asked.

    Source: RFC 8414, section 3.3.
    """
    urls = build_oauth_authorization_server_metadata_discovery_urls(expected or None, server_url)
    for url in urls:
        response = await wire.get(url)
        if response.status_code >= 500 or response.status_code == 429:
            raise Unreachable(f"{url} answers with HTTP {response.status_code}")
        if response.status_code != 200:
            continue
        try:
            metadata = OAuthMetadata.model_validate_json(response.content)
        except ValidationError:
            continue
        found = str(metadata.issuer)
        # Without a name for the issuer it is the server itself that issues tokens.
        own = origin_of(found) == origin_of(server_url)
        if not (found == expected if expected else own):
            wanted = expected or "the server itself"
            reason = f"the document of {wanted[:256]!r} is one of {found[:256]!r}"
            raise LoginFailed(name, f"{reason}: it could be anybody's")
        return metadata
    raise LoginFailed(
        name,
        "it does not say where to log in; if it takes a key, hand it over in a header "
        '(--header "Authorization: Bearer secret://NAME")',
    )
