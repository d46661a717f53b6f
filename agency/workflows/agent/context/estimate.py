"""How many tokens a prompt has, before the server has counted them.

Tokens go with bytes: tokenizers of today work on UTF-8, so that a letter of Latin weighs one unit,
one of Greek or Cyrillic two, of Chinese three, an emoji four. How many bytes make a token is the
model's, and is learnt from each count that the server reports. A count that is higher than expected
is believed at once, a lower one slowly: servers that reuse a cached prefix may report only the rest
of it (ollama/ollama#2068), and a prompt that is thought too short is cut or refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agency.core import json
from agency.ports.model import ChatMessage, ChatRequest, ToolCall, ToolSpec

BYTES_PER_TOKEN = 3.3
"""Where a model's ratio begins; English prose has some 4.2, code 3, JSON 2.5."""

BYTES_PER_TOKEN_MIN, BYTES_PER_TOKEN_MAX = 0.8, 8.0
"""Ratios beyond these are no ratio but a count of something else."""

MARGIN = 1.15
"""Estimates are this much higher than the ratio says: texts differ from each other."""

MESSAGE_BYTES = 16
"""What a message costs beside its text: role and marks of the template, in units."""

IMAGE_TOKENS = 1_500
"""A picture; models differ from 256 to 2,900, and none says so in advance."""

SAMPLE_BYTES_MIN = 400
"""Shorter prompts say more about the template than about the ratio."""

SLOWNESS = 0.15
"""Share of a lower count that is believed at a time."""

SUSPICIOUS_SHARE = 0.5
"""A count below this share of what is expected means a cached prefix, or a prompt that was cut."""

METERS_MAX = 256
"""Models whose ratios are kept."""


class TokenMeter:
    """Estimates tokens of one model. What it has learnt is in ``bytes_per_token``."""

    def __init__(self, bytes_per_token: float = BYTES_PER_TOKEN) -> None:
        self.bytes_per_token = bytes_per_token

    def tokens(self, units: int, *, images: int = 0) -> int:
        """Estimate tokens from units, with the margin; 0 for nothing."""
        return math.ceil(units / self.bytes_per_token * MARGIN) + images * IMAGE_TOKENS

    def units(self, tokens: int) -> int:
        """Say how many units fit into so many tokens; 0 when ``tokens`` is not above zero."""
        return max(int(tokens * self.bytes_per_token / MARGIN), 0)

    def learn(self, units: int, prompt_tokens: int | None, *, images: int = 0) -> None:
        """Take in what the server has counted for a prompt of so many units.

        A count that is not plausible is not learnt from.

        Args:
            units: Of the request as it was sent, as `units_of_request` says.
            prompt_tokens: As reported; None is no count.
            images: A prompt with pictures teaches nothing about texts.
        """
        if not _is_sample(units, prompt_tokens, images):
            return
        assert prompt_tokens
        found = units / prompt_tokens
        is_ratio = BYTES_PER_TOKEN_MIN <= found <= BYTES_PER_TOKEN_MAX
        if not is_ratio or not self.is_plausible(units, prompt_tokens, images):
            return
        if found < self.bytes_per_token:
            self.bytes_per_token = found
        else:
            self.bytes_per_token += (found - self.bytes_per_token) * SLOWNESS

    def is_plausible(self, units: int, prompt_tokens: int | None, images: int = 0) -> bool:
        """Tell whether a count is not suspiciously low; no count is not."""
        if not _is_sample(units, prompt_tokens, images):
            return True
        assert prompt_tokens
        return prompt_tokens >= units / self.bytes_per_token * SUSPICIOUS_SHARE

    def refused(self, units: int, prompt_tokens: int | None) -> None:
        """Take in that a prompt of so many units was too long, with its count if it was told.

        Without one the ratio gives way a fifth, so that asking again is not the same again.
        """
        if prompt_tokens:
            found = max(units / prompt_tokens, BYTES_PER_TOKEN_MIN)
            self.bytes_per_token = min(self.bytes_per_token, found)
        else:
            self.bytes_per_token = max(self.bytes_per_token * 0.8, BYTES_PER_TOKEN_MIN)


class Meters:
    """The meters of this process, by model: what one run learns serves the others."""

    def __init__(self) -> None:
        self._meters: dict[str, TokenMeter] = {}

    def of(self, model: str) -> TokenMeter:
        """Get the meter of a model; the name with its provider, so that none is mixed up."""
        meter = self._meters.pop(model, None) or TokenMeter()
        while len(self._meters) >= METERS_MAX:
            del self._meters[next(iter(self._meters))]
        self._meters[model] = meter
        return meter


def _is_sample(units: int, prompt_tokens: int | None, images: int) -> bool:
    return bool(prompt_tokens) and not images and units >= SAMPLE_BYTES_MIN


def units_of_text(text: str) -> int:
    """Weigh a text: its bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def units_of_message(message: ChatMessage) -> int:
    """Weigh a message, with its calls; pictures are counted apart."""
    units = MESSAGE_BYTES + units_of_text(message.content) + len(message.tool_name)
    for call in message.tool_calls:
        units += units_of_call(call)
    return units


def units_of_tools(tools: Sequence[ToolSpec]) -> int:
    """Weigh the offered tools, as templates write them: names, descriptions, schemas."""
    return sum(
        MESSAGE_BYTES * 3
        + units_of_text(tool.name)
        + units_of_text(tool.description)
        + len(json.encode(tool.parameters))
        for tool in tools
    )


def units_of_request(request: ChatRequest) -> int:
    """Weigh a whole request, as it is sent."""
    units = sum(units_of_message(message) for message in request.messages)
    units += units_of_tools(request.tools)
    if request.response_schema is not None:
        # Providers show the schema to the model in the system prompt, too.
        units += len(json.encode(request.response_schema)) + 60
    return units


def images_of(messages: Sequence[ChatMessage]) -> int:
    """Count the pictures."""
    return sum(len(message.images) for message in messages)


def units_of_call(call: ToolCall) -> int:
    """Weigh a call, as it stands in a reply."""
    return MESSAGE_BYTES + len(call.name) + len(json.encode(call.arguments))
