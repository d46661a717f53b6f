"""The ladder down which a turn goes until its reply can be used.

native calls → calls in the text → mended JSON → coerced arguments → one more sample, or one turn
that quotes the exact fault → action mode (a schema of tools and the final answer) → an honest stop.

The ladder decides from what is recorded: `judge` and `judge_error` only look, `take` moves. A run
that goes on after a restart takes the recorded judgements again and stands where it stood; a later
version of these rules never judges the past anew.

The loop, for each inference::

    request = ladder.request(base)              # with the tools that are offered
    try:
        reply = await provider.chat(request, on_token=…)
    except AgencyError as error:
        judgement = ladder.judge_error(error, base)
        if judgement is None:
            raise                               # not the model's mistake
    else:
        judgement = ladder.judge(reply, base)
    …record judgement.record(), then:
    ladder.take(judgement)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from agency.errors import AgencyError, ModelStutters
from agency.ports.model import ChatMessage, ChatReply, ChatRequest, ToolSpec
from agency.workflows.agent.calls import judging
from agency.workflows.agent.calls.action_mode import action_schema, transcribe, with_prompt
from agency.workflows.agent.calls.checking import Checker
from agency.workflows.agent.calls.judgement import Judgement, Verdict
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.rungs import Rung, Trouble
from agency.workflows.agent.calls.stutter import Stutter

TOOL_TRIES_MAX = 3
"""Tries of one turn with native tools; after them comes the schema."""

ACTION_TRIES_MAX = 3
"""Tries of one turn in action mode; after them the ladder stops."""

PLAIN_TRIES_MAX = 3
"""Tries of one turn without any tools."""

ACTION_TURNS_TO_STAY = 2
"""Turns in a row that only action mode has served; then the run begins its turns there."""

ACTION_TURNS_KEPT = 6
"""Turns it stays there, before native calls get another chance."""

COOL, WARM = 0.2, 0.9
"""Temperatures of another sample: cooler after a mistake, warmer against repetition."""

TOKENS_FACTOR = 2
"""How much longer a reply may be after one that was cut off."""

_SAMPLED = frozenset(
    {Trouble.MALFORMED, Trouble.EMPTY, Trouble.CUT, Trouble.STUTTER, Trouble.EATEN}
)
_TOLD = frozenset(
    {Trouble.UNREADABLE, Trouble.UNKNOWN_TOOL, Trouble.INVALID_ARGUMENTS, Trouble.HIDDEN}
)
_FREE = frozenset({Trouble.NO_TOOLS, Trouble.NO_SCHEMA, Trouble.NARRATED})
"""These happen once and cost no try."""


@dataclass(slots=True)
class _Turn:
    """What has gone wrong in the turn under way."""

    troubles: list[Trouble] = field(default_factory=list)
    tool_tries: int = 0
    action_tries: int = 0
    exchange: list[ChatMessage] = field(default_factory=list)


class Ladder:
    """Where a run stands with its model. One for each run and model; not shared.

    Attributes:
        counts: How many turns each rung has served.
        troubles: How many replies each trouble has spoilt.
    """

    def __init__(self, *, start: Rung = Rung.NATIVE, checker: Checker | None = None) -> None:
        """Begin.

        Args:
            start: ``action`` for a model whose fitness check says that it cannot call tools.
            checker: To share prepared schemas between runs.
        """
        self.counts: Counter[Rung] = Counter()
        self.troubles: Counter[Trouble] = Counter()
        self._checker = checker or Checker()
        self._turn = _Turn()
        self._calls_natively = start is not Rung.ACTION
        self._has_schema = True
        self._action_turns = 0
        self._stay = 0
        self._tools: tuple[tuple[ToolSpec, ...], OfferedTools] = ((), OfferedTools(()))

    @property
    def is_action_mode(self) -> bool:
        """The next request that offers tools is made in action mode."""
        turn = self._turn
        return (
            not self._calls_natively
            or self._stay > 0
            or turn.action_tries > 0
            or turn.tool_tries >= TOOL_TRIES_MAX
            or any(turn.troubles.count(one) > 1 for one in _SAMPLED)
            or sum(one in _TOLD for one in turn.troubles) > 1
        )

    @property
    def tries(self) -> int:
        """Replies of this turn that could not be used, so far."""
        return len(self._turn.troubles)

    def request(self, base: ChatRequest) -> ChatRequest:
        """Shape the next request: the mode, the sampling, and what was wrong so far.

        Args:
            base: With the tools that are offered, and the conversation without corrections. What
                comes out is what has to fit the context.
        """
        messages = [*base.messages, *self._turn.exchange]
        request = self._sampled(replace(base, messages=messages))
        if not base.tools or not self.is_action_mode:
            return request
        return replace(
            request,
            messages=with_prompt(transcribe(messages), base.tools),
            tools=(),
            response_schema=action_schema(base.tools) if self._has_schema else None,
        )

    def judge(self, reply: ChatReply, base: ChatRequest) -> Judgement:
        """Judge a whole reply to ``request(base)``. Changes nothing, never raises."""
        standing = self._standing(base)
        return self._decided(
            judging.judge_reply(reply, self._offered(base), self._checker, standing), base
        )

    def judge_error(self, error: AgencyError, base: ChatRequest) -> Judgement | None:
        """Judge a call that brought no whole reply. Changes nothing.

        None when it is not the model's mistake: then the error stands.
        """
        judged = judging.judge_error(
            error, self._offered(base), self._checker, self._standing(base)
        )
        return None if judged is None else self._decided(judged, base)

    def take(self, judgement: Judgement) -> None:
        """Move on by a judgement that has been recorded; new ones and old ones alike."""
        if judgement.trouble is not None:
            self.troubles[judgement.trouble] += 1
        match judgement.verdict:
            case Verdict.AGAIN:
                self._take_trouble(judgement)
            case Verdict.CALLS | Verdict.FINAL:
                self.counts[judgement.rung] += 1
                self._end_turn(judgement)
            case Verdict.STOP:
                self._turn = _Turn()
            case _:
                assert_never(judgement.verdict)

    def _offered(self, base: ChatRequest) -> OfferedTools:
        specs = tuple(base.tools)
        if len(specs) != len(self._tools[0]) or any(
            one is not other for one, other in zip(specs, self._tools[0], strict=True)
        ):
            self._tools = (specs, OfferedTools(specs))
        return self._tools[1]

    def _standing(self, base: ChatRequest) -> judging.Standing:
        is_action = bool(base.tools) and self.is_action_mode
        return judging.Standing(
            is_action=is_action,
            is_constrained=is_action and self._has_schema,
            reached=self._reached(),
            troubles=tuple(self._turn.troubles),
            tokens_max=base.tokens_max,
        )

    def _reached(self) -> Rung:
        troubles = self._turn.troubles
        if any(one in _TOLD or one is Trouble.NARRATED for one in troubles):
            return Rung.CORRECTED
        return Rung.RESAMPLED if troubles else Rung.NATIVE

    def _sampled(self, request: ChatRequest) -> ChatRequest:
        troubles = self._turn.troubles
        if not troubles:
            return request
        last = troubles[-1]
        if last not in _FREE:
            is_warm = last in (Trouble.CUT, Trouble.STUTTER)
            request = replace(request, temperature=WARM if is_warm else COOL)
        if request.seed is not None:
            request = replace(request, seed=request.seed + len(troubles))
        if Trouble.EATEN in troubles:
            longer = request.tokens_max * TOKENS_FACTOR if request.tokens_max else None
            request = replace(request, think=_less_thinking(request), tokens_max=longer)
        return request

    def _decided(self, judged: Judgement, base: ChatRequest) -> Judgement:
        """Stop instead of asking again, when everything has been tried."""
        if judged.verdict is not Verdict.AGAIN or judged.trouble in _FREE:
            return judged
        if judged.is_action:
            is_over = self._turn.action_tries + 1 >= ACTION_TRIES_MAX
        else:
            is_over = not base.tools and self._turn.tool_tries + 1 >= PLAIN_TRIES_MAX
        if not is_over:
            return judged
        assert judged.trouble is not None
        return Judgement(
            verdict=Verdict.STOP,
            rung=judged.rung,
            text=_report([*self._turn.troubles, judged.trouble], base.model),
            trouble=judged.trouble,
            said=judged.said,
            is_action=judged.is_action,
        )

    def _take_trouble(self, judgement: Judgement) -> None:
        trouble = judgement.trouble
        assert trouble is not None
        self._turn.troubles.append(trouble)
        self._turn.exchange = judgement.exchange()
        if trouble is Trouble.NO_TOOLS:
            self._calls_natively = False
        elif trouble is Trouble.NO_SCHEMA:
            self._has_schema = False
        elif judgement.is_action:
            self._turn.action_tries += 1
        elif trouble not in _FREE:
            self._turn.tool_tries += 1

    def _end_turn(self, judgement: Judgement) -> None:
        self._turn = _Turn()
        if self._stay > 0:
            self._stay -= 1
            if self._stay == 0:
                # One more turn that needs the schema, and the run stays there again.
                self._action_turns = ACTION_TURNS_TO_STAY - 1
        elif judgement.rung is Rung.ACTION:
            self._action_turns += 1
            if self._action_turns >= ACTION_TURNS_TO_STAY:
                self._stay = ACTION_TURNS_KEPT
        else:
            self._action_turns = 0


def watched(model: str, on_token: Callable[[str], None] | None) -> Callable[[str], None]:
    """Make an ``on_token`` that ends a stream which repeats itself without end.

    Raises:
        ModelStutters: out of the stream, which closes it; `Ladder.judge_error` knows what to do.
    """
    stutter = Stutter()

    def hear(piece: str) -> None:
        if on_token is not None:
            on_token(piece)
        unit = stutter.feed(piece)
        if unit is not None:
            raise ModelStutters(model, unit[:60])

    return hear


def _less_thinking(request: ChatRequest) -> bool | str:
    # gpt-oss takes only levels and ignores false (Ollama's documentation of thinking).
    return "low" if "gpt-oss" in request.model.lower() else False


def _report(troubles: list[Trouble], model: str) -> str:
    counted = ", ".join(
        f"{count} x {trouble.value.replace('_', ' ')}"
        for trouble, count in Counter(troubles).items()
    )
    return (
        f"The model {model!r} gave no usable reply in {len(troubles)} tries, the last ones bound "
        f"to a schema where there are tools: {counted}."
    )
