"""Whom the settings let be called, where, and what is shown to them. Loads no SDK."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from agency.config.remote_agents import parse_allowed
from agency.config.schema import RemoteAgent
from agency.core.addresses import HostRule, parse_rule
from agency.core.records import dataclass
from agency.domain.tool import Permission
from agency.errors import (
    RemoteAgentDenied,
    RemoteAgentNotFound,
    RemoteAgentRefused,
    RemoteAgentUnreachable,
    SecretBroken,
    SecretNotFound,
    VaultLocked,
)
from agency.ports.remote import RemoteSetup
from agency.ports.vault import REFERENCE, Vault

ADDRESS_CHARACTERS_MAX = 2048
NAME_CHARACTERS_SHOWN = 200
ENVIRONMENT = "env://"

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """An agent's address, and how far a request to it may go.

    Attributes:
        agent: What the caller has called it.
        own: The host and port of the address.
        named: Hosts that the settings allow by name or number; they may be private.
        is_open: Every public host may be called.
        is_trusted: The address itself is one that the settings, or a person, have chosen: it may be
            private.
        timeout_s: Longest request, in seconds.
        card_key: File with the key that the card must be signed with, or empty.
    """

    agent: str
    url: str
    own: HostRule
    named: Sequence[HostRule]
    is_open: bool
    is_trusted: bool
    timeout_s: float
    token: str = ""
    headers: Sequence[tuple[str, str]] = ()
    card_key: str = ""

    @property
    def private(self) -> Sequence[HostRule]:
        """What may be connected to although it is not public."""
        return [*self.named, self.own] if self.is_trusted else list(self.named)

    def may_call(self, host: str, port: int) -> bool:
        """Tell whether requests for this agent may go to a host: its own, or an allowed one."""
        return self.is_open or any(rule.fits(host, port) for rule in (self.own, *self.named))

    def is_shown_secrets(self, host: str, port: int) -> bool:
        """Tell whether a host may be shown the agent's token.

        A card may send its callers anywhere; their token goes only where somebody has named.
        """
        return any(rule.fits(host, port) for rule in (self.own, *self.named))


class Places:
    """Finds whom a name or an address means, and whether it may be called."""

    def __init__(
        self,
        agents: Mapping[str, RemoteAgent],
        allowed: Sequence[str],
        *,
        timeout_s: float = 60.0,
        is_personal: bool = False,
        token: str = "",
    ) -> None:
        """Take the settings.

        Args:
            agents: ``[a2a.agents.NAME]`` by name.
            allowed: ``[a2a] allowed_agents``.
            timeout_s: Longest request to an address that has no name.
            is_personal: A person types the addresses, on their own machine: any may be called.
            token: Shown to agents that are called by their address.

        Raises:
            ValueError: an entry of ``allowed`` is no host.
        """
        self._agents = {name: one for name, one in sorted(agents.items()) if one.enabled}
        self._named, self._is_open = parse_allowed(allowed)
        self._timeout_s = timeout_s
        self._is_personal = is_personal
        self._token = token

    def setups(self) -> Sequence[RemoteSetup]:
        """List the agents that are switched on, by name."""
        return [_setup(name, one) for name, one in self._agents.items()]

    def find_setup(self, agent: str) -> RemoteSetup | None:
        """Find one by its name."""
        found = self._agents.get(agent)
        return None if found is None else _setup(agent, found)

    def find(self, agent: str) -> Place:
        """Find where an agent is, by its name or address.

        Raises:
            RemoteAgentNotFound: the settings have none of that name.
            RemoteAgentRefused: the settings do not allow the address, or it is none.
        """
        settings = self._agents.get(agent)
        if settings is not None:
            return Place(
                agent=agent,
                url=settings.url,
                own=_rule_of(settings.url),
                named=self._named,
                is_open=False,
                is_trusted=True,
                timeout_s=settings.timeout_s,
                token=settings.token,
                headers=[_header_of(line) for line in settings.headers],
                card_key=settings.card_key,
            )
        if "://" not in agent:
            raise RemoteAgentNotFound(agent[:NAME_CHARACTERS_SHOWN], list(self._agents))
        own = self._checked(agent)
        return Place(
            agent=agent,
            url=agent,
            own=own,
            named=self._named,
            is_open=self._is_open,
            is_trusted=self._is_personal,
            timeout_s=self._timeout_s,
            token=self._token,
        )

    def _checked(self, url: str) -> HostRule:
        """Check an address that somebody else than the settings names.

        Raises:
            RemoteAgentRefused: it is none, or not allowed.
        """
        shown = repr(url[:NAME_CHARACTERS_SHOWN])
        try:
            parts = urlsplit(url)
            is_good = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
            own = _rule_of(url) if is_good else None
        except ValueError:
            own = None
        is_odd = any(ord(one) < 33 or ord(one) == 127 for one in url)
        if own is None or is_odd or "@" in parts.netloc or len(url) > ADDRESS_CHARACTERS_MAX:
            raise RemoteAgentRefused(
                f"{shown} is no address of an agent.", hint="Write https://host/path."
            )
        host, port = parts.hostname or "", own.port or 0
        is_named = any(rule.fits(host, port) for rule in self._named)
        if not (self._is_personal or self._is_open or is_named):
            raise RemoteAgentRefused(
                f"The agent at {shown} may not be called.",
                hint=f"Name {host} in [a2a] allowed_agents, or add the agent as [a2a.agents.NAME].",
            )
        return own


def _setup(name: str, settings: RemoteAgent) -> RemoteSetup:
    return RemoteSetup(
        name=name,
        url=settings.url,
        description=settings.description,
        permission=Permission(settings.permission),
        is_repeatable=settings.repeatable,
        timeout_s=settings.timeout_s,
    )


def port_of(url: str) -> int:
    """Tell the port of an address.

    Raises:
        ValueError: it is no number of a port.
    """
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme, 443)


def _rule_of(url: str) -> HostRule:
    """Make the rule that allows the very host and port of an address.

    Raises:
        ValueError: there is no host in it.
    """
    host = urlsplit(url).hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    return parse_rule(f"{bracketed}:{port_of(url)}")


def _header_of(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


async def shown_headers(place: Place, vault: Vault | None) -> dict[str, str]:
    """Make the headers that an agent is shown; secrets are looked up anew each time.

    Raises:
        RemoteAgentDenied: a secret is not there.
        RemoteAgentUnreachable: the vault is locked; it opens by itself when its key is back.
    """
    headers = {name: await _resolved(place, value, vault) for name, value in place.headers}
    if place.token:
        headers["Authorization"] = f"Bearer {await _resolved(place, place.token, vault)}"
    return headers


async def _resolved(place: Place, text: str, vault: Vault | None) -> str:
    before, space, last = text.rpartition(" ")
    if not last.startswith((REFERENCE, ENVIRONMENT)):
        return text
    value = (await _value(place, last, vault)).strip()
    if not value or not value.isprintable() or not value.isascii():
        raise RemoteAgentDenied(
            place.agent,
            f"the secret {last} is empty, or cannot stand in a header",
            hint="Store it again with `agency secret set`.",
        )
    return before + space + value


async def _value(place: Place, reference: str, vault: Vault | None) -> str:
    if reference.startswith(ENVIRONMENT):
        variable = reference.removeprefix(ENVIRONMENT)
        found = os.environ.get(variable)
        if found is None:
            raise RemoteAgentDenied(
                place.agent,
                f"the environment variable {variable} with its token is not set",
                hint="Set it where the daemon is started, or keep the token in the vault.",
            )
        return found
    if vault is None:
        raise RemoteAgentDenied(place.agent, f"there is no vault for {reference}")
    try:
        return await vault.reveal(reference.removeprefix(REFERENCE))
    except VaultLocked as error:
        raise RemoteAgentUnreachable(
            place.agent,
            f"its token is in the vault. {error.message.rstrip('.')}",
            hint=error.hint,
        ) from error
    except (SecretNotFound, SecretBroken) as error:
        reason = error.message.rstrip(".")
        raise RemoteAgentDenied(place.agent, reason, hint=error.hint) from error
