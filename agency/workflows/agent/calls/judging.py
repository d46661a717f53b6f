"""Judging one reply: what is usable in it, and else what is wrong and what to say. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from agency.core.records import dataclass
from agency.errors import (
    AgencyError,
    ModelAnswerUnfit,
    ModelCallMalformed,
    ModelLacks,
    ModelRefused,
    ModelReplyCut,
    ModelReplyEmpty,
    ModelStutters,
)
from agency.ports.model import ChatReply, ToolCall, ToolSpec
from agency.workflows.agent.calls import correction
from agency.workflows.agent.calls.action_mode import Action, read_action
from agency.workflows.agent.calls.checking import Checker
from agency.workflows.agent.calls.judgement import Judgement, Verdict
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.reading import Reading, read_calls, read_text
from agency.workflows.agent.calls.rungs import CallFault, Refused, Rung, Trouble, worse
from agency.workflows.agent.calls.stutter import find_stutter

SAID_CHARACTERS_MAX = 2_000
"""Of a reply that could not be used, which the model is shown again."""

SHOWN_CHARACTERS_MAX = 200
"""Of each text among the arguments of a refused call, when the model is shown it again."""

NARRATION_CHARACTERS_MAX = 600
"""A longer text is an answer, whatever its last sentence says."""

_NARRATION = re.compile(
    r"(?:^|[.!?\n]\s*)(?:(?:ok(?:ay)?|sure|now|first|next|then),?\s+)?"
    r"(?:let me|let's|(?:now\s+)?i(?:'|\u2019)ll|i will|i(?:'|\u2019)m going to|i am going to)\b"
    r"[^.!?\n]{0,200}[.:\u2026]*\s*$",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"let me know|\bif you\b|would you|should i\b|happy to|glad to|when(?:ever)? you|be here",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the ladder stands when a reply comes.

    Attributes:
        is_action: The request was made in action mode.
        is_constrained: … and bound to the schema.
        reached: What it has already taken in this turn; native when nothing.
        troubles: Of the replies of this turn so far.
        tokens_max: Limit of the reply, for what the model is told.
    """

    is_action: bool = False
    is_constrained: bool = False
    reached: Rung = Rung.NATIVE
    troubles: Sequence[Trouble] = field(default=())
    tokens_max: int | None = None


def judge_reply(
    reply: ChatReply, tools: OfferedTools, checker: Checker, standing: Standing
) -> Judgement:
    """Judge a whole reply. ``AGAIN`` says that it is of no use; whether to go on is not decided."""
    if standing.is_action:
        return _judge_action(reply, tools, checker, standing)
    reading = read_calls(reply, tools)
    if reading.calls or reading.faults:
        return _judge_calls(reply, reading, tools, checker, standing)
    return _judge_words(reply, reading, tools, standing)


def judge_error(
    error: AgencyError, tools: OfferedTools, checker: Checker, standing: Standing
) -> Judgement | None:
    """Judge a call that brought no whole reply; None when it is not the model's mistake."""
    match error:
        case ModelAnswerUnfit() if standing.is_action:
            reply = ChatReply(content=error.text, model="", provider="", ended_by=error.ended_by)
            return _judge_action(reply, tools, checker, standing)
        case ModelCallMalformed():
            mended = _from_raw(error.raw, tools, checker, standing)
            return mended or _again(Trouble.MALFORMED, correction.malformed(error.raw), standing)
        case _:
            trouble = _trouble_of(error, tools, standing)
    return (
        None if trouble is None else _again(trouble, _note_on(trouble, tools, standing), standing)
    )


def _trouble_of(error: AgencyError, tools: OfferedTools, standing: Standing) -> Trouble | None:
    match error:
        case ModelReplyEmpty(ended_by="length"):
            return Trouble.EATEN
        case ModelReplyEmpty():
            return Trouble.EMPTY
        case ModelReplyCut():
            return Trouble.CUT
        case ModelStutters():
            return Trouble.STUTTER
        case ModelLacks(capability="tools") if tools.specs and not standing.is_action:
            return Trouble.NO_TOOLS
        case ModelRefused() if standing.is_constrained and not isinstance(error, ModelLacks):
            return Trouble.NO_SCHEMA
        case _:
            return None


def _note_on(trouble: Trouble, tools: OfferedTools, standing: Standing) -> str:
    match trouble:
        case Trouble.EATEN:
            return correction.cut_off(standing.tokens_max)
        case Trouble.EMPTY:
            return correction.empty(has_tools=bool(tools.specs))
        case Trouble.STUTTER:
            return correction.stuttered()
        case _:
            return ""


