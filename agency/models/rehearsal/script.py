"""Scripts for the rehearsal: which message gets which answer.

The format is described in ``docs/how-to/rehearsal.md``. A file is read as a whole before anything
of it is used, and all its faults are reported at once, each with its place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import tomli

from agency.core import json
from agency.core.records import dataclass
from agency.errors import ConfigurationInvalid, Fault
from agency.ports.model import ChatRequest, ToolCall

FILE_BYTES_MAX = 4 * 1024 * 1024
DELAY_S_MAX = 3600.0

FAILURES = (
    "model_unavailable",
    "model_interrupted",
    "model_busy",
    "model_crashed",
    "model_timed_out",
    "model_not_found",
    "model_refused",
    "context_too_long",
    "model_reply_broken",
    "model_call_malformed",
    "model_reply_empty",
    "model_reply_cut",
)
"""What a rule may fail with: the codes of the errors that a provider raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a rule applies: all that is set must hold.

    Attributes:
        contains: Text inside the last user message, without regard to case.
        matches: Regular expression that is searched in the last user message.
        turn: Which answer of the conversation this is, from 1.
        model: Name of the model asked for.
        tool_offered: Name of a tool that the request offers.
        tool_result: Name of the tool whose result is the last message.
    """

    contains: str | None = None
    matches: re.Pattern[str] | None = None
    turn: int | None = None
    model: str | None = None
    tool_offered: str | None = None
    tool_result: str | None = None

    def holds(self, request: ChatRequest) -> bool:
        """Tell whether the rule applies to ``request``."""
        message = last_user_message(request)
        last = request.messages[-1] if request.messages else None
        result_of = last.tool_name if last is not None and last.role == "tool" else None
        return all(
            (
                self.contains is None or self.contains.lower() in message.lower(),
                self.matches is None or self.matches.search(message) is not None,
                self.turn is None or self.turn == turn_of(request),
                self.model is None or self.model == request.model,
                self.tool_offered is None
                or any(tool.name == self.tool_offered for tool in request.tools),
                self.tool_result is None or self.tool_result == result_of,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One scripted answer.

    Attributes:
        place: Where it stands, for messages: ``rules[0]``, or its name.
        times: How often it is used at most, counted since the daemon started; 0 for ever.
        delay_s: Seconds before the answer begins.
        fail: One of `FAILURES`, instead of an answer.
    """

    place: str
    when: Condition = field(default_factory=Condition)
    reply: str = ""
    thinking: str = ""
    tool_calls: Sequence[ToolCall] = ()
    ended_by: str = "stop"
    delay_s: float = 0.0
    times: int = 0
    fail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Rules in their order; the first that applies answers."""

    rules: Sequence[Rule] = ()


def last_user_message(request: ChatRequest) -> str:
    """Find the text of the last message of role user; empty when there is none."""
    for message in reversed(request.messages):
        if message.role == "user":
            return message.content
    return ""


def turn_of(request: ChatRequest) -> int:
    """Count which answer of the conversation is wanted, from 1."""
    return 1 + sum(message.role == "assistant" for message in request.messages)


def load_script(path: Path) -> Script:
    """Read a script; JSON when the name ends in ``.json``, else TOML.

    Raises:
        ConfigurationInvalid: the file cannot be read or has faults; all of them are named.
    """
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _invalid(path, [Fault("", f"It cannot be read: {error.strerror}.")]) from error
    if len(text) > FILE_BYTES_MAX:
        raise _invalid(path, [Fault("", f"It has more than {FILE_BYTES_MAX} bytes.")])
    return parse_script(text, path)


def parse_script(text: bytes, path: Path) -> Script:
    """Turn the text of the file ``path`` into a script.

    Raises:
        ConfigurationInvalid: as `load_script`.
    """
    is_json = path.suffix.lower() == ".json"
    try:
        found = json.decode(text) if is_json else tomli.loads(text.decode())
    except (json.NotJson, tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if is_json else "TOML"
        raise _invalid(path, [Fault("", f"It is not {kind}: {error}.")]) from error
    reader = _Reader()
    script = reader.script(found)
    if reader.faults:
        raise _invalid(path, reader.faults)
    return script


class _Reader:
    """Turns values into rules and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def script(self, value: object) -> Script:
        table = self._table(value, "", ("rules",))
        rules = table.get("rules", [])
        if not isinstance(rules, list):
            self._fault("rules", "It is a list of rules.", "Write [[rules]] before each one.")
            return Script()
        return Script(rules=[self._rule(rule, f"rules[{i}]") for i, rule in enumerate(rules)])

    def _rule(self, value: object, place: str) -> Rule:
        known = [name.name for name in fields(Rule) if name.name != "place"]
        table = self._table(value, place, ("name", *known))
        name = self._text(table, place, "name") or ""
        rule = Rule(
            place=f"{place} ({name})" if name else place,
            when=self._condition(table.get("when", {}), f"{place}.when"),
            reply=self._text(table, place, "reply") or "",
            thinking=self._text(table, place, "thinking") or "",
            tool_calls=self._calls(table.get("tool_calls", []), f"{place}.tool_calls"),
            ended_by=self._text(table, place, "ended_by") or "stop",
            delay_s=self._number(table, place, "delay_s", most=DELAY_S_MAX),
            times=int(self._number(table, place, "times", is_whole=True)),
            fail=self._text(table, place, "fail"),
        )
        self._check(rule, place, table)
        return rule

    def _check(self, rule: Rule, place: str, table: Mapping[str, Any]) -> None:
        if rule.ended_by not in {"stop", "length"}:
            self._fault(f"{place}.ended_by", "It is stop or length.")
        if rule.fail is not None and rule.fail not in FAILURES:
            self._fault(f"{place}.fail", f"It is one of {', '.join(FAILURES)}.")
        answers = [name for name in ("reply", "tool_calls", "thinking") if name in table]
        if rule.fail is not None and answers:
            self._fault(place, f"It has fail and {answers[0]}; a rule fails or answers.")
        if rule.fail is None and not rule.reply and not rule.tool_calls and table:
            self._fault(place, "It has no answer.", "Add reply, tool_calls or fail.")

    def _condition(self, value: object, place: str) -> Condition:
        table = self._table(value, place, [name.name for name in fields(Condition)])
        pattern = self._text(table, place, "matches")
        turn = self._number(table, place, "turn", is_whole=True, least=1) or None
        return Condition(
            contains=self._text(table, place, "contains"),
            matches=self._pattern(pattern, f"{place}.matches"),
            turn=int(turn) if turn is not None else None,
            model=self._text(table, place, "model"),
            tool_offered=self._text(table, place, "tool_offered"),
            tool_result=self._text(table, place, "tool_result"),
        )

    def _pattern(self, text: str | None, place: str) -> re.Pattern[str] | None:
        if text is None:
            return None
        try:
            return re.compile(text)
        except re.error as error:
            self._fault(place, f"It is not a regular expression: {error}.")
            return None

    def _calls(self, value: object, place: str) -> list[ToolCall]:
        if not isinstance(value, list):
            self._fault(place, "It is a list of calls.", 'Write [{name = "tool", arguments = {}}].')
            return []
        calls: list[ToolCall] = []
        for i, entry in enumerate(value):
            here = f"{place}[{i}]"
            table = self._table(entry, here, ("name", "arguments", "id"))
            name = self._text(table, here, "name") or ""
            if not name and table:
                self._fault(f"{here}.name", "A call needs the name of a tool.")
            arguments = self._table(table.get("arguments", {}), f"{here}.arguments", None)
            call_id = self._text(table, here, "id") or ""
            calls.append(ToolCall(name=name, arguments=arguments, id=call_id))
        return calls

    def _table(self, value: object, place: str, known: Sequence[str] | None) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._fault(place, "It is a table of keys and values.")
            return {}
        for key in value:
            if known is not None and key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
                self._fault(f"{place}.{key}".lstrip("."), "There is no such key.", hint)
        return value

    def _text(self, table: Mapping[str, Any], place: str, key: str) -> str | None:
        value = table.get(key)
        if key in table and not isinstance(value, str):
            self._fault(f"{place}.{key}", "It is a text.")
        return value if isinstance(value, str) else None

    def _number(
        self,
        table: Mapping[str, Any],
        place: str,
        key: str,
        *,
        is_whole: bool = False,
        least: float = 0,
        most: float = 1_000_000,
    ) -> float:
        if key not in table:
            return 0
        value = table[key]
        kinds = int if is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            what = "a whole number" if is_whole else "a number"
            self._fault(f"{place}.{key}", f"It is {what} from {least:g} to {most:g}.")
            return 0
        return float(value)

    def _fault(self, where: str, what: str, hint: str = "") -> None:
        self.faults.append(Fault(where, what, hint))


def _invalid(path: Path, faults: Sequence[Fault]) -> ConfigurationInvalid:
    said = " ".join(
        f"{fault.where}: {fault.what}" if fault.where else fault.what for fault in faults
    )
    return ConfigurationInvalid(
        f"The rehearsal script {str(path)!r} is not usable. {said}",
        faults=[
            Fault(f"{path}: {fault.where}".rstrip(": "), fault.what, fault.hint) for fault in faults
        ],
        hint="Correct the file, or set [llm] rehearsal_script to nothing.",
    )
