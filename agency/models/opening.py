"""All model servers of a daemon, opened together and asked by role."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from agency.config.model_names import BUILT_IN
from agency.config.schema import Llm, ModelProvider, Settings
from agency.core.lifetimes import running
from agency.errors import AgencyError
from agency.models.credentials import header_of
from agency.models.ollama.provider import OllamaProvider, open_ollama
from agency.models.roles import Models
from agency.models.selection import open_provider
from agency.ports.fitness import FitnessStore
from agency.ports.model import Provider, Role
from agency.ports.vault import REFERENCE, UsageSource, Vault

if TYPE_CHECKING:
    from agency.models.server import Server

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_models(
    settings: Settings,
    *,
    vault: Vault | None = None,
    fitness: FitnessStore | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Models]:
    """Open every provider that the settings describe; nothing is sent but by ``auto``.

    Args:
        settings: ``[llm]``, ``[providers]``, ``[roles]`` and ``[memory] embedding_model`` of it.
        vault: Where keys are.
        fitness: Outcomes of checks.
        environ: Environment variables with keys; None for the process's own.

    Raises:
        ConfigurationInvalid: an address or the rehearsal's script is wrong.
    """
    llm = settings.llm
    async with AsyncExitStack() as stack:
        providers: dict[str, Provider] = {}
        for name, section in settings.providers.items():
            opening = _open(name, section, llm, vault, environ)
            providers[name] = await stack.enter_async_context(opening)
        if llm.provider in BUILT_IN:
            first = await stack.enter_async_context(open_provider(llm))
        else:
            first = providers[llm.provider]
            log.info("models are served by a provider", extra={"provider": first.name})
            # Costs nothing until a role or a request names it.
            local = await stack.enter_async_context(open_ollama(llm))
            providers[local.name] = local
        providers[first.name] = first
        if llm.preload and isinstance(first, OllamaProvider):
            preload = partial(_preload, first, llm.model)
            await stack.enter_async_context(
                running(preload, name="preload", grace_s=0.0, on_failure=_tell_bug)
            )
        yield Models(
            providers,
            default=first.name,
            model=llm.model,
            embedding_model=settings.memory.embedding_model,
            roles={role: getattr(settings.roles, role.value) for role in Role},
            fitness=fitness,
        )


def secret_usage(settings: Settings) -> UsageSource:
    """Tell which secrets the sections ``[providers.NAME]`` refer to."""
    found = {
        f"provider {name}": _secrets_of(section) for name, section in settings.providers.items()
    }

    async def usage() -> Mapping[str, Sequence[str]]:
        return {user: names for user, names in found.items() if names}

    return usage


def _secrets_of(section: ModelProvider) -> Sequence[str]:
    words = [section.api_key, *(header_of(line)[1].rpartition(" ")[2] for line in section.headers)]
    return [word.removeprefix(REFERENCE) for word in words if word.startswith(REFERENCE)]


async def _preload(provider: OllamaProvider, model: str, stop: asyncio.Event) -> None:
    """Load a model beside the start of the daemon; what goes wrong is told, and no more."""
    del stop
    try:
        load_s = await provider.load(model)
    except AgencyError as error:
        log.warning("model not loaded", extra={"model": model, "reason": error.message})
    else:
        log.info("model loaded", extra={"model": model, "load_s": round(load_s, 3)})


def _tell_bug(error: BaseException) -> None:
    # The model is then loaded by the first call, as without preloading.
    log.error("preloading has a bug", exc_info=error)


def _open(
    name: str,
    section: ModelProvider,
    llm: Llm,
    vault: Vault | None,
    environ: Mapping[str, str] | None,
) -> AbstractAsyncContextManager[Provider]:
    """Open one; the code of those that nobody uses is not imported."""
    if section.kind == "ollama":
        return open_ollama(_as_ollama(section, llm), name=name)
    from agency.models.server import Server

    if section.kind == "openai":
        from agency.models.openai.provider import open_openai

        server = Server(name, section, llm, vault, environ)
        _warn_of_plain_key(server)
        return open_openai(server)
    if section.kind == "anthropic":
        from agency.models.anthropic.provider import USUAL_URL, open_anthropic

        server = Server(name, section, llm, vault, environ, usual_url=USUAL_URL)
        _warn_of_plain_key(server)
        return open_anthropic(server)
    assert_never(section.kind)


def _as_ollama(section: ModelProvider, llm: Llm) -> Llm:
    return replace(
        llm,
        base_url=section.base_url or llm.base_url,
        num_ctx=section.num_ctx or llm.num_ctx,
        tokens_max=section.tokens_max or llm.tokens_max,
        concurrency=section.concurrency,
    )


def _warn_of_plain_key(server: Server) -> None:
    address = server.address
    if server.settings.api_key and not address.is_tls and not address.is_loopback:
        log.warning(
            "the key of a model server goes over the network in the clear",
            extra={"provider": server.name, "url": address.url},
        )
