"""Weak models: what they get wrong, class by class, and a server that plays them.

A weak model has a task: calls to be made one after the other, and a last word. Where it stands it
sees from the conversation alone (each result says ``step N done``), so that restarts, corrections
and other ways of telling it do not confuse it. What it wants to say its faults spoil: some always,
some until they are told, some once for each step. Bound to a schema it obeys, because the server's
grammar makes it; unless that is the fault.

Source: the notes on Ollama 0.33, sections 1 and 3, and the issues named there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fake_ollama.server import FakeOllama, Seen
from tests.fake_ollama.turns import Call, Turn, Turns

FINAL = "All is done."

_DONE = re.compile(r"step (\d+) done")
_TASK = re.compile(r"\[task ([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class Intended:
    """A call that the model wants to make."""

    name: str
    arguments: Mapping[str, Any]

    def written(self, *, key: str = "arguments") -> str:
        return json.dumps({"name": self.name, key: dict(self.arguments)})


STEPS: Sequence[Intended] = (
    Intended("add_item", {"index": 1, "name": "pear", "tags": ["fruit"]}),
    Intended("look_up", {"index": 2, "key": "größe"}),
    Intended("add_item", {"index": 3, "name": "fig & <plum>", "tags": ["fruit", "small"]}),
    Intended("add_item", {"index": 4, "name": 'say "hi"\nthere', "tags": []}),
    Intended("look_up", {"index": 5, "key": "price"}),
    Intended("add_item", {"index": 6, "name": "kiwi", "tags": ["green"]}),
)
"""What is done in every task, so that what came of it can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When the model is asked.

    Attributes:
        call: What it wants; None when all is done.
        before: What it has done last.
        tries: Requests with tools of its own at this step, before this one.
        body: The request.
    """

    call: Intended | None
    before: Intended | None
    tries: int
    body: Mapping[str, Any]

    def has_been_told(self, words: str) -> bool:
        """Something that it is shown says so."""
        return any(words in (one.get("content") or "") for one in self.body["messages"])

    @property
    def is_corrected(self) -> bool:
        """The last thing that it is shown is neither the task nor a result."""
        last = self.body["messages"][-1]
        said = last.get("content") or ""
        return last["role"] != "assistant" and not (_DONE.search(said) or _TASK.search(said))

    @property
    def is_thinking(self) -> bool:
        return self.body.get("think") not in (False, "low")


Spoil = Callable[[Moment], Turn | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A class of faults.

    Attributes:
        play: Spoils a reply to a request with tools; None leaves it as it is.
        act: Spoils one that was to obey a schema.
    """

    play: Spoil
    act: Spoil | None = None


def _as_text(write: Callable[[Intended], str]) -> Spoil:
    """The call stands in the text, always."""

    def play(moment: Moment) -> Turn | None:
        return None if moment.call is None else Turn(content=_pieces(write(moment.call)))

    return play


def _natively(change: Callable[[Intended], Call]) -> Spoil:
    """The call is handed out by the server, and is not what it should be, always."""

    def play(moment: Moment) -> Turn | None:
        return None if moment.call is None else Turn(tool_calls=[change(moment.call)])

    return play


def _once(turn: Callable[[Moment], Turn | None]) -> Spoil:
    """At each step the first try is spoilt."""

    def play(moment: Moment) -> Turn | None:
        return turn(moment) if moment.tries == 0 else None

    return play


def _until_told(change: Callable[[Intended], Call]) -> Spoil:
    """It goes wrong until it is told, in whatever words, that it has."""

    def play(moment: Moment) -> Turn | None:
        if moment.call is None or moment.is_corrected:
            return None
        return Turn(tool_calls=[change(moment.call)])

    return play


def _pieces(text: str) -> list[str]:
    return [text[i : i + 7] for i in range(0, len(text), 7)]


def _xml(call: Intended) -> str:
    lines = [
        f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>"
        for key, value in call.arguments.items()
    ]
    body = "\n".join(lines)
    return f"<tool_call>\n<function={call.name}>\n{body}\n</function>\n</tool_call>"


def _python(call: Intended) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in call.arguments.items())
    return f"[{call.name}({given})]"


def _broken(call: Intended) -> str:
    return "<tool_call>\n" + call.written()[:-2] + ",}\n</tool_call>"


def _numbers(call: Intended) -> Call:
    return Call(
        name=call.name,
        arguments={
            key: str(value) if isinstance(value, int) else value
            for key, value in call.arguments.items()
        },
    )


