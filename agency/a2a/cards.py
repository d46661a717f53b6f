"""Agent cards: what others read before they speak with an agent.

They are made from what is published now, so that a card never tells of what is gone; what was
written stays until it would be written differently, because a signature is different each time.

Source: A2A 1.0.1, sections 4.4 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import UnsupportedOperationError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from agency.a2a.modes import input_modes, output_modes
from agency.a2a.negotiation import V03, V10
from agency.a2a.places import HTTP, KEYS, agent_url, grpc_address
from agency.a2a.signing import Signer
from agency.config.schema import A2a
from agency.core import json
from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.domain.tool import Permission
from agency.web.etags import etag_of
from agency.web.published import Published, PublishedKind
from agency.workflows.agent.catalogue import Catalogue

CARDS_KEPT_MAX = 256
"""Written cards that are kept: one for each agent and each name of the daemon."""

SCHEMAS = "urn:agency:a2a:schemas:1"
"""Extension by which an extended card shows the JSON Schemas of input and output."""

SCHEME = "bearer"
"""Name of the security scheme in the cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCard:
    """A card as it is sent. ``modified_at`` is when it was first written like this."""

    body: bytes
    etag: str
    modified_at: datetime


class Cards:
    """Makes the cards of all that is published."""

    def __init__(
        self,
        settings: A2a,
        clock: Clock,
        *,
        agents: Catalogue | None,
        needs_token: bool,
        has_push: bool,
        signer: Signer | None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._agents = agents
        self._needs_token = needs_token
        self._has_push = has_push
        self._signer = signer
        self._kept: dict[tuple[str, str], WrittenCard] = {}

    @property
    def has_extended(self) -> bool:
        """Whether callers are told more than the public; they all are known then."""
        return self._settings.extended_card and self._needs_token

    def written(self, published: Published, address: str) -> WrittenCard:
        """Write the public card."""
        card = self.make(published, address)
        unsigned = json.encode(self._shown(card))
        etag = etag_of(unsigned + (self._signer.key_id.encode() if self._signer else b""))
        key = (published.name, address)
        kept = self._kept.get(key)
        if kept is not None and kept.etag == etag:
            return kept
        body = unsigned
        if self._signer is not None:
            self._signer.sign(card, keys_url=address + KEYS)
            body = json.encode(self._shown(card))
        modified_at = self._clock.now().replace(microsecond=0)
        made = WrittenCard(body=body, etag=etag, modified_at=modified_at)
        if len(self._kept) >= CARDS_KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = made
        return made

    def make(self, published: Published, address: str) -> pb.AgentCard:
        """Make the public card, unsigned."""
        settings = self._settings
        card = pb.AgentCard(
            name=published.name,
            description=_description(published),
            version=published.version or V10,
            supported_interfaces=self._interfaces(published, address),
            capabilities=pb.AgentCapabilities(
                streaming=True,
                push_notifications=self._has_push,
                extended_agent_card=self.has_extended,
                extensions=self._extensions(),
            ),
            default_input_modes=input_modes(published),
            default_output_modes=output_modes(published),
            skills=[_skill(published)],
        )
        if settings.provider_name:
            card.provider.organization = settings.provider_name
            card.provider.url = settings.provider_url or address
        if settings.documentation_url:
            card.documentation_url = settings.documentation_url
        if settings.icon_url:
            card.icon_url = settings.icon_url
        if self._needs_token:
            scheme = card.security_schemes[SCHEME].http_auth_security_scheme
            scheme.scheme = "Bearer"
            scheme.description = "A token of this daemon, made with `agency token new NAME`."
            card.security_requirements.add().schemes[SCHEME].SetInParent()
        return card

    async def extended(self, published: Published, address: str) -> pb.AgentCard:
        """Make the card for those who have shown a token.

        Raises:
            UnsupportedOperationError: there is none, as the public card says.
        """
        if not self.has_extended:
            raise UnsupportedOperationError("This agent has no extended card.")
        card = self.make(published, address)
        card.skills[0].tags.extend(await self._tools(published))
        params = {"input": published.input_schema, "output": published.output_schema}
        extension = card.capabilities.extensions.add(
            uri=SCHEMAS, description="JSON Schemas of what goes in and comes out as data."
        )
        extension.params.CopyFrom(ParseDict(json.decode(json.encode(params)), Struct()))
        if self._signer is not None:
            self._signer.sign(card, keys_url=address + KEYS)
        return card

    @property
    def key_set(self) -> dict[str, Any]:
        """The keys that cards are signed with, as a JWK set."""
        return self._signer.key_set if self._signer is not None else {"keys": []}

    def _shown(self, card: pb.AgentCard) -> dict[str, Any]:
        # A strict reader of 1.0 stumbles over the members of 0.3: they are there only if asked for.
        return agent_card_to_dict(card) if self._settings.v03 else MessageToDict(card)

    def _interfaces(self, published: Published, address: str) -> Sequence[pb.AgentInterface]:
        url = agent_url(address, published.name)

        def make(binding: str, version: str, at: str, tenant: str = "") -> pb.AgentInterface:
            return pb.AgentInterface(
                url=at, protocol_binding=binding, protocol_version=version, tenant=tenant
            )

        found = [make("JSONRPC", V10, url), make("HTTP+JSON", V10, url + HTTP)]
        if port := self._settings.grpc_port:
            # One port serves all agents: the tenant says which one is meant.
            found.append(make("GRPC", V10, grpc_address(address, port), published.name))
        if self._settings.v03:
            # Clients of 0.3 put /v1 behind the address by themselves.
            found += [make("JSONRPC", V03, url), make("HTTP+JSON", V03, url)]
        return found

    def _extensions(self) -> Sequence[pb.AgentExtension]:
        required = self._settings.required_extensions
        named = dict.fromkeys([*required, *self._settings.extensions])
        return [pb.AgentExtension(uri=uri, required=uri in required) for uri in named]

    async def _tools(self, published: Published) -> Sequence[str]:
        if published.kind is not PublishedKind.AGENT or self._agents is None:
            return ()
        listed = await self._agents.tools(published.name)
        return sorted({one.name for one in listed.tools if one.permission is not Permission.DENY})


def _description(published: Published) -> str:
    return published.description or f"The {published.kind} {published.name}."


def _skill(published: Published) -> pb.AgentSkill:
    return pb.AgentSkill(
        id=published.name,
        name=published.name,
        description=_description(published),
        tags=[str(published.kind)],
        input_modes=input_modes(published),
        output_modes=output_modes(published),
    )
