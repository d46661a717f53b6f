"""Which provider serves: decided once, when the daemon starts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency.config.schema import Llm
from agency.models import probe
from agency.models.address import parse_address
from agency.models.ollama.provider import open_ollama
from agency.models.rehearsal.provider import RehearsalProvider
from agency.models.rehearsal.script import load_script
from agency.ports.model import Provider

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 1.0
"""``auto`` waits this long for Ollama; on the same machine it answers within milliseconds."""


@asynccontextmanager
async def open_provider(settings: Llm, *, folder: Path | None = None) -> AsyncIterator[Provider]:
    """Open the one of the built-in providers that ``settings`` ask for, and close it at the end.

    ``ollama`` never falls back: with its server away, runs that need it wait. ``auto`` looks once
    and takes Ollama when it answers, else the rehearsal. What was taken is logged, and everybody
    can read it from ``name`` and ``is_rehearsal``. Neither the ``ollama`` client nor its HTTP
    library is imported before the first call to a model.

    Args:
        settings: The section ``[llm]``.
        folder: What a relative ``rehearsal_script`` is relative to; else the working directory.

    Raises:
        ConfigurationInvalid: the address or the script is wrong; a script is read even when it is
            not needed today, so that a fault in it is not found on the day the server is away.
    """
    match settings.provider:
        case "ollama":
            takes_ollama = True
        case "rehearsal":
            takes_ollama = False
        case "auto":
            _open_rehearsal(settings, folder)
            takes_ollama = await _ollama_answers(settings)
        case _:
            raise AssertionError(settings.provider)
    if takes_ollama:
        async with open_ollama(settings) as provider:
            log.info("models are served by ollama", extra={"url": settings.base_url})
            yield provider
    else:
        rehearsal = _open_rehearsal(settings, folder)
        log.warning("models are served by the REHEARSAL stand-in, its answers are made up")
        yield rehearsal


async def _ollama_answers(settings: Llm) -> bool:
    address = parse_address(settings.base_url)
    health = await probe.look(address, limit_s=PROBE_TIMEOUT_S)
    if not health.reachable:
        fields = {"url": address.url, "reason": health.reason}
        log.warning("ollama does not answer", extra=fields)
    return health.reachable


def _open_rehearsal(settings: Llm, folder: Path | None) -> RehearsalProvider:
    if not settings.rehearsal_script:
        return RehearsalProvider(settings)
    path = (folder or Path()) / settings.rehearsal_script
    return RehearsalProvider(settings, load_script(path))
