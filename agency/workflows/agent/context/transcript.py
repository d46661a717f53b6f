"""What was said in a run, as the next prompt holds it; weighed as it grows.

Messages have places that never change: the task is 0, what the run adds counts up from there, and
what its session said before counts down. So what was compacted can be recorded by places, and a
restart that reads fewer of a session's old messages finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from agency.core.records import dataclass
from agency.ports.model import ChatMessage
from agency.workflows.agent.context.estimate import images_of, units_of_message

TURNS_KEPT = 2
"""The last turns are never touched."""

SUMMARY_HEAD = "[Summary of what happened before, because the conversation has grown long:]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What gave way; recorded, so that a restart builds the same prompt.

    Attributes:
        spilled: New texts of old results, by place.
        through: Messages before this place are only in the summary; None when there is no new one.
        summary: Text of the summary.
        by: Who wrote it: ``model`` or ``extract``; empty when there is none.
        before, after: Tokens of the whole prompt, as estimated.
        free: Share of what is available that is free afterwards.
        turn: Turns that there were.
    """

    spilled: Mapping[int, str] = field(default_factory=dict)
    through: int | None = None
    summary: str = ""
    by: str = ""
    before: int = 0
    after: int = 0
    free: float = 0.0
    turn: int = 0

    def record(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "spilled": [[place, text] for place, text in self.spilled.items()],
            "through": self.through,
            "summary": self.summary,
            "by": self.by,
            "before": self.before,
            "after": self.after,
            "free": self.free,
            "turn": self.turn,
        }

    @staticmethod
    def parse(found: Mapping[str, Any]) -> Compaction:
        """Read what `record` wrote."""
        spilled = {int(place): str(text) for place, text in found["spilled"]}
        return Compaction(**{**found, "spilled": spilled})


@dataclass(slots=True)
class Item:
    """A message in its place.

    Attributes:
        is_pinned: The task, and what else must stay word for word.
        is_spilled: Its text was put into a file.
    """

    place: int
    message: ChatMessage
    units: int
    is_pinned: bool = False
    is_spilled: bool = False


class Transcript:
    """The conversation of one run, from the session's history up to now.

    Attributes:
        units: Weight of all that the prompt holds of it.
        images: Pictures in it.
        turns: Replies of the model with or without calls, since the task.
        summary: The summary that is in force; empty when there is none.
        compactions: Those that were applied, the newest last, as far as they matter.
    """

    def __init__(self, history: Sequence[ChatMessage] = ()) -> None:
        """Begin with what the session has said before, oldest first."""
        self.units = 0
        self.images = 0
        self.turns = 0
        self.summary = ""
        self.compactions: list[Compaction] = []
        self._next = -len(history)
        self._items: dict[int, Item] = {}
        self._starts: list[int] = []
        self._summary: ChatMessage | None = None
        self._rendered: list[ChatMessage] | None = []
        for message in history:
            self._add(message, is_pinned=False)

    def add_task(self, message: ChatMessage) -> None:
        """Add the task: place 0, and never touched."""
        assert self._next == 0
        self._add(message, is_pinned=True)

    def add(self, message: ChatMessage, *, is_pinned: bool = False) -> None:
        """Add what was said next. A reply of the model begins a turn; results belong to it.

        Args:
            message: What was said.
            is_pinned: It must stay word for word: what a person has said meanwhile.
        """
        assert self._next > 0
        self._add(message, is_pinned=is_pinned)

    @property
    def messages(self) -> Sequence[ChatMessage]:
        """What the prompt holds: what is pinned, the summary, and all that is not summarised.

        A call always has its results: cuts are only made before a turn.
        """
        if self._rendered is None:
            self._rendered = self._render()
        return self._rendered

    @property
    def kept_from(self) -> int:
        """The place from which on nothing is touched: where the last turns begin.

        At the beginning of a run these are turns of its session, which the task may speak of.
        """
        return self._starts[0] if self._starts else 1

    def old(self) -> Iterator[Item]:
        """List what may be touched, oldest first: unpinned, and before the last turns."""
        kept_from = self.kept_from
        for item in self._items.values():
            if item.place >= kept_from:
                return
            if not item.is_pinned:
                yield item

    def old_results(self) -> Iterator[Item]:
        """List results that may go to files, oldest first; those of earlier runs at any rate."""
        kept_from = max(self.kept_from, 0)
        for item in self._items.values():
            if item.place >= kept_from:
                return
            if item.message.role == "tool" and not item.is_spilled:
                yield item

    def pinned_units(self) -> int:
        """Weigh what is pinned."""
        return sum(item.units for item in self._items.values() if item.is_pinned)

    def kept_units(self) -> int:
        """Weigh the last turns."""
        kept_from = self.kept_from
        return sum(
            item.units
            for item in self._items.values()
            if item.place >= kept_from and not item.is_pinned
        )

    def apply(self, compaction: Compaction) -> None:
        """Let go of what a recorded compaction names; places that are not there are passed over."""
        for place, text in compaction.spilled.items():
            item = self._items.get(place)
            if item is not None:
                self.units -= item.units
                item.message = replace(item.message, content=text)
                item.units = units_of_message(item.message)
                item.is_spilled = True
                self.units += item.units
        if compaction.through is not None:
            self._summarise(compaction.through, compaction.summary)
        self.compactions = [*self.compactions[-7:], compaction]
        self._rendered = None

    def _summarise(self, through: int, summary: str) -> None:
        for place in [place for place in self._items if place < through]:
            item = self._items[place]
            if not item.is_pinned:
                self.units -= item.units
                self.images -= images_of([item.message])
                del self._items[place]
        if self._summary is not None:
            self.units -= units_of_message(self._summary)
        self.summary = summary
        self._summary = ChatMessage(role="user", content=f"{SUMMARY_HEAD}\n{summary}")
        self.units += units_of_message(self._summary)

    def _add(self, message: ChatMessage, *, is_pinned: bool) -> None:
        units = units_of_message(message)
        place = self._next
        self._next += 1
        self._items[place] = Item(place, message, units, is_pinned=is_pinned)
        self.units += units
        self.images += len(message.images)
        if message.role == "assistant":
            self.turns += place > 0
            before = self._items.get(place - 1)
            # What the user said before an answer belongs to it; the task stays by itself.
            is_answer = before is not None and before.message.role == "user" and place != 1
            self._starts = [*self._starts[1 - TURNS_KEPT :], place - is_answer]
        if self._rendered is not None:
            self._rendered.append(message)

    def _render(self) -> list[ChatMessage]:
        rendered: list[ChatMessage] = []
        summary = self._summary
        first = next((item.place for item in self._items.values() if not item.is_pinned), None)
        for item in self._items.values():
            if summary is not None and item.place == first:
                rendered.append(summary)
                summary = None
            rendered.append(item.message)
        if summary is not None:
            rendered.append(summary)
        return rendered
