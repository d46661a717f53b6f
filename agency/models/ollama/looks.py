"""What Ollama says of its models, asked lightly and kept for a while.

``/api/show`` tells what a model can do and how long its context may be at most; ``/api/ps`` is the
only way to learn how long it really is. Source: notes on Ollama 0.33.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import AgencyError
from agency.models.ollama.names import canonical_name
from agency.ports.model import ContextLimits

REMOTE_KEPT_S = 1.0
"""That a model is no stub of the cloud is looked up before each call, but not more often: it may
be pulled under a name that was local a minute ago."""

SHOWN_KEPT_S = 60.0
"""What a model can do changes when it is pulled again."""

LOADED_KEPT_S = 5.0
"""What is loaded is asked for after calls of ours, and not more often than this."""

USED_KEPT_S = 60.0
"""A model that we have used counts as loaded for so long: below the usual five minutes."""

LOOK_TIMEOUT_S = 2.0
MODELS_ROWS_MAX = 256
"""Models that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What ``/api/show`` tells of a model."""

    capabilities: frozenset[str] | None
    trained: int | None
    is_remote: bool
    at_s: float


class Looks:
    """Asks and remembers. Its questions are methods of the provider."""

    def __init__(
        self,
        *,
        show: Callable[[str], Awaitable[Mapping[str, Any]]],
        loaded: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        """Take how to ask.

        Args:
            show: Asks ``/api/show`` for a model; an empty object from a server without it.
            loaded: Asks ``/api/ps``.
        """
        self._show = show
        self._ask_loaded = loaded
        self._shown: dict[str, Shown] = {}
        self._allocated: dict[str, int] = {}
        self._called: set[str] = set()
        self._used_at_s: dict[str, float] = {}
        self._looked_at_s = float("-inf")
        self._looking = asyncio.Lock()

    async def shown(self, model: str, *, kept_s: float) -> Shown:
        """Look a model up, from memory when that is younger than ``kept_s``.

        Raises:
            as the provider's calls.
        """
        name = canonical_name(model)
        known = self._shown.get(name)
        if known is not None and monotonic_s() - known.at_s < kept_s:
            return known
        shown = read_shown(await self._show(model), at_s=monotonic_s())
        self._shown.pop(name, None)
        self._shown[name] = shown
        while len(self._shown) > MODELS_ROWS_MAX:
            del self._shown[next(iter(self._shown))]
        return shown

    async def known(self, model: str) -> Shown | None:
        """As `shown`, kept for `SHOWN_KEPT_S`; None when nobody tells."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await self.shown(model, kept_s=SHOWN_KEPT_S)
        except (AgencyError, TimeoutError):
            return None

    def note_call(self, model: str, prompt_tokens: int | None) -> None:
        """Take note that a call of ours has used the model, and so has loaded it our way."""
        name = canonical_name(model)
        self._called.add(name)
        self._used_at_s[name] = monotonic_s()
        while len(self._used_at_s) > MODELS_ROWS_MAX:
            del self._used_at_s[next(iter(self._used_at_s))]
        known = self._allocated.get(name)
        if known is not None and prompt_tokens is not None and prompt_tokens > known:
            # More has fitted than was seen, so another client had loaded it meanwhile.
            del self._allocated[name]

    def forget(self, model: str) -> None:
        """Forget what was told of a model, because it has been fetched anew."""
        self._shown.pop(canonical_name(model), None)
        self._allocated.pop(canonical_name(model), None)

    async def limits(self, model: str, *, configured: int) -> ContextLimits:
        """Tell how long the context is, by each who says so.

        What is allocated counts when it was seen after a call of ours, or is enough anyway: less
        than we ask for, seen before, is another client's choice, and ends with our next call.
        """
        name = canonical_name(model)
        if name in self._called or name not in self._allocated:
            await self._look(name, configured)
        shown = await self.known(model)
        return ContextLimits(
            configured=configured,
            trained=shown.trained if shown is not None else None,
            allocated=self._allocated.get(name),
        )

    async def is_loaded(self, model: str) -> bool:
        """Tell whether a model is loaded now; False when nobody tells.

        After a call of ours it is not asked for: a look costs a request in front of every call.
        """
        name = canonical_name(model)
        if monotonic_s() - self._used_at_s.get(name, float("-inf")) < USED_KEPT_S:
            return True
        return name in await self._read_loaded()

    async def _look(self, name: str, configured: int) -> None:
        async with self._looking:
            if monotonic_s() - self._looked_at_s < LOADED_KEPT_S:
                return
            self._looked_at_s = monotonic_s()
            found = await self._read_loaded()
        for one, tokens in found.items():
            if tokens and (one in self._called or tokens >= configured):
                self._allocated[one] = tokens
        self._called -= found.keys()
        if name not in found:
            self._allocated.pop(name, None)

    async def _read_loaded(self) -> Mapping[str, int]:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return read_loaded(await self._ask_loaded())
        except (AgencyError, TimeoutError):
            return {}


def read_shown(found: Mapping[str, Any], *, at_s: float) -> Shown:
    """Read an answer of ``/api/show``; what is missing or odd counts as not told."""
    told = found.get("capabilities")
    return Shown(
        capabilities=frozenset(str(word) for word in told) if isinstance(told, list) else None,
        trained=_trained(found.get("model_info")),
        is_remote=bool(found.get("remote_host") or found.get("remote_model")),
        at_s=at_s,
    )


def _trained(info: object) -> int | None:
    """Find ``<architecture>.context_length`` among the flat keys of a GGUF file."""
    if not isinstance(info, dict):
        return None
    exact = info.get(f"{info.get('general.architecture')}.context_length")
    others = [value for key, value in info.items() if str(key).endswith(".context_length")]
    for value in (exact, *others):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def read_loaded(found: Mapping[str, Any]) -> dict[str, int]:
    """Read an answer of ``/api/ps``: contexts by model; 0 where an old server does not tell."""
    listed = found.get("models")
    loaded: dict[str, int] = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict):
            name = str(entry.get("model") or entry.get("name") or "")
            tokens = entry.get("context_length")
            loaded[canonical_name(name)] = tokens if isinstance(tokens, int) else 0
    return {name: tokens for name, tokens in loaded.items() if name}
