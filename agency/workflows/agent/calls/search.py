"""Few tools at a time: those that are always there, those that were found, and those that fit.

Small models choose well among some eight tools and badly among fifty. The others stay reachable:
``find_tool`` searches names and descriptions, and what it finds is offered from then on.

Ranking is BM25 over words, with names counted thrice; no model is asked, and the same question
gives the same answer. Source of the formula: Robertson and Zaragoza, The Probabilistic Relevance
Framework, 2009, with k1 = 1.2 and b = 0.75.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence

from agency.ports.model import ToolSpec

FOUND_MAX = 5
"""Tools that one search hands back."""

QUERY_CHARACTERS_MAX = 2_000
DESCRIPTION_CHARACTERS_MAX = 4_000
"""Of a tool's description that is searched; servers write whole manuals."""

NAME_WEIGHT = 3
K1, B = 1.2, 0.75

_WORD = re.compile(r"[^\W\d_]+|\d+")
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ers", "er", "ed", "es", "s", "e")
_COMMON = """
a an and are as at be by can do for from has have i in is it me my of on or please so that the this
to us use using want was we what when where which will with you your tool tools
"""
_STOP = frozenset(_COMMON.split())


class ToolIndex:
    """Searches a set of tools. Made once for each set."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        """Take the tools in; their order decides between equals."""
        self._tools = list(tools)
        self._texts = [_terms_of(tool) for tool in tools]
        self._lengths = [sum(text.values()) for text in self._texts]
        self._mean = max(sum(self._lengths) / len(self._lengths), 1.0) if self._lengths else 1.0
        self._holders: Counter[str] = Counter(term for text in self._texts for term in text)

    def find(self, query: str, *, limit: int = FOUND_MAX) -> list[ToolSpec]:
        """Find the tools that a query describes, best first; none that shares no word with it."""
        terms = [*dict.fromkeys(_terms(query[:QUERY_CHARACTERS_MAX]))]
        scores = [self._score(i, terms) for i in range(len(self._tools))]
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
        return [self._tools[i] for i in order[:limit] if scores[i] > 0]

    def _score(self, i: int, terms: Sequence[str]) -> float:
        text = self._texts[i]
        shape = K1 * (1 - B + B * self._lengths[i] / self._mean)
        score = 0.0
        for term in terms:
            count = text[term]
            if count:
                holders = self._holders[term]
                rarity = math.log(1 + (len(self._tools) - holders + 0.5) / (holders + 0.5))
                score += rarity * count * (K1 + 1) / (count + shape)
        return score


def choose(
    tools: Sequence[ToolSpec],
    *,
    limit: int,
    always: Collection[str] = (),
    found: Sequence[str] = (),
    topic: str = "",
    without: Collection[str] = (),
    index: ToolIndex | None = None,
) -> list[ToolSpec]:
    """Choose the tools of a turn.

    All of them when they are few enough. Else those that are always there, then those that were
    found, the newest first, then those that the topic describes, and then the others in order.
    Handed back in the order of ``tools``, so that a prompt changes as little as it can: a server
    keeps what it has worked through up to the first difference.

    Args:
        tools: All that may be used.
        limit: How many, 1 or more; ``always`` may exceed it.
        always: Names of those that are there in any case.
        found: Names that searches have brought up, the newest last.
        topic: The task; only looked at when something has to be left out.
        without: Names that are withdrawn for this turn.
        index: Over ``tools``, if there is one already.
    """
    there = [tool for tool in tools if tool.name not in without]
    if len(there) <= limit:
        return there
    known = {tool.name for tool in there}
    chosen = dict.fromkeys(name for name in always if name in known)
    ranked = [*reversed(found)]
    if topic:
        ranked += [tool.name for tool in (index or ToolIndex(tools)).find(topic, limit=len(tools))]
    ranked += [tool.name for tool in there]
    for name in ranked:
        if len(chosen) >= limit:
            break
        if name in known:
            chosen[name] = None
    return [tool for tool in there if tool.name in chosen]


def _terms_of(tool: ToolSpec) -> Counter[str]:
    terms: Counter[str] = Counter()
    for term in _terms(tool.name):
        terms[term] += NAME_WEIGHT
    terms.update(_terms(tool.description[:DESCRIPTION_CHARACTERS_MAX]))
    properties = tool.parameters.get("properties")
    if isinstance(properties, dict):
        for name in list(properties)[:64]:
            terms.update(_terms(str(name)))
    return terms


def _terms(text: str) -> list[str]:
    """Cut a text into words, ``readFile`` and ``read_file`` alike, without their endings."""
    words = [part.lower() for word in _WORD.findall(text) for part in _PARTS.findall(word)]
    return [_stem(word) for word in words if word not in _STOP]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
