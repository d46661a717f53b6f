"""How much of a context a prompt may fill."""

from __future__ import annotations

from agency.core.records import dataclass
from agency.ports.model import ContextLimits

TOKENS_UNKNOWN = 4_096
"""Taken where nobody knows the limit: what Ollama gives on small machines."""

BUCKETS = (4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""Sizes of ``num_ctx``. Another value loads the model anew, so there are few."""

REPLY_TOKENS = 1_024
"""Kept for a reply whose length is not limited otherwise."""

THINKING_TOKENS = 1_024
"""Kept beside it for thinking, which counts as reply."""

RESERVE_SHARE_MAX = 0.5
"""The reserve never takes more than this share of the context."""

FULL_SHARE = 0.7
"""Compaction brings a prompt down to this share of what is available, so that it is not needed
again in the next turn."""

RESULTS_SHARE = 0.3
"""All results of one turn together may fill this share; two turns are never touched."""

RESULTS_ROOM_SHARE = 0.35
"""They leave as much of what is beside system prompt, tools and task, which are never touched
either: two turns, and a summary of what was before them."""

RESULT_BYTES_MIN = 400
"""A result is never cut shorter than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Tokens of a context.

    Attributes:
        limit: The smallest of the known limits.
        reserve: Kept for the reply and its thinking.
        decided_by: Which limit it is: ``configured``, ``trained``, ``allocated`` or ``unknown``.
        trained: What the model was made for, for advice; None when unknown.
    """

    limit: int
    reserve: int
    decided_by: str
    trained: int | None = None

    @property
    def available(self) -> int:
        """Tokens for the whole prompt: system, tools, history and all."""
        return self.limit - self.reserve

    @property
    def wanted(self) -> int:
        """Tokens to which a prompt is brought down when it does not fit."""
        return int(self.available * FULL_SHARE)

    def result_tokens(self, calls: int, *, fixed: int = 0) -> int:
        """Tokens that one of ``calls`` results of a turn may fill.

        Args:
            calls: Of the turn.
            fixed: Tokens of what is in every prompt.
        """
        room = max(self.available - fixed, 0) * RESULTS_ROOM_SHARE
        return max(int(min(self.available * RESULTS_SHARE, room)) // max(calls, 1), 1)


def make_budget(
    limits: ContextLimits, *, reply_tokens: int | None = None, thinks: bool = False
) -> Budget:
    """Divide a context.

    Args:
        limits: As the provider tells them; what it does not know is None.
        reply_tokens: Longest reply, thinking included, when it is limited; else None.
        thinks: The model thinks before it answers.
    """
    known = {
        name: tokens
        for name in ("configured", "trained", "allocated")
        if (tokens := getattr(limits, name)) is not None and tokens > 0
    }
    decided_by = min(known, key=lambda name: known[name]) if known else "unknown"
    limit = known.get(decided_by, TOKENS_UNKNOWN)
    reserve = reply_tokens or REPLY_TOKENS + (THINKING_TOKENS if thinks else 0)
    share = RESERVE_SHARE_MAX if reply_tokens else RESERVE_SHARE_MAX / 2
    return Budget(
        limit=limit,
        reserve=min(reserve, int(limit * share)),
        decided_by=decided_by,
        trained=known.get("trained"),
    )


def bucket(tokens: int, *, most: int | None = None) -> int | None:
    """Find the smallest size of a context that holds so many tokens.

    Returns:
        A size of `BUCKETS`, or ``most`` (what the model was made for) where that is smaller; None
        when nothing is large enough.
    """
    for size in BUCKETS:
        fitting = size if most is None else min(size, most)
        if tokens <= fitting:
            return fitting
    return None
