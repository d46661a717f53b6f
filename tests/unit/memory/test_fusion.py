"""Several orders of results made one."""

from __future__ import annotations

from agency.memory.fusion import fuse


def test_what_both_ways_find_comes_first() -> None:
    found = fuse({"words": [[1, 2, 3]], "meaning": [[4, 3]]})

    assert [3, 1, 4, 2] == [number for number, _, _ in found]
    assert {3: ["words", "meaning"], 1: ["words"], 4: ["meaning"], 2: ["words"]} == {
        number: ways for number, _, ways in found
    }
    assert found[0][1] > found[1][1] == found[2][1] > found[3][1]


def test_of_several_orders_of_a_way_the_best_place_counts() -> None:
    found = fuse({"meaning": [[1, 2], [2, 3]]})

    assert [1, 2, 3] == [number for number, _, _ in found]
    assert found[0][1] == found[1][1]


def test_nothing_is_found_in_nothing() -> None:
    assert [] == fuse({}) == fuse({"words": []}) == fuse({"words": [[]]})
