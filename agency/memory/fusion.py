"""Several orders of results made one, without comparing their scores.

Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RANK_OFFSET = 60
"""The constant of the source: how much the first places stand out from those behind."""


def fuse(orders: Mapping[str, Sequence[Sequence[int]]]) -> list[tuple[int, float, list[str]]]:
    """Put results in one order.

    Args:
        orders: By the name of a way of finding, results in its order, best first; a way may have
            several orders, of which a result's best place counts.

    Returns:
        Results with their scores and the ways that have found them, best first.
    """
    scores: dict[int, float] = {}
    ways: dict[int, list[str]] = {}
    for way, lists in orders.items():
        places: dict[int, int] = {}
        for found in lists:
            for place, number in enumerate(found, start=1):
                places[number] = min(place, places.get(number, place))
        for number, place in places.items():
            scores[number] = scores.get(number, 0.0) + 1.0 / (RANK_OFFSET + place)
            ways.setdefault(number, []).append(way)
    best = sorted(scores, key=lambda number: (-scores[number], number))
    return [(number, scores[number], ways[number]) for number in best]
