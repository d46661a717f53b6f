"""The tools of a run: those that it may use, and the few of them that a turn offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agency.errors import ToolUnavailable
from agency.ports.model import ToolSpec
from agency.ports.tool import Toolsets
from agency.workflows.agent.calls.search import FOUND_MAX, ToolIndex, choose
from agency.workflows.agent.gate import Gate, Offer
from agency.workflows.agent.own_tools import TOOLSET, OwnTool

FIND_TOOL = "find_tool"
ALWAYS = ("todo", FIND_TOOL)
"""Offered in each turn, however few may be."""


class Toolbox:
    """Looks anew before each turn: servers of tools come and go."""

    def __init__(self, toolsets: Toolsets | None, gate: Gate, own: Sequence[OwnTool]) -> None:
        """Take the sources, and the tools that need the run itself."""
        self._toolsets = toolsets
        self._gate = gate
        self._own = tuple(own)
        self._offers: dict[str, Offer] = {}
        self._away: list[str] = []
        self._may: dict[tuple[str, str], bool] = {}
        self._chosen: tuple[object, tuple[ToolSpec, ...]] | None = None

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What may be used, by name."""
        return self._offers

    async def look(self, *, has_own: bool) -> None:
        """Ask all sources what they offer now; those that cannot be asked are remembered.

        Args:
            has_own: The run's own tools are offered even where there are no others.
        """
        offers: dict[str, Offer] = {}
        away: list[str] = []
        if not self._gate.has_none:
            for toolset in self._toolsets.all() if self._toolsets is not None else ():
                try:
                    tools = await toolset.tools()
                except ToolUnavailable:
                    if self._gate.may_use_toolset(toolset.name):
                        away.append(toolset.name)
                    continue
                for tool in tools:
                    self._add(offers, Offer(tool, toolset.name))
            if has_own or offers or away:
                for own in self._own:
                    self._add(offers, Offer(own, TOOLSET))
        self._offers, self._away = offers, away

    def _add(self, offers: dict[str, Offer], offer: Offer) -> None:
        key = (offer.toolset, offer.name)
        may = self._may.get(key)
        if may is None:
            may = self._may[key] = self._gate.may_use(offer)
        if may:
            # Of two tools with one name the first source's counts, the same in each turn.
            offers.setdefault(offer.name, offer)

    def find(self, name: str) -> Offer | None:
        """Find a tool that may be used."""
        return self._offers.get(name)

    def is_away(self, name: str) -> bool:
        """Tell whether it may be a tool of a source that cannot be asked now."""
        return any(name.startswith(toolset) for toolset in self._away)

    def is_known(self, name: str) -> bool:
        """Tell whether there is such a tool among those that may be used."""
        return name in self._offers

    def choose(
        self, *, tools_max: int, found: Sequence[str], topic: str, without: frozenset[str]
    ) -> Sequence[ToolSpec]:
        """Pick what a turn offers, in a steady order.

        Args:
            tools_max: So many at most.
            found: Names that were searched for and found; the newest last.
            topic: What the run is about, to rank the others by.
            without: Names that are withdrawn for this turn.
        """
        key = (tuple(self._offers), tools_max, tuple(found), topic, without)
        if self._chosen is None or self._chosen[0] != key:
            specs = [offer.tool.spec for offer in self._offers.values()]
            others = [spec for spec in specs if spec.name != FIND_TOOL]
            # Where all of them fit there is nothing to be searched for.
            some = others if len(others) <= tools_max else specs
            chosen = choose(
                some,
                limit=tools_max,
                always=ALWAYS,
                found=found,
                topic=topic,
                without=without,
            )
            self._chosen = (key, tuple(chosen))
        return self._chosen[1]

    def specs(self, *, without: frozenset[str]) -> Sequence[ToolSpec]:
        """List all that may be used in this turn: also what is not offered may be called."""
        return [one.tool.spec for name, one in self._offers.items() if name not in without]

    def search(self, query: str, *, limit: int = FOUND_MAX) -> Sequence[ToolSpec]:
        """Find tools that may be used by what they are called and said to do."""
        specs = [offer.tool.spec for name, offer in self._offers.items() if name not in ALWAYS]
        return ToolIndex(specs).find(query, limit=limit)