def _lists(call: Intended) -> Call:
    return Call(
        name=call.name,
        arguments={
            key: json.dumps(value) if isinstance(value, list) else value
            for key, value in call.arguments.items()
        },
    )


def _single(call: Intended) -> Call:
    return Call(
        name=call.name,
        arguments={
            key: value[0] if isinstance(value, list) and len(value) == 1 else value
            for key, value in call.arguments.items()
        },
    )


def _misspelt(call: Intended) -> Call:
    names = {"index": "Index", "name": "item_name", "tags": "tag", "key": "keys"}
    return Call(
        name=call.name, arguments={names[key]: value for key, value in call.arguments.items()}
    )


def _without_last(call: Intended) -> Call:
    return Call(name=call.name, arguments=dict(list(call.arguments.items())[:1]))


def _unreadable(moment: Moment) -> Turn | None:
    raw = moment.call.written()[:40] if moment.call is not None else "{"
    text = f"error parsing tool call: raw='{raw}', err=unexpected end of JSON input"
    return Turn(status=500, error=text)


def _unreadable_later(moment: Moment) -> Turn | None:
    return Turn(
        content=["Sure. "],
        error_line="error parsing tool call: raw='{', err=unexpected end of JSON input",
    )


def _empty(moment: Moment) -> Turn | None:
    del moment
    # Tokens were spent on what the server's parser has dropped.
    return Turn(content=["", "", ""])


def _eaten(moment: Moment) -> Turn | None:
    if not moment.is_thinking:
        return None
    return Turn(thinking=["Let me ", "think ", "about it ", "again. "], done_reason="length")


def _stutter(moment: Moment) -> Turn | None:
    del moment
    return Turn(content=["I think that "] * 400, done_reason="length")


def _narrated(moment: Moment) -> Turn | None:
    if moment.call is None:
        return None
    return Turn(content=f"Okay. Now I will call {moment.call.name} to go on.")


def _hidden(moment: Moment) -> Turn | None:
    if moment.call is None:
        return None
    return Turn(thinking=["I do it: ", f"<tool_call>{moment.call.written()}</tool_call>"])


