"""Scripted answers, with a switch for every surprise of the real server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CALL_STYLES = ("own_line", "one_each", "last_line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call; ``arguments`` may be anything, to play a server that breaks its word."""

    name: str
    arguments: Any = field(default_factory=dict)
    id: str = ""
    index: int | None = None

    def written(self) -> dict[str, Any]:
        function: dict[str, Any] = {"name": self.name, "arguments": self.arguments}
        if self.index is not None:
            function = {"index": self.index, **function}
        return {"id": self.id, "function": function} if self.id else {"function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer of ``POST /api/chat`` or ``/api/embed``.

    Attributes:
        when: Text that the last user message must hold; empty for any.
        times: How often it is used; 0 for ever.
        content, thinking: Pieces, one line each; each counts as a token.
        calls_on: The calls share a line before the last one, have one each, or are on the last.
        done_reason: ``length`` is also set by itself when num_predict is used up.
        counts: Whether the last line has counts of tokens.
        status, error, more: A refusal before the first byte; ``more`` are further fields of it.
        body, content_type, headers: What a proxy says instead, word for word.
        error_line: Comes in place of the last line.
        ends: ``done``; ``early`` without the last line; ``broken`` by a torn connection.
        dies: The connection is torn before any header.
        hold_before_headers: Wait there until the test opens ``fake.gate``.
        hold_after: Wait there after so many lines (0: right after the headers).
        lines: Raw lines, word for word, in place of all that is made from the above.
        cut_bytes: Cut the stream into pieces of so many bytes, each sent by itself.
        in_one: Send all lines in one piece.
        blank_lines: Put blank lines in between.
    """

    when: str = ""
    times: int = 1
    content: Sequence[str] | str = ()
    thinking: Sequence[str] = ()
    tool_calls: Sequence[Call] = ()
    calls_on: Literal["own_line", "one_each", "last_line"] = "own_line"
    done_reason: str = "stop"
    counts: bool = True
    status: int = 200
    error: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)
    error_line: str = ""
    ends: Literal["done", "early", "broken"] = "done"
    dies: bool = False
    hold_before_headers: bool = False
    hold_after: int | None = None
    lines: Sequence[str] | None = None
    cut_bytes: int = 0
    in_one: bool = False
    blank_lines: bool = False

    @property
    def pieces(self) -> Sequence[str]:
        if isinstance(self.content, str):
            return [self.content] if self.content else []
        return self.content


def parse_turn(found: Mapping[str, Any]) -> Turn:
    """Make a turn from JSON; unknown keys are a ``TypeError``."""
    calls = [Call(**call) for call in found.get("tool_calls", ())]
    return Turn(**{**found, "tool_calls": calls})


class Turns:
    """Turns that are used up one after the other."""

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self._left: list[list[Any]] = []
        self.extend(turns)

    def extend(self, turns: Sequence[Turn]) -> None:
        self._left.extend([turn, turn.times or -1] for turn in turns)

    def __len__(self) -> int:
        return len(self._left)

    def take(self, message: str) -> Turn | None:
        """Take the first that fits the last user message."""
        for entry in self._left:
            turn: Turn = entry[0]
            if turn.when in message:
                entry[1] -= 1
                if entry[1] == 0:
                    self._left.remove(entry)
                return turn
        return None
