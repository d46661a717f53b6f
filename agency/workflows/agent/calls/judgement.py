"""What became of one reply: recorded before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.ports.model import ChatMessage, ToolCall
from agency.workflows.agent.calls.rungs import Refused, Rung, Trouble, parse_call, write_call


class Verdict(StrEnum):
    """What follows."""

    CALLS = "calls"
    """Make the calls, then ask again."""
    FINAL = "final"
    """The text is the answer; when it is not whole, it goes on where it stopped."""
    AGAIN = "again"
    """Nothing usable: ask once more, as the ladder then says."""
    STOP = "stop"
    """Nothing helps with this model; the text says what was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A reply, understood. `record` and `parse` take it through the journal.

    Attributes:
        calls: To be made, in order; their arguments fit the schemas.
        refused: Calls after the first that does not fit. They are not made: the model gets the
            notes as their results, after those of ``calls``.
        text: For the user: what stood beside the calls, or the answer; of ``STOP`` the report.
        rung: What served; of ``AGAIN`` what had been reached.
        is_whole: False when the answer was cut off by a limit of tokens.
        coerced: What was changed in arguments, in words.
        trouble: What was wrong; None when a whole reply served.
        said: Of ``AGAIN``: what the model wrote, to be shown to it beside the note.
        attempted: Of ``AGAIN``: the call that it made and that is refused, when it was native.
        note: Of ``AGAIN``: what the model is told, in the next request only.
        is_action: It was given in action mode.
    """

    verdict: Verdict
    rung: Rung
    calls: Sequence[ToolCall] = ()
    refused: Sequence[Refused] = ()
    text: str = ""
    is_whole: bool = True
    coerced: Sequence[str] = ()
    trouble: Trouble | None = None
    said: str = ""
    attempted: ToolCall | None = None
    note: str = ""
    is_action: bool = False

    def record(self) -> dict[str, Any]:
        """Write it as JSON, without what is at its default."""
        written: dict[str, Any] = {"verdict": self.verdict.value, "rung": self.rung.value}
        if self.calls:
            written["calls"] = [write_call(call) for call in self.calls]
        if self.refused:
            written["refused"] = [
                {"call": write_call(one.call), "note": one.note} for one in self.refused
            ]
        if self.attempted is not None:
            written["attempted"] = write_call(self.attempted)
        if self.trouble is not None:
            written["trouble"] = self.trouble.value
        if self.coerced:
            written["coerced"] = list(self.coerced)
        for name in ("text", "said", "note"):
            if getattr(self, name):
                written[name] = getattr(self, name)
        if not self.is_whole:
            written["is_whole"] = False
        if self.is_action:
            written["is_action"] = True
        return written

    @staticmethod
    def parse(found: Mapping[str, Any]) -> Judgement:
        """Read what `record` wrote."""
        trouble, attempted = found.get("trouble"), found.get("attempted")
        return Judgement(
            verdict=Verdict(found["verdict"]),
            rung=Rung(found["rung"]),
            calls=tuple(parse_call(one) for one in found.get("calls", ())),
            refused=tuple(
                Refused(call=parse_call(one["call"]), note=one["note"])
                for one in found.get("refused", ())
            ),
            text=found.get("text", ""),
            is_whole=found.get("is_whole", True),
            coerced=tuple(found.get("coerced", ())),
            trouble=None if trouble is None else Trouble(trouble),
            said=found.get("said", ""),
            attempted=None if attempted is None else parse_call(attempted),
            note=found.get("note", ""),
            is_action=found.get("is_action", False),
        )

    def exchange(self) -> list[ChatMessage]:
        """Write what the model is shown of a reply that could not be used.

        It is part of the requests of this turn only: once the turn has succeeded, neither the
        fault nor the correction is in the history, where a small model would imitate it.
        """
        messages: list[ChatMessage] = []
        if self.attempted is not None:
            messages.append(
                ChatMessage(role="assistant", content=self.said, tool_calls=(self.attempted,))
            )
            messages.append(
                ChatMessage(
                    role="tool",
                    content=self.note,
                    tool_name=self.attempted.name,
                    tool_call_id=self.attempted.id,
                )
            )
        elif self.note:
            if self.said:
                messages.append(ChatMessage(role="assistant", content=self.said))
            messages.append(ChatMessage(role="user", content=self.note))
        return messages
