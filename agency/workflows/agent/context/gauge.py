"""How full a context is, and of what: for watchers, the record, and advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.core.records import dataclass
from agency.ports.model import ChatMessage, ChatRequest
from agency.workflows.agent.context.budget import Budget
from agency.workflows.agent.context.estimate import (
    TokenMeter,
    images_of,
    units_of_message,
    units_of_tools,
)
from agency.workflows.agent.context.transcript import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Tokens of a prompt, estimated.

    Attributes:
        used: Of the whole prompt.
        limit, reserve: See `agency.workflows.agent.context.budget.Budget`.
        system, tools, history, tail: Parts of it: the system prompt; the tools; what was said;
            what is written anew each turn (todos, notes, corrections, the schema).
        units: Weight of the whole prompt, to learn from what the server counts.
        images: Pictures in it.
    """

    used: int
    limit: int
    reserve: int
    system: int
    tools: int
    history: int
    tail: int
    units: int
    images: int = 0

    @property
    def fits(self) -> bool:
        """The prompt leaves the reserve free."""
        return self.used <= self.limit - self.reserve

    def record(self) -> dict[str, Any]:
        """Write it as JSON, for the reply's record and for updates."""
        return {
            "used": self.used,
            "limit": self.limit,
            "reserve": self.reserve,
            "parts": {
                "system": self.system,
                "tools": self.tools,
                "history": self.history,
                "tail": self.tail,
            },
            "units": self.units,
            "images": self.images,
        }


def measure(
    request: ChatRequest, transcript: Transcript, budget: Budget, meter: TokenMeter
) -> Gauge:
    """Measure a request that is made of a transcript and of other things.

    The transcript is not weighed again: what takes time is the rest, which is short.

    Args:
        request: As it will be sent, with what is beside the transcript: the system prompt before
            it, and what comes after. Its messages may have been told otherwise (action mode).
        transcript: What of it is the conversation.
        budget: Of the model.
        meter: Of the model.
    """
    messages = request.messages
    system = sum(units_of_message(one) for one in messages[:1] if one.role == "system")
    said = transcript.messages
    start = 1 if system else 0
    is_verbatim = len(messages) >= start + len(said) and (
        not said or (messages[start] is said[0] and messages[start + len(said) - 1] is said[-1])
    )
    if is_verbatim:
        history = transcript.units
        rest: Sequence[ChatMessage] = messages[start + len(said) :]
    else:
        history = 0
        rest = messages[start:]
    tail = sum(units_of_message(one) for one in rest)
    images = images_of(rest) + (transcript.images if is_verbatim else 0)
    tools = units_of_tools(request.tools)
    if request.response_schema is not None:
        from agency.core import json

        tail += len(json.encode(request.response_schema)) + 60
    units = system + tools + history + tail
    return Gauge(
        used=meter.tokens(units, images=images),
        limit=budget.limit,
        reserve=budget.reserve,
        system=meter.tokens(system),
        tools=meter.tokens(tools),
        history=meter.tokens(history),
        tail=meter.tokens(tail),
        units=units,
        images=images,
    )
