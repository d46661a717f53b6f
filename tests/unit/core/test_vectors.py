"""Vectors: stored and read, compared, and found among many."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core import vectors

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300)


def unit(row: list[float]) -> list[float]:
    length = math.hypot(*row) or 1.0
    return [number / length for number in row]


@given(NUMBERS)
def test_vector_is_read_as_it_was_written(row: list[float]) -> None:
    data = vectors.pack(row)

    assert 4 * len(row) == len(data)
    assert row == list(vectors.unpack(data))
    assert (len(row) + 7) // 8 == len(vectors.signs_of(row))


def test_signs_are_one_bit_each() -> None:
    assert b"\x05" == vectors.signs_of([0.1, -0.1, 0.2])
    assert b"\x01\x00" == vectors.signs_of([1.0] + [0.0] * 8)
    assert b"\x00" == vectors.signs_of([])


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [([1.0, 0.0], [1.0, 0.0], 1.0), ([1.0, 0.0], [0.0, 1.0], 0.0), ([1.0, 0.0], [-1.0, 0.0], -1.0)],
    ids=range(3),
)
def test_cosine(one: list[float], other: list[float], wanted: float) -> None:
    assert wanted == vectors.cosine(one, other)


def test_vectors_of_two_widths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 and 3"):
        vectors.cosine([1.0, 0.0], [1.0, 0.0, 0.0])


def test_half_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes length"):
        vectors.unpack(b"\x00\x00\x00")


def test_equal_scores_come_in_the_order_of_rows() -> None:
    rows = [(number, vectors.pack([1.0, 0.0])) for number in (3, 1, 2)]

    assert [1, 2] == [number for number, _ in vectors.nearest([1.0, 0.0], rows, limit=2)]
    assert [] == vectors.nearest([1.0], [], limit=5)


def test_best_are_hardly_ever_missed_among_many() -> None:
    """Texts about the same lie near each other: clusters, as vectors of texts have them."""
    drawn = random.Random(3)
    width, topics, each = 128, 40, 60
    centres = [[drawn.gauss(0, 1) for _ in range(width)] for _ in range(topics)]
    rows = [
        unit([number + drawn.gauss(0, 0.7) for number in centre])
        for centre in centres
        for _ in range(each)
    ]
    signs = [(n, vectors.signs_of(row)) for n, row in enumerate(rows)]
    packed = [vectors.pack(row) for row in rows]
    assert len(rows) > vectors.EXACT_ROWS_MAX
    hits = wanted_rows = 0
    for centre in centres[:20]:
        asked = unit([number + drawn.gauss(0, 0.7) for number in centre])
        exact = {n for n, _ in vectors.nearest(asked, enumerate(packed), limit=10)}
        likely = vectors.likeliest(asked, signs, limit=10)
        assert vectors.RESCORED_ROWS_MIN == len(likely)
        found = {n for n, _ in vectors.nearest(asked, [(n, packed[n]) for n in likely], limit=10)}
        hits += len(exact & found)
        wanted_rows += len(exact)

    assert hits / wanted_rows > 0.97


def test_few_rows_are_all_looked_at() -> None:
    signs = [(n, b"\x00") for n in range(vectors.EXACT_ROWS_MAX)]

    assert [n for n, _ in signs] == vectors.likeliest([1.0], signs, limit=1)