def _judge_calls(
    reply: ChatReply,
    reading: Reading,
    tools: OfferedTools,
    checker: Checker,
    standing: Standing,
) -> Judgement:
    calls: list[ToolCall] = []
    coerced: list[str] = []
    for i, call in enumerate(reading.calls):
        spec = tools.specs[call.name]
        checked = checker.check(call, spec)
        if checked.faults:
            rest = [call, *reading.calls[i + 1 :]]
            note = correction.refusal(checked.faults, spec)
            if not calls:
                return _again(
                    Trouble.INVALID_ARGUMENTS, note, standing, said=reading.text, attempted=call
                )
            return _made(
                calls, coerced, reading, standing, Trouble.INVALID_ARGUMENTS, _refused(rest, note)
            )
        coerced += [f"{call.name}{one}" for one in checked.coerced]
        calls.append(replace(call, arguments=checked.arguments))
    if not reading.faults:
        return _made(calls, coerced, reading, standing)
    return _judge_fault(reply, reading, calls, coerced, tools, standing)


def _judge_fault(
    reply: ChatReply,
    reading: Reading,
    calls: Sequence[ToolCall],
    coerced: Sequence[str],
    tools: OfferedTools,
    standing: Standing,
) -> Judgement:
    fault = reading.faults[0]
    note = correction.correct(fault, tools)
    rest = reply.tool_calls[len(calls) :]
    if calls:
        # Calls out of a text leave nothing to be answered: the model sees which were made.
        return _made(calls, coerced, reading, standing, fault.trouble, _refused(rest, note))
    if fault.trouble is Trouble.UNREADABLE and reply.ended_by == "length":
        return _again(Trouble.EATEN, correction.cut_off(standing.tokens_max), standing)
    attempted = rest[0] if rest else None
    said = reading.text if attempted is not None else reply.content
    return _again(fault.trouble, note, standing, said=said, attempted=attempted)


def _made(
    calls: Sequence[ToolCall],
    coerced: Sequence[str],
    reading: Reading,
    standing: Standing,
    trouble: Trouble | None = None,
    refused: Sequence[Refused] = (),
) -> Judgement:
    rung = worse(reading.rung, Rung.COERCED) if coerced else reading.rung
    return Judgement(
        verdict=Verdict.CALLS,
        rung=worse(rung, standing.reached),
        calls=calls,
        refused=refused,
        text=reading.text,
        coerced=coerced,
        trouble=trouble,
    )


def _refused(rest: Sequence[ToolCall], note: str) -> list[Refused]:
    notes = [note, *(correction.not_reached(call.name) for call in rest[1:])]
    return [
        Refused(call=shortened(call), note=text) for call, text in zip(rest, notes, strict=False)
    ]


def _judge_words(
    reply: ChatReply, reading: Reading, tools: OfferedTools, standing: Standing
) -> Judgement:
    has_tools = bool(tools.specs)
    is_cut = reply.ended_by == "length"
    if reading.is_hidden:
        return _again(Trouble.HIDDEN, correction.hidden(), standing)
    if is_cut and find_stutter(reading.text) is not None:
        return _again(Trouble.STUTTER, correction.stuttered(), standing)
    if not reading.text:
        if is_cut:
            return _again(Trouble.EATEN, correction.cut_off(standing.tokens_max), standing)
        return _again(Trouble.EMPTY, correction.empty(has_tools=has_tools), standing)
    if has_tools and not is_cut and _is_narration(reading.text, standing):
        return _again(Trouble.NARRATED, correction.narrated(), standing, said=reading.text)
    return Judgement(
        verdict=Verdict.FINAL, rung=standing.reached, text=reading.text, is_whole=not is_cut
    )


def _is_narration(text: str, standing: Standing) -> bool:
    """Tell whether a reply only announces an action. A model that insists is believed."""
    if Trouble.NARRATED in standing.troubles or len(text) > NARRATION_CHARACTERS_MAX:
        return False
    return _NARRATION.search(text) is not None and _OFFER.search(text) is None


