"""Documents in pieces: within the budget, along the structure, nothing lost."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.memory.chunks import BYTES_PER_TOKEN, split, tokens_of

BOOK = """\
# Pumps

A pump moves water. It needs power.

## Old pumps

They were made of wood. They leaked a lot. People were used to it.

```python
# not a heading
pump()

more()
```

## New pumps

They hum.
"""


def test_pieces_end_where_sections_do() -> None:
    chunks = split(BOOK, tokens_max=30, overlap_tokens=0)

    assert [
        ("Pumps", "# Pumps"),
        ("Pumps > Old pumps", "## Old pumps"),
        ("Pumps > Old pumps", "```python"),
        ("Pumps > New pumps", "## New pumps"),
    ] == [(one.heading, one.text.splitlines()[0]) for one in chunks]
    assert [1, 2, 3, 4] == [one.position for one in chunks]
    assert "more()\n```" in chunks[2].text


def test_short_sections_share_a_piece() -> None:
    [chunk] = split("# A\n\nx\n\n# B\n\ny\n", tokens_max=400, overlap_tokens=50)

    assert ("A", "# A\n\nx\n\n# B\n\ny") == (chunk.heading, chunk.text)


def test_pieces_of_a_section_overlap_by_whole_sentences() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(60))

    chunks = split(text, tokens_max=60, overlap_tokens=20)

    assert len(chunks) > 5
    for one, following in pairwise(chunks):
        assert one.start < following.start < one.stop
        assert following.text.startswith("This is sentence")
        assert one.text.endswith(".")


def test_sections_do_not_overlap() -> None:
    text = "".join(f"# Part {n}\n\n{'word ' * 60}\n\n" for n in range(5))

    chunks = split(text, tokens_max=100, overlap_tokens=30)

    assert all(one.stop <= two.start for one, two in pairwise(chunks))
    assert [f"Part {n}" for n in range(5)] == [one.heading for one in chunks]


TEXTS = st.text(
    st.sampled_from("ab .\n#`-!?ä漢🎉\t\r\u2028") | st.characters(exclude_categories=["Cs"]),
    max_size=2000,
)


@settings(max_examples=200)
@given(TEXTS, st.integers(3, 60), st.integers(0, 40))
def test_pieces_are_the_text_and_nothing_of_it_is_lost(
    text: str, tokens_max: int, overlap_tokens: int
) -> None:
    chunks = split(text, tokens_max=tokens_max, overlap_tokens=overlap_tokens)

    covered: set[int] = set()
    for number, chunk in enumerate(chunks, start=1):
        assert number == chunk.position
        assert chunk.text == text[chunk.start : chunk.stop]
        assert chunk.text == chunk.text.strip()
        covered.update(range(chunk.start, chunk.stop))
    assert all(text[n].isspace() for n in range(len(text)) if n not in covered)


@given(TEXTS, st.integers(10, 60))
def test_pieces_are_within_the_budget(text: str, tokens_max: int) -> None:
    for chunk in split(text, tokens_max=tokens_max, overlap_tokens=tokens_max // 4):
        # Its own part is within the budget, and what is repeated within its half.
        assert len(chunk.text.encode()) <= 1.5 * tokens_max * BYTES_PER_TOKEN + 8


@pytest.mark.parametrize(
    "text",
    [
        "x" * 2_000_000,
        "漢" * 500_000,
        "a " * 1_000_000,
        "\n" * 2_000_000,
        "# " * 500_000,
        "#" + " " * 1_000_000 + "x",
        "```\n" * 200_000,
        ".'\"'\"" * 300_000,
        "# h\n" * 100_000,
    ],
    ids=range(9),
)
def test_time_grows_with_the_length_only(text: str) -> None:
    started_s = time.process_time()
    split(text, tokens_max=350, overlap_tokens=50)

    # Measured: 0.1 to 0.8 s. What is quadratic takes minutes.
    assert time.process_time() - started_s < 10


def test_tokens_are_estimated_on_the_safe_side() -> None:
    assert 0 == tokens_of("")
    assert tokens_of("The quick brown fox jumps over the lazy dog.") >= 10
    assert tokens_of("漢字") >= 2
