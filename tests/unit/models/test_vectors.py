from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.models.vectors import HASHED_WIDTH, hashed_vector


def cosine(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


@given(st.text())
def test_every_text_has_one_vector_of_unit_length(text: str) -> None:
    row = hashed_vector(text)

    assert len(row) == HASHED_WIDTH
    assert math.hypot(*row) == pytest.approx(1.0)
    assert row == hashed_vector(text)


def test_texts_that_share_words_are_nearer() -> None:
    cat, cats, tax = map(
        hashed_vector,
        ["the cat sat on the mat", "the cat lay on the mat", "income tax return form due"],
    )

    assert cosine(cat, cats) > 0.4 > cosine(cat, tax)
