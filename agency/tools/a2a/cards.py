"""Cards of agents elsewhere: read, checked, chosen from, and kept as long as they may be.

This module loads the SDK; see `agency.tools.a2a.agents` for when.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from a2a.client.card_resolver import parse_agent_card
from a2a.types import a2a_pb2 as pb
from a2a.utils.signing import SignatureVerificationError, create_signature_verifier

from agency.core import json
from agency.core.clock import Clock, monotonic_s
from agency.core.records import dataclass
from agency.domain.remote import RemoteCard, RemoteSkill
from agency.errors import (
    RemoteAgentDenied,
    RemoteAgentSilent,
    RemoteAgentUnfit,
    RemoteAgentUnreachable,
)
from agency.ports.vault import Vault
from agency.tools.a2a.http import make_client
from agency.tools.a2a.places import Place, port_of, shown_headers
from agency.tools.a2a.refusals import MALFORMED, RAISED, plain, told

CARD_BYTES_MAX = 1 << 20
CARDS_MAX = 256
"""Cards that are kept; the one that was asked for longest ago goes first."""
AGE_S = 300.0
"""How long a card is good that says nothing about it."""
AGE_S_MAX = 86_400.0
SKILLS_MAX = 100
TEXT_CHARACTERS_MAX = 2_000
"""Of each description in a card: they come into prompts."""

BINDINGS = ("JSONRPC", "HTTP+JSON")
PROTOCOLS = ("1.0", "0.3")
"""What is spoken here, the best first. Source: A2A 1.0, section 3.6: patches do not count."""

ALGORITHMS = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "EdDSA"]
"""Of signatures; such with a shared key would let whoever knows the public one sign."""

ALLOW_HINT = (
    "If that host is meant, allow it in [a2a] allowed_agents, or with --allow where `agency a2a` "
    "is given an address."
)

_WELL_KNOWN = ("/.well-known/agent-card.json", "/.well-known/agent.json")
"""Where cards are: the second in versions up to 0.2, which some systems of 0.3 have kept."""
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Kept:
    """A card, and how to speak with its agent.

    Attributes:
        chosen: The card for the SDK, with the one interface that is used.
        good_until_s: On the monotonic clock.
    """

    card: RemoteCard
    chosen: pb.AgentCard
    etag: str
    good_until_s: float


@dataclass(slots=True)
class Cards:
    """Reads cards; of one agent one request at a time."""

    clock: Clock
    vault: Vault | None
    _kept: OrderedDict[str, Kept] = field(default_factory=OrderedDict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    def known(self, agent: str) -> RemoteCard | None:
        """Give what is kept, however old."""
        found = self._kept.get(agent)
        return None if found is None else found.card

    async def get(self, place: Place, *, is_fresh: bool = False) -> Kept:
        """Give an agent's card; a kept one while it is good, or while the agent is away.

        Raises:
            as `agency.ports.remote.RemoteAgents.card`.
        """
        turn = self._turns.setdefault(place.agent, asyncio.Lock())
        away: RemoteAgentUnreachable
        try:
            # With the wait for others: of an agent that stalls they would else wait one by one.
            async with asyncio.timeout(place.timeout_s), turn:
                return await self._get(place, is_fresh=is_fresh)
        except RemoteAgentUnreachable as error:
            away = error
        except TimeoutError as error:
            away = RemoteAgentSilent(place.agent, f"no answer within {place.timeout_s:g} s")
            away.__cause__ = error
        finally:
            if not turn.locked():
                self._turns.pop(place.agent, None)
        kept = self._kept.get(place.agent)
        if kept is None or is_fresh:
            raise away
        return replace(kept, card=replace(kept.card, is_stale=True))

    async def _get(self, place: Place, *, is_fresh: bool) -> Kept:
        kept = self._kept.get(place.agent)
        now_s = monotonic_s()
        if kept is not None and not is_fresh and now_s < kept.good_until_s:
            self._kept.move_to_end(place.agent)
            return kept
        found = await self._read(place, kept)
        self._kept[place.agent] = found
        self._kept.move_to_end(place.agent)
        while len(self._kept) > CARDS_MAX:
            self._kept.popitem(last=False)
        return found

    async def _read(self, place: Place, kept: Kept | None) -> Kept:
        """Ask for a card."""
        for number, url in enumerate(card_urls(place.url)):
            response, body = await self._ask(place, url, kept)
            if response.status_code == 404 and number + 1 < len(card_urls(place.url)):
                continue
            good_until_s = monotonic_s() + _age_s(response)
            if response.status_code == 304 and kept is not None:
                return replace(kept, good_until_s=good_until_s)
            if response.status_code != 200:
                raise told(place.agent, _status_error(response))
            document = _document_of(place, body)
            card, chosen = await self._taken(place, url, document)
            etag = response.headers.get("etag", "")[:256]
            return Kept(card, chosen, etag, good_until_s)
        raise AssertionError("one of the addresses is the last")

    async def _ask(self, place: Place, url: str, kept: Kept | None) -> tuple[httpx.Response, bytes]:
        headers = {"Accept": "application/json"}
        if kept is not None and kept.etag and kept.card.card_url == url:
            headers["If-None-Match"] = kept.etag
        try:
            headers |= await shown_headers(place, self.vault)
            async with (
                make_client(place) as client,
                client.stream("GET", url, headers=headers) as response,
            ):
                body = bytearray()
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > CARD_BYTES_MAX:
                        what = f"has a card of more than {CARD_BYTES_MAX} bytes"
                        raise RemoteAgentUnfit(place.agent, what)
                return response, bytes(body)
        except RAISED as error:
            raise told(place.agent, error, timeout_s=place.timeout_s) from error

    async def _taken(
        self, place: Place, url: str, document: Mapping[str, Any]
    ) -> tuple[RemoteCard, pb.AgentCard]:
        """Check a card, and choose how to speak with its agent."""
        try:
            # The SDK changes what it reads.
            parsed = parse_agent_card(copy.deepcopy(dict(document)))
        except MALFORMED as error:
            reason = f"has a card that cannot be read: {plain(str(error))}"
            raise RemoteAgentUnfit(place.agent, reason) from error
        is_verified = await _verified(place, parsed)
        interface = chosen_interface(place, url, parsed)
        chosen = pb.AgentCard()
        chosen.CopyFrom(parsed)
        del chosen.supported_interfaces[:]
        chosen.supported_interfaces.append(interface)
        card = RemoteCard(
            name=self._text(parsed.name, 200) or place.agent,
            description=self._text(parsed.description, TEXT_CHARACTERS_MAX),
            version=self._text(parsed.version, 100),
            card_url=url,
            url=interface.url,
            binding=interface.protocol_binding,
            protocol=_spoken(interface.protocol_version) or "",
            streams=parsed.capabilities.streaming,
            skills=[
                RemoteSkill(
                    id=self._text(one.id, 200),
                    name=self._text(one.name, 200),
                    description=self._text(one.description, TEXT_CHARACTERS_MAX),
                    tags=[self._text(tag, 100) for tag in one.tags[:50]],
                )
                for one in parsed.skills[:SKILLS_MAX]
            ],
            is_verified=is_verified,
            document=document if self.vault is None else self.vault.redact_json(document),
            fetched_at=self.clock.now(),
        )
        return card, chosen

    def _text(self, text: str, characters_max: int) -> str:
        """Give a text that can be shown, without secrets: whoever has written it was shown one."""
        clean = "".join(one if one.isprintable() or one == "\n" else " " for one in text).strip()
        return (clean if self.vault is None else self.vault.redact(clean))[:characters_max]


def card_urls(url: str) -> list[str]:
    """List where the card of an agent may be, the likeliest first."""
    path = urlsplit(url).path
    if path.endswith(".json"):
        return [url]
    base = url.partition("?")[0].partition("#")[0].rstrip("/")
    return [base + one for one in _WELL_KNOWN]


def chosen_interface(place: Place, card_url: str, card: pb.AgentCard) -> pb.AgentInterface:
    """Choose how to speak with an agent: the newest version, then the order of its card.

    Raises:
        RemoteAgentUnfit: it speaks nothing that is spoken here, or only where it may not be called.
    """
    told_of = [
        (one.protocol_binding or "?", one.protocol_version or "?")
        for one in card.supported_interfaces
    ]
    refused = hint = ""
    for protocol in PROTOCOLS:
        for one in card.supported_interfaces:
            if one.protocol_binding not in BINDINGS or _spoken(one.protocol_version) != protocol:
                continue
            made = pb.AgentInterface()
            made.CopyFrom(one)
            try:
                made.url = urljoin(card_url, one.url)
                parts = urlsplit(made.url)
                host, port = parts.hostname or "", port_of(made.url)
            except ValueError:
                refused = f"says that it is at {plain(one.url)!r}, which is no address"
                continue
            if parts.scheme not in {"http", "https"}:
                refused = f"says that it is at {plain(one.url)!r}, which is no address of HTTP"
            elif parts.scheme == "http" and urlsplit(place.url).scheme == "https":
                refused = f"says that it is at {plain(made.url)!r}, which is not encrypted"
            elif not place.may_call(host, port):
                refused = (
                    f"says that it is at {host}:{port}, which is not its own host and not in "
                    "[a2a] allowed_agents"
                )
                hint = ALLOW_HINT
            else:
                return made
    if refused:
        raise RemoteAgentUnfit(place.agent, refused, hint=hint)
    spoken = ", ".join(sorted({f"{binding} {version}" for binding, version in told_of})[:10])
    raise RemoteAgentUnfit(
        place.agent,
        f"speaks {plain(spoken) or 'nothing'}, and here only "
        f"{' and '.join(BINDINGS)} of A2A {' and '.join(PROTOCOLS)} are spoken",
    )


def _spoken(version: str) -> str | None:
    """Give the version of the protocol that is meant, if it is spoken here."""
    if not version:
        return PROTOCOLS[0]
    short = ".".join(version.split(".")[:2])
    return short if short in PROTOCOLS else None


def _document_of(place: Place, body: bytes) -> Mapping[str, Any]:
    try:
        document = json.decode(body)
    except json.NotJson as error:
        raise RemoteAgentUnfit(
            place.agent, "answers with what is no card: it is no JSON"
        ) from error
    # Empty lists may be left out, but nobody can be called who does not say where.
    if not isinstance(document, dict) or not (
        "name" in document and ({"supportedInterfaces", "url"} & set(document))
    ):
        raise RemoteAgentUnfit(place.agent, "answers with what is no card of an agent")
    return document


def _status_error(response: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError(
        str(response.status_code), request=response.request, response=response
    )


def _age_s(response: httpx.Response) -> float:
    """Read how long an answer is good, in seconds. Source: RFC 9111, section 5.2.2."""
    asked = response.headers.get("cache-control", "").lower()
    if "no-store" in asked or "no-cache" in asked:
        return 0.0
    found = _MAX_AGE.search(asked)
    return min(float(found[1]), AGE_S_MAX) if found else AGE_S


async def _verified(place: Place, card: pb.AgentCard) -> bool:
    """Check the signature, if the settings name a key.

    Raises:
        RemoteAgentUnfit: it is not signed with that key.
        RemoteAgentDenied: the key cannot be read.
    """
    if not place.card_key:
        return False
    try:
        key = await asyncio.to_thread(Path(place.card_key).read_bytes)
    except OSError as error:
        raise RemoteAgentDenied(
            place.agent,
            f"the key {place.card_key!r} of its card cannot be read: {error.strerror}",
            hint="Name the file with its public key in [a2a.agents.NAME] card_key.",
        ) from error
    verify = create_signature_verifier(lambda _kid, _jku: key, ALGORITHMS)
    try:
        verify(card)
    except (SignatureVerificationError, *MALFORMED) as error:
        raise RemoteAgentUnfit(
            place.agent,
            f"has a card that is not signed with the key of the settings: {plain(str(error))}",
            hint="Its key may have changed: ask whoever runs it, by another way.",
        ) from error
    return True