def _judge_action(
    reply: ChatReply, tools: OfferedTools, checker: Checker, standing: Standing
) -> Judgement:
    content = reply.content
    if reply.tool_calls:
        # It was offered none, and calls them all the same.
        return _judge_calls(reply, read_calls(reply, tools), tools, checker, standing)
    action = read_action(content, tools)
    if action.final is not None:
        if action.final.strip():
            return Judgement(
                verdict=Verdict.FINAL, rung=Rung.ACTION, text=action.final, is_action=True
            )
        return _again(Trouble.EMPTY, correction.no_action("its answer is empty"), standing)
    if action.call is None:
        return _judge_no_action(reply, action, tools, checker, standing)
    spec = tools.find(action.call.name)
    if spec is None:
        name = action.call.name[:128]
        fault = CallFault(
            trouble=Trouble.UNKNOWN_TOOL, tool=name, what=f"there is no tool {name!r}"
        )
        note = correction.no_action(f"{fault.what}; {correction.nearest(name, tools)}")
        return _again(Trouble.UNKNOWN_TOOL, note, standing, said=content)
    return _judge_act(action.call, spec, content, checker, standing)


def _judge_act(
    call: ToolCall, spec: ToolSpec, content: str, checker: Checker, standing: Standing
) -> Judgement:
    checked = checker.check(call, spec)
    if checked.faults:
        note = correction.no_action(correction.refusal(checked.faults, spec))
        return _again(Trouble.INVALID_ARGUMENTS, note, standing, said=content)
    return Judgement(
        verdict=Verdict.CALLS,
        rung=Rung.ACTION,
        calls=[replace(call, name=spec.name, arguments=checked.arguments)],
        coerced=[f"{spec.name}{one}" for one in checked.coerced],
        is_action=True,
    )


def _judge_no_action(
    reply: ChatReply,
    action: Action,
    tools: OfferedTools,
    checker: Checker,
    standing: Standing,
) -> Judgement:
    """Judge a reply of action mode that is no action.

    A server that ignores the schema brings what the model would have said anyway: a call in one of
    its own wrappers, or words. Words are the answer only when they are insisted on.
    """
    if reply.ended_by == "length":
        note = correction.no_action("it was cut off at its limit, be shorter")
        return _again(Trouble.EATEN, note, standing)
    reading = read_text(reply.content, tools)
    if reading.calls and not reading.faults:
        call = reading.calls[0]
        return _judge_act(call, tools.specs[call.name], reply.content, checker, standing)
    if not reply.content.strip():
        return _again(Trouble.EMPTY, correction.no_action("it is empty"), standing)
    is_insisted = Trouble.NO_ACTION in standing.troubles
    if is_insisted and reading.text and "{" not in reply.content:
        return Judgement(verdict=Verdict.FINAL, rung=Rung.ACTION, text=reading.text, is_action=True)
    note = correction.no_action(action.fault)
    return _again(Trouble.NO_ACTION, note, standing, said=reply.content)


def _from_raw(
    raw: str, tools: OfferedTools, checker: Checker, standing: Standing
) -> Judgement | None:
    """Mend a call that the server could not read, when the server has told all of it."""
    if not raw.strip() or not tools.specs:
        return None
    reading = read_text(raw, tools)
    if not reading.calls or reading.faults:
        return None
    reading = replace(reading, rung=worse(reading.rung, Rung.REPAIRED), text="")
    reply = ChatReply(content=raw, model="", provider="")
    judged = _judge_calls(reply, reading, tools, checker, standing)
    if judged.verdict is not Verdict.CALLS or judged.trouble is not None:
        return None
    return replace(judged, trouble=Trouble.MALFORMED)


def _again(
    trouble: Trouble,
    note: str,
    standing: Standing,
    *,
    said: str = "",
    attempted: ToolCall | None = None,
) -> Judgement:
    return Judgement(
        verdict=Verdict.AGAIN,
        rung=standing.reached,
        trouble=trouble,
        said=said[:SAID_CHARACTERS_MAX],
        attempted=None if attempted is None else shortened(attempted),
        note=note,
        is_action=standing.is_action,
    )


def shortened(call: ToolCall) -> ToolCall:
    """Shorten what a call that is not made would have written: it is in the prompt once more."""
    return replace(call, arguments={key: _cut(value) for key, value in call.arguments.items()})


def _cut(value: Any) -> Any:  # noqa: ANN401  JSON
    match value:
        case str() if len(value) > SHOWN_CHARACTERS_MAX:
            return value[:SHOWN_CHARACTERS_MAX] + " …"
        case Mapping():
            return {key: _cut(inner) for key, inner in list(value.items())[:20]}
        case list():
            return [_cut(inner) for inner in value[:20]]
        case _:
            return value