def _cut(moment: Moment) -> Turn | None:
    if moment.call is None:
        return None
    text = f"<tool_call>\n{moment.call.written()}"
    return Turn(content=_pieces(text[: len(text) * 2 // 3]), done_reason="length")


def _made_up(call: Intended) -> str:
    result = (
        "<tool_response>\nI imagine that it worked, and there are 17 of them.\n</tool_response>"
    )
    return f"<tool_call>\n{call.written()}\n</tool_call>\n{result}\nIt is all done."


def _no_tools(moment: Moment) -> Turn | None:
    name = moment.body["model"]
    text = f"registry.ollama.ai/library/{name} does not support tools"
    return Turn(status=400, error=text)


def _in_circles(moment: Moment) -> Turn | None:
    """It looks up the same again and again, until somebody says so."""
    before = moment.before
    if before is None or before.name != "look_up" or moment.has_been_told("times in a row"):
        return None
    return Turn(tool_calls=[Call(name=before.name, arguments=before.arguments)])


def _sloppy(moment: Moment) -> Turn | None:
    """The schema is ignored: words around it, another spelling, a comma too many."""
    if moment.call is None:
        return Turn(content=f'Here you are:\n```json\n{{"final": "{FINAL}",}}\n```')
    body = moment.call.written(key="parameters")[:-1]
    return Turn(content=_pieces(f"Here you are:\n```json\n{body},}}\n```"))


FAULTS: Mapping[str, Fault] = {
    "call in tags": Fault(
        play=_as_text(lambda call: f"<tool_call>\n{call.written()}\n</tool_call>")
    ),
    "call in a fence": Fault(
        play=_as_text(lambda call: f"I do it:\n```json\n{call.written(key='parameters')}\n```")
    ),
    "bare call": Fault(play=_as_text(lambda call: call.written())),
    "call as XML": Fault(play=_as_text(_xml)),
    "call as Python": Fault(play=_as_text(_python)),
    "broken JSON": Fault(play=_as_text(_broken)),
    "result made up": Fault(play=_as_text(_made_up)),
    "numbers as texts": Fault(play=_natively(_numbers)),
    "lists as texts": Fault(play=_natively(_lists)),
    "arguments as a text": Fault(
        play=_natively(
            lambda call: Call(name=call.name, arguments=json.dumps(dict(call.arguments)))
        )
    ),
    "one value for a list": Fault(play=_natively(_single)),
    "keys misspelt": Fault(play=_natively(_misspelt)),
    "name in another case": Fault(
        play=_natively(
            lambda call: Call(
                name=f"functions.{call.name.title().replace('_', '')}", arguments=call.arguments
            )
        )
    ),
    "unknown tool": Fault(
        play=_until_told(lambda call: Call(name=f"{call.name}_v2", arguments=call.arguments))
    ),
    "arguments missing": Fault(play=_until_told(_without_last)),
    "call unreadable for the server": Fault(play=_unreadable),
    "call unreadable in the stream": Fault(play=_once(_unreadable_later)),
    "call dropped by the server": Fault(play=_empty),
    "stream ends early": Fault(
        play=_once(lambda moment: Turn(content=["It ", "is "], ends="early"))
    ),
    "limit eaten by thinking": Fault(play=_eaten, act=_eaten),
    "endless repetition": Fault(play=_once(_stutter)),
    "call cut off": Fault(play=_once(_cut)),
    "call only thought of": Fault(play=_once(_hidden)),
    "call only announced": Fault(play=_once(_narrated)),
    "no tools of its own": Fault(play=_no_tools),
    "going round in circles": Fault(play=_in_circles),
    "schema ignored": Fault(play=_empty, act=_sloppy),
}
"""The classes, by what is wrong; each task can be completed in spite of them."""

NONE = Fault(play=lambda moment: None)
"""A model that does everything right."""

IMPOSSIBLE: Mapping[str, Fault] = {
    "always empty": Fault(play=_empty, act=_empty),
    "always cut off": Fault(
        play=lambda moment: Turn(content=["It "], ends="early"),
        act=lambda moment: Turn(content=["{"], ends="early"),
    ),
}
"""No task can be completed with these; a run has to say so."""


@dataclass(slots=True)
class WeakModel:
    """One task's model.

    Attributes:
        faults: Of a step the first spoils the first try, the second the next one, and so on in
            turns; or, if they are spread, each spoils every so-manyth step.
    """

    faults: Sequence[Fault]
    is_spread: bool = False
    steps: Sequence[Intended] = STEPS
    _tries: Counter[int] = field(default_factory=Counter)

    def answer(self, body: Mapping[str, Any]) -> Turn:
        step = _step_of(body)
        call = self.steps[step] if step < len(self.steps) else None
        before = self.steps[step - 1] if step else None
        tries = self._tries[step]
        fault, tries = self._fault(step, tries)
        moment = Moment(call=call, before=before, tries=tries, body=body)
        if body.get("format"):
            spoilt = fault.act(moment) if fault.act is not None else None
            return spoilt or Turn(content=_pieces(_action(call)))
        if not body.get("tools"):
            return Turn(content=FINAL)
        self._tries[step] += 1
        spoilt = fault.play(moment)
        if spoilt is not None:
            return spoilt
        if call is None:
            return Turn(content=FINAL)
        return Turn(tool_calls=[Call(name=call.name, arguments=call.arguments, id=f"call_{step}")])

    def _fault(self, step: int, tries: int) -> tuple[Fault, int]:
        """Pick the fault that spoils a try, and count that fault's own tries at this step."""
        count = len(self.faults)
        if self.is_spread:
            return self.faults[step % count], tries
        return self.faults[tries % count], tries // count


class WeakOllama(FakeOllama):
    """A server of weak models: which one answers, the task's name in the conversation decides."""

    def __init__(self, weak: Mapping[str, WeakModel], **more: Any) -> None:
        super().__init__(**more)
        self.weak = weak

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        name = task_of(seen.body)
        if name in self.weak:
            # Taken by the next line, before anybody else has a turn.
            self.turns = Turns([self.weak[name].answer(seen.body)])
        return await super()._chat(request, seen)


def task_of(body: Any) -> str:
    """Name the task that a request is about."""
    for message in body.get("messages") or ():
        found = _TASK.search(message.get("content") or "")
        if found is not None:
            return found[1]
    return ""


def prompt_of(name: str) -> str:
    """Write the task."""
    return f"[task {name}] Do the six steps one after the other, then say {FINAL!r}."


def _step_of(body: Mapping[str, Any]) -> int:
    said = [_DONE.findall(one.get("content") or "") for one in body["messages"]]
    return max((int(number) for found in said for number in found), default=0)


def _action(call: Intended | None) -> str:
    if call is None:
        return json.dumps({"final": FINAL})
    return json.dumps({"tool": call.name, "args": dict(call.arguments)})
