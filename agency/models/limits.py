"""The time limits of one call: load, first token, between tokens, total."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from agency.config.schema import Llm
from agency.errors import ModelTimedOut

TOOL_PAUSE_FACTOR = 5.0
"""With tools offered a pause may be this much longer.

Ollama holds a tool call back until it is whole, and writes nothing meanwhile; a model that puts a
whole file into an argument is silent for minutes and healthy.
"""


class Phase(StrEnum):
    """Which limit runs now, by the names that `ModelTimedOut` carries."""

    LOAD = "load"
    FIRST_TOKEN = "first_token"  # noqa: S105  not a password
    BETWEEN_TOKENS = "between_tokens"
    TOTAL = "total"


_HINTS = {
    Phase.LOAD: "Raise [llm] load_timeout_s, choose a smaller model, or see whether the server "
    "is busy with other clients.",
    Phase.FIRST_TOKEN: "Raise [llm] first_token_timeout_s, or shorten the prompt.",
    Phase.BETWEEN_TOKENS: "Raise [llm] between_tokens_timeout_s, or see whether the server hangs.",
    Phase.TOTAL: "Raise [llm] total_timeout_s, or bound the answer with [llm] tokens_max.",
}


class CallLimits:
    """One deadline that moves with the phase of the call, and never beyond the total."""

    def __init__(self, settings: Llm, *, has_tools: bool) -> None:
        """Take the limits of ``settings``."""
        pause_s = settings.between_tokens_timeout_s * (TOOL_PAUSE_FACTOR if has_tools else 1.0)
        self._limits_s = {
            Phase.LOAD: settings.load_timeout_s,
            Phase.FIRST_TOKEN: settings.first_token_timeout_s,
            Phase.BETWEEN_TOKENS: pause_s,
            Phase.TOTAL: settings.total_timeout_s,
        }
        self._timeout = asyncio.timeout(None)
        self._phase = Phase.TOTAL
        self._ends_at = 0.0

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Run the body under the limits; the total begins now.

        Raises:
            ModelTimedOut: a limit was reached.
        """
        self._ends_at = asyncio.get_running_loop().time() + self._limits_s[Phase.TOTAL]
        try:
            async with self._timeout:
                self.enter(Phase.TOTAL)
                yield
        except TimeoutError:
            if not self._timeout.expired():
                raise
            raise ModelTimedOut(
                self._phase.value, self._limits_s[self._phase], hint=_HINTS[self._phase]
            ) from None

    def enter(self, phase: Phase) -> None:
        """Begin ``phase`` now; entering one again starts it anew."""
        wanted_at = asyncio.get_running_loop().time() + self._limits_s[phase]
        self._phase = phase if wanted_at < self._ends_at else Phase.TOTAL
        self._timeout.reschedule(min(wanted_at, self._ends_at))
