"""Loops: a model that does the same over and over, whatever it says meanwhile.

Judged by what is done, not by what is said: a call counts as the same when tool, arguments and
result are. What is found, and what follows (in this order, the first that applies):

==============  ==============================================  =====  ========  =====
pattern         what it is                                      nudge  withdraw  stuck
==============  ==============================================  =====  ========  =====
``identical``   the same call with the same result, in a row      3       4        5
``cycle``       A-B-A-B, A-B-C-A-B-C …: rounds of 2 to 4 calls    2       3        4
``errors``      one tool fails in the same way, in a row          3       5        7
``failing``     whatever is called fails, in a row                6       -       10
``no_progress``  calls in a row that brought nothing new          12       -       20
==============  ==============================================  =====  ========  =====

Tools that wait are exempt: they are no repetition, and what is looked at after a wait is looked at
for a reason. A person's hint begins everything anew. Source of the rules: OpenHands' stuck detector
and the complaints about it (OpenHands/OpenHands#5355, #5480, #15087), as in the notes.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from agency.core import json
from agency.core.records import dataclass

IDENTICAL = (3, 4, 5)
CYCLE_ROUNDS = (2, 3, 4)
ERRORS = (3, 5, 7)
FAILING = (6, None, 10)
NO_PROGRESS = (12, None, 20)
"""Counts at which a nudge, a withdrawal and the end come; see above."""

PERIOD_MAX = 4
"""Longest round of calls that is recognised."""

SEEN_MAX = 20_000
"""Calls that are remembered as done; a run with more begins to forget all at once."""

SHOWN_CHARACTERS_MAX = 160
"""Of arguments and results that the model is reminded of."""

_TAIL = PERIOD_MAX * CYCLE_ROUNDS[-1]
_VOLATILE = re.compile(r"0x[0-9a-f]+|\d+")


class Remedy(StrEnum):
    """What is done about a loop."""

    NONE = "none"
    NUDGE = "nudge"
    """The model is told what it has tried."""
    WITHDRAW = "withdraw"
    """It is told, and the tools are not offered in its next turn."""
    STUCK = "stuck"
    """The run waits for a hint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found after a call.

    Attributes:
        pattern: See the table above; empty when there is nothing.
        tools: Those that go round.
        text: For the model; of ``stuck`` for the person as well.
    """

    remedy: Remedy = Remedy.NONE
    pattern: str = ""
    tools: frozenset[str] = frozenset()
    text: str = ""


_NOTHING = Finding()


@dataclass(frozen=True, slots=True)
class _Done:
    """A call that was made, in as few bytes as tell it apart."""

    sign: bytes
    tool: str
    shown: str
    result: str


@dataclass(slots=True)
class _Streak:
    """Something that happens again and again."""

    key: object = None
    count: int = 0

    def add(self, key: object) -> int:
        self.count = self.count + 1 if key == self.key else 1
        self.key = key
        return self.count


@dataclass(slots=True)
class Repetition:
    """Watches the calls of one run. Feed it each call that was made, old ones after a restart.

    Attributes:
        exempt: Names of tools that wait or poll.
    """

    exempt: Collection[str] = ()
    _tail: deque[_Done] = field(default_factory=lambda: deque(maxlen=_TAIL))
    _seen: set[bytes] = field(default_factory=set)
    _same: _Streak = field(default_factory=_Streak)
    _errors: _Streak = field(default_factory=_Streak)
    _failing: int = 0
    _old: int = 0

    def add(
        self, tool: str, arguments: Mapping[str, Any], result: str, *, is_error: bool = False
    ) -> Finding:
        """Take in a call with its result, and say what is to be done.

        Time and memory do not depend on how many there were.
        """
        if tool in self.exempt:
            self._forget_rounds()
            return _NOTHING
        canonical = json.encode_canonical(_plain(arguments))
        sign = _digest(tool.encode(), canonical, _settled(result))
        done = _Done(sign, tool, _shown(canonical.decode()), _shown(result))
        self._tail.append(done)
        same = self._same.add(sign)
        self._failing = self._failing + 1 if is_error else 0
        alike = self._errors.add((tool, _VOLATILE.sub("#", result)[:400])) if is_error else 0
        if not is_error:
            self._errors = _Streak()
        self._old = self._old + 1 if sign in self._seen else 0
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen.add(sign)
        return self._find(done, same, alike)

    def forgive(self) -> None:
        """Begin anew: somebody has said something that changes things."""
        self._forget_rounds()
        self._errors = _Streak()
        self._failing = 0
        self._old = 0

    def _forget_rounds(self) -> None:
        self._tail.clear()
        self._same = _Streak()
        self._old = 0

    def _find(self, done: _Done, same: int, alike: int) -> Finding:
        tools = frozenset({done.tool})
        tried = f"{done.tool}({done.shown})"
        findings = [
            _finding(
                "identical",
                _remedy(same, IDENTICAL),
                tools,
                f"You have called {tried} {same} times in a row with the same result: "
                f"{done.result}",
            ),
            self._cycle(),
            _finding(
                "errors",
                _remedy(alike, ERRORS),
                tools,
                f"{done.tool} has failed {alike} times in a row in the same way: {done.result}",
            ),
            _finding(
                "failing",
                _remedy(self._failing, FAILING),
                frozenset(),
                f"The last {self._failing} calls have all failed, the last one, {tried}, with: "
                f"{done.result}",
            ),
            _finding(
                "no_progress",
                _remedy(self._old, NO_PROGRESS),
                frozenset(),
                f"Your last {self._old} calls have brought nothing that you had not seen before.",
            ),
        ]
        return max(findings, key=lambda finding: _ORDER[finding.remedy])

    def _cycle(self) -> Finding:
        """Look for rounds of 2 to `PERIOD_MAX` different calls at the end."""
        tail = list(self._tail)
        for period in range(2, PERIOD_MAX + 1):
            last = tail[-period:]
            signs = [one.sign for one in last]
            if len(signs) < period or len(set(signs)) == 1:
                continue
            rounds = 1
            while [one.sign for one in tail[-period * (rounds + 1) : -period * rounds]] == signs:
                rounds += 1
            remedy = _remedy(rounds, CYCLE_ROUNDS)
            if remedy is not Remedy.NONE:
                listed = ", then ".join(f"{one.tool}({one.shown})" for one in last)
                return _finding(
                    "cycle",
                    remedy,
                    frozenset(one.tool for one in last),
                    f"You go round in circles: {rounds} times {listed}, always with the same "
                    "results.",
                )
        return _NOTHING


_ORDER = {remedy: order for order, remedy in enumerate(Remedy)}


def _finding(pattern: str, remedy: Remedy, tools: frozenset[str], what: str) -> Finding:
    match remedy:
        case Remedy.NONE:
            return _NOTHING
        case Remedy.NUDGE:
            advice = (
                "Doing it again will not help. Try another way: other arguments, another tool, or "
                "tell what is missing."
            )
        case Remedy.WITHDRAW:
            named = ", ".join(sorted(tools))
            advice = f"{named} cannot be called in your next turn: take another way."
        case Remedy.STUCK:
            advice = "This leads nowhere."
    return Finding(remedy=remedy, pattern=pattern, tools=tools, text=f"{what}\n{advice}")


def _remedy(count: int, steps: tuple[int, int | None, int]) -> Remedy:
    """Say what follows at a count; in between the steps nothing is said again."""
    nudge, withdraw, stuck = steps
    if count >= stuck:
        return Remedy.STUCK
    if withdraw is not None and count >= withdraw:
        return Remedy.WITHDRAW if count == withdraw else Remedy.NONE
    return Remedy.NUDGE if count == nudge else Remedy.NONE


def _plain(value: Any) -> Any:  # noqa: ANN401  JSON
    """Bring arguments into the form in which equal ones are equal: no nulls, no outer blanks."""
    match value:
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items() if inner is not None}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case str():
            return value.strip()
        case _:
            return value


def _settled(result: str) -> bytes:
    return result.strip().encode("utf-8", "surrogatepass")


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _shown(text: str) -> str:
    line = " ".join(text[: SHOWN_CHARACTERS_MAX * 2].split())
    return line if len(line) <= SHOWN_CHARACTERS_MAX else line[:SHOWN_CHARACTERS_MAX] + "…"
