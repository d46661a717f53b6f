"""What a model has been found fit for."""

from __future__ import annotations

from datetime import datetime

from agency.core.records import dataclass

TOOLS_OF_A_WEAK_MODEL = 4
TOOLS_OF_A_FAIR_MODEL = 8
TOOLS_OF_A_STRONG_MODEL = 24
"""Tools offered in one turn. Source: reports on small models that lose their way among more than
three to eight tools (notes on agents, section 5)."""

FITNESS_ROWS_MAX = 1000
"""Models whose outcome is kept; the oldest are forgotten first."""

FAIR_SCORE = 0.5
STRONG_SCORE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The outcome of one check of one model.

    Scores are shares of the tries that went well, 0 to 1; None for what could not be tried.

    Attributes:
        digest: Which weights they were, where the provider tells; another digest makes it stale.
        answers: It follows a plain instruction.
        schema: It obeys a JSON Schema that its answer is constrained to.
        tool_call: It calls the one tool that is offered, with the arguments that were asked for.
        tool_choice: It calls the right one of two tools.
        recall: It finds a fact in a long prompt.
        recall_tokens: Length of the longest prompt in which it found it; 0 for none.
        tokens_per_s: Speed of its answers; None where the server does not count.
        load_s: Seconds that loading took when the check began; 0 when it was loaded.
    """

    provider: str
    model: str
    checked_at: datetime
    run_id: str
    digest: str = ""
    answers: float | None = None
    schema: float | None = None
    tool_call: float | None = None
    tool_choice: float | None = None
    recall: float | None = None
    recall_tokens: int = 0
    tokens_per_s: float | None = None
    load_s: float = 0.0

    @property
    def tools_per_turn(self) -> int:
        """Tools that are offered to it in one turn; the rest is found by search."""
        score = min(self.tool_call or 0.0, self.tool_choice or 0.0)
        if score >= STRONG_SCORE and (self.recall or 0.0) >= STRONG_SCORE:
            return TOOLS_OF_A_STRONG_MODEL
        return TOOLS_OF_A_FAIR_MODEL if score >= FAIR_SCORE else TOOLS_OF_A_WEAK_MODEL

    @property
    def calls_natively(self) -> bool:
        """Whether it is worth asking it for native tool calls at all.

        If not, the agent begins with actions that are constrained by a schema, provided that it
        obeys one; a model that can do neither is asked natively, as nothing better is known.
        """
        return (self.tool_call or 0.0) >= FAIR_SCORE or (self.schema or 0.0) < FAIR_SCORE


def fitness_name(model: str) -> str:
    """Write a model's name so that its spellings have one outcome: ``:latest`` is implied."""
    return model.strip().removesuffix(":latest")
