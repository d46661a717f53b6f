"""What an agent's run does, told to people as it does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agency.cli.talk.screen import Screen

ARGUMENT_CHARACTERS = 60
CALL_CHARACTERS = 110
RESULT_CHARACTERS = 160
"""Of a result in a conversation: the whole is in `agency runs show --steps`."""
_MARKS = {"pending": "[ ]", "in_progress": "[>]", "done": "[x]"}
_CALL = re.compile(r"call-\d+\.\d+(?:\.(?:\d+|end))?#")
_LIKE_A_CALL = ("{", "[", "<", "```")
"""Weak models write calls as text. What begins like one is shown when it is known what it is."""

Record = Mapping[str, Any]


@dataclass(slots=True)
class Gauge:
    """How full the context is, and of which model; empty while nothing is known."""

    model: str = ""
    is_rehearsal: bool = False
    used: int = 0
    limit: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """Say it on one line."""
        name = f"{self.model} (rehearsal)" if self.is_rehearsal else self.model
        if not self.limit:
            return name
        share = round(100 * self.used / self.limit)
        return f"{name}, context {self.used} of {self.limit} tokens ({share} %)"


class Story:
    """Tells what happens in one run and its helpers.

    Attributes:
        gauge: As it was at the last reply.
        todos: The list of what is to be done, as it was last.
    """

    def __init__(self, screen: Screen, *, has_text: bool = True, is_quiet: bool = False) -> None:
        """Tell it on a screen.

        Args:
            has_text: Show what the model says, too.
            is_quiet: Tell nothing but what the model says.
        """
        self._screen = screen
        self._has_text = has_text
        self._is_quiet = is_quiet
        self.gauge = Gauge()
        self.todos: Sequence[Mapping[str, str]] = ()
        self._streamed: dict[str, str] = {}
        self._told: set[str] = set()
        self._turn = 0
        self._pending: set[str] = set()

    # --- what was heard ---------------------------------------------------------------------

    def begin(self) -> None:
        """Begin with another run."""
        self._streamed.clear()
        self._told.clear()
        self._turn = 0
        self._pending.clear()

    def tell(
        self, update: Mapping[str, Any], read: Callable[[], Any], *, helper: bool = False
    ) -> None:
        """Tell an update.

        Args:
            read: Reads the result of the update's step, when the update does not hold it.
            helper: It is one of a helper's.
        """
        key, kind = update.get("key", ""), update["type"]
        match kind:
            case "token":
                if not helper:
                    self._token(key, update["text"])
            case "step" if key.startswith("reply#"):
                if not helper:
                    self._reply(key, _record(update, read))
            case "step" if _CALL.match(key):
                self._call(key, _record(update, read), helper=helper)
            case "failure" if _CALL.match(key) and not helper:
                self._settle(key)
            case "attempt":
                self._forget(key)
                data = update["data"] if isinstance(update["data"], dict) else {}
                why = data.get("message") or data.get("code") or ""
                self.note(f"~ {key.partition('#')[0]} failed and is tried again. {why}".rstrip())
            case "progress":
                self._progress(update["data"])
            case _:
                pass

    def cut_off(self) -> None:
        """Take note that nothing is heard for now: what is being said may be said anew."""
        self._screen.close_line()
        self._streamed.clear()
        self._told.clear()

    def note(self, text: str, style: str = "faint") -> None:
        """Tell something about the run."""
        if not self._is_quiet:
            self._screen.line(text, style)

    # --- the model --------------------------------------------------------------------------

    def _token(self, key: str, text: str) -> None:
        if not self._has_text:
            return
        if _CALL.match(key):
            # What a tool writes while it runs; its result has it again, in short.
            self._screen.status(text.strip().rpartition("\n")[2])
            return
        if not key.startswith("reply#"):
            return
        self._streamed[key] = self._streamed.get(key, "") + text
        self._stream(key, text)

    def _stream(self, key: str, text: str) -> None:
        """Write what was added to a reply, as soon as all that came before it is told."""
        whole = self._streamed.get(key, "").lstrip()
        is_early = bool(self._pending) or int(key.partition("#")[2]) > self._turn + 1
        if is_early or not whole or whole.startswith(_LIKE_A_CALL):
            return
        self._screen.piece(text if key in self._told else whole)
        self._told.add(key)

    def _forget(self, key: str) -> None:
        if self._streamed.pop(key, "") and key in self._told:
            self._told.discard(key)
            self._screen.close_line()

    def _reply(self, key: str, record: Record) -> None:
        self._turn = int(key.partition("#")[2])
        judgement = record.get("judgement") or {}
        calls = judgement.get("calls") or ()
        gauge = record.get("gauge") or {}
        self.gauge = Gauge(
            model=record.get("model") or self.gauge.model,
            is_rehearsal=bool(record.get("rehearsal")),
            used=gauge.get("used") or 0,
            limit=gauge.get("limit") or 0,
            parts=gauge.get("parts") or {},
        )
        verdict = judgement.get("verdict")
        if self._has_text and verdict in {"calls", "final"}:
            self._rest_of(key, str(judgement.get("text") or ""))
        if verdict not in {"calls", "final"}:
            why = judgement.get("trouble") or (record.get("error") or {}).get("code") or ""
            why = f" ({str(why).replace('_', ' ')})" if why else ""
            self.note(f"~ the reply could not be used{why}")
        self._pending = {f"call-{self._turn}.{position}" for position in range(len(calls))}

    def _rest_of(self, key: str, text: str) -> None:
        """Write what of a text was not streamed: all of it after a break in the stream."""
        text = text.strip()
        streamed = self._streamed.pop(key, "").strip() if key in self._told else ""
        if text.startswith(streamed):
            self._screen.piece(text[len(streamed) :])
        elif text and not streamed.startswith(text):
            self._screen.close_line()
            self._screen.piece(text)
        self._screen.close_line()

    # --- tools ------------------------------------------------------------------------------

    def _settle(self, key: str) -> None:
        """Take note that a call has come to its end: what was said after it may be told."""
        self._pending.discard(".".join(key.partition("#")[0].split(".")[:2]))
        if not self._pending:
            self._stream(f"reply#{self._turn + 1}", "")

    def _call(self, key: str, record: Record, *, helper: bool) -> None:
        if "asks" in record:
            return
        if "tool" in record:
            self._tell_call(record, helper=helper)
        if not helper:
            self._settle(key)

    def _tell_call(self, record: Record, *, helper: bool) -> None:
        indent = "  | " if helper else ""
        todos = record.get("todos")
        if todos is not None and not helper:
            self._show_todos(todos)
            return
        sign = "x" if record.get("is_error") else "+"
        self.note(f"{indent}{sign} {_call_text(record)}")
        result = _shortened(str(record.get("content") or ""), RESULT_CHARACTERS)
        if result:
            self.note(f"{indent}    {result}")
        weak = [
            f"{name} {level}"
            for name, level in (record.get("sandbox") or {}).items()
            if level != "enforced"
        ]
        if weak:
            self.note(f"{indent}    sandbox: {', '.join(weak)}", "warning")

    def _show_todos(self, todos: Sequence[Mapping[str, str]]) -> None:
        if list(todos) == list(self.todos):
            return
        self.todos = list(todos)
        for line in todo_lines(todos):
            self.note(line)

    def _progress(self, data: Any) -> None:  # noqa: ANN401  JSON value
        if self._is_quiet or not isinstance(data, dict):
            return
        words = [str(data.get("note") or "working")]
        if data.get("total"):
            words.append(f"{data.get('done', 0)} of {data['total']} done")
        self._screen.status(f"… {', '.join(words)}")


def todo_lines(todos: Sequence[Mapping[str, str]]) -> list[str]:
    """Write a list of what is to be done."""
    return [f"{_MARKS.get(one['status'], '[ ]')} {one['text']}" for one in todos]


def _record(update: Mapping[str, Any], read: Callable[[], Any]) -> Record:
    data = update["data"]
    if data is None and update.get("data_bytes", 0) > len("null"):
        data = read()
    return data if isinstance(data, dict) else {}


def _call_text(record: Record) -> str:
    arguments = record.get("arguments")
    told = [
        f"{name}={_value(value)}"
        for name, value in (arguments.items() if isinstance(arguments, dict) else ())
    ]
    text = _shortened(f"{record['tool']}({', '.join(told)})", CALL_CHARACTERS)
    seconds = record.get("seconds")
    return f"{text}  {seconds:.1f} s" if isinstance(seconds, int | float) else text


def _value(value: Any) -> str:  # noqa: ANN401  JSON value
    import orjson

    return _shortened(orjson.dumps(value).decode(), ARGUMENT_CHARACTERS)


def _shortened(text: str, characters_max: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
