"""Was a prompt cut in silence? A look at what the server says that it has read."""

from __future__ import annotations

from agency.ports.model import ChatRequest

CHARACTERS_PER_TOKEN = 4.0
"""Of plain English; most else has fewer."""

SHORTFALL = 0.5
"""A server that reports fewer than this share of the tokens estimated is doubted. Some leave out
what they had in their cache, so a small shortfall says nothing."""


def is_prompt_doubtful(request: ChatRequest, prompt_tokens: int | None, num_ctx: int) -> bool:
    """Tell whether a prompt that may not have fitted was reported much shorter than it is.

    Args:
        request: What was sent.
        prompt_tokens: As the server counted; None when it did not say.
        num_ctx: The context that was asked for.
    """
    if prompt_tokens is None:
        return False
    characters = sum(len(message.content) for message in request.messages)
    estimate = characters / CHARACTERS_PER_TOKEN
    return estimate > num_ctx and prompt_tokens < SHORTFALL * estimate
