"""What the providers over plain HTTP have in common: one server, its key, its lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Any

from agency.config.schema import Llm, ModelProvider
from agency.core.records import dataclass
from agency.models.address import ServerAddress, parse_address
from agency.models.credentials import Credentials, headers_of, without_secrets
from agency.models.http import Answer, Http
from agency.models.lane import Lanes
from agency.models.refusals import Refusal
from agency.ports.vault import Vault

HEALTH_TIMEOUT_S = 2.0
LIST_TIMEOUT_S = 10.0

CATALOGUE_KEPT_S = 30.0
"""What a server says of its models is asked again after so long; 5 s after it said nothing."""

CATALOGUE_MISSED_KEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Signed:
    """Headers of one call, and what in them must appear nowhere else."""

    headers: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)


class Server:
    """One model server, as a section ``[providers.NAME]`` describes it."""

    def __init__(
        self,
        name: str,
        settings: ModelProvider,
        llm: Llm,
        vault: Vault | None,
        environ: Mapping[str, str] | None = None,
        *,
        usual_url: str = "",
    ) -> None:
        """Take the settings; nothing is sent.

        Args:
            name: Of the section.
            settings: The section.
            llm: For time limits and what the section leaves to it.
            vault: For the key; None where there is none.
            environ: None for the process's own.
            usual_url: Address when the section names none.

        Raises:
            ConfigurationInvalid: ``base_url`` is not an address.
        """
        self.name = name
        self.settings = settings
        self.llm = llm
        self.resource = f"model:{name}"
        self.address: ServerAddress = parse_address(
            settings.base_url or usual_url, setting=f"providers.{name}.base_url"
        )
        self.lanes = Lanes(places=settings.concurrency)
        self.credentials = Credentials(vault, environ, provider=name)
        self.http = Http(self.address, self.resource)

    @property
    def tokens_max(self) -> int | None:
        """Longest answer in tokens, if settings bound it."""
        return self.settings.tokens_max or self.llm.tokens_max or None

    async def sign(self, key_header: str, *, scheme: str = "") -> Signed:
        """Make the headers of one call.

        Args:
            key_header: Where the key stands.
            scheme: What stands before it, for example ``Bearer``.

        Raises:
            ModelRefused: a secret is missing.
            ModelUnavailable: the vault is locked.
        """
        headers, secrets = await headers_of(self.settings.headers, self.credentials)
        if self.settings.api_key:
            key = await self.credentials.resolve(self.settings.api_key)
            headers[key_header] = f"{scheme} {key}".strip()
            secrets.append(key)
        return Signed(headers, secrets)

    def refusal(
        self,
        status: int,
        error: Mapping[str, Any] | None,
        *,
        model: str,
        signed: Signed,
        retry_after_s: float | None = None,
    ) -> Refusal:
        """Describe an answer that is not the one wanted, with our secrets hidden.

        Args:
            status: HTTP status; 200 in the middle of a stream.
            error: As `read_error` found it; None when the body is none of the protocol's.
            model: The name that was asked for.
            signed: What was sent with the request.
            retry_after_s: As the headers asked for.
        """
        found = error or {}
        return Refusal(
            status=status,
            provider=self.name,
            model=model,
            resource=self.resource,
            url=self.address.url,
            kind=str(found.get("type") or "").lower(),
            code=str(found.get("code") or "").lower(),
            text=without_secrets(str(found.get("message") or ""), signed.secrets),
            details=found,
            retry_after_s=retry_after_s,
            is_foreign=error is None,
        )

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, body: object | None, signed: Signed
    ) -> AsyncIterator[Answer]:
        """Send one request; see `Http.exchange`."""
        async with self.http.exchange(method, path, body, headers=signed.headers) as answer:
            yield answer

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        await self.http.close()
