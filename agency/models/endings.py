"""Replies that came to nothing, told the same way for all providers."""

from __future__ import annotations

from agency.errors import ModelReplyCut, ModelReplyEmpty

TEXT_CHARACTERS_MAX = 64 * 1024
"""Of a reply that was cut off: what goes into the error."""


def cut_off(model: str, text: str) -> ModelReplyCut:
    """Say that a stream ended without its end; ``text`` is what had come."""
    return ModelReplyCut(
        f"The reply of the model {model!r} is broken: it ended without being finished.",
        text=text[:TEXT_CHARACTERS_MAX],
    )


def empty(
    model: str,
    *,
    ended_by: str,
    reply_tokens: int | None,
    thought: bool,
    tokens_max: int | None,
    setting: str = "[llm] tokens_max or num_ctx",
) -> ModelReplyEmpty:
    """Say that a whole reply holds nothing, and most likely why.

    Args:
        model: Name.
        ended_by: ``stop`` or ``length``.
        reply_tokens: Tokens spent, where the server counts.
        thought: It brought a thought.
        tokens_max: The limit that was sent.
        setting: What to raise.
    """
    spent = f"{reply_tokens} tokens" if reply_tokens else "its tokens"
    hint = None
    if ended_by == "length":
        limit = f"the limit of {tokens_max} tokens" if tokens_max else "its context"
        what = "thought" if thought else "wrote nothing"
        message = (
            f"The model {model!r} {what} until {limit} was used up ({spent}), and gave no answer."
        )
        hint = f"Raise {setting}, or ask with think switched off."
    elif reply_tokens:
        message = (
            f"The reply of the model {model!r} is broken: it is empty although {spent} were spent: "
            "most likely a malformed tool call that the server dropped."
        )
    else:
        message = f"The reply of the model {model!r} is broken: it is empty."
    return ModelReplyEmpty(
        message, ended_by=ended_by, reply_tokens=reply_tokens, thought=thought, hint=hint
    )
