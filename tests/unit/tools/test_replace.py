"""What a model quotes is found when nothing else can be meant."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from agency.tools.files.replace import NotReplaced, Replaced, replace
from agency.tools.files.write import difference

CODE = "def a():\n    x = 1\n    return x\n\n\ndef b():\n    x = 1\n    return -x\n"


def replaced(text: str, old: str, new: str, *, is_all: bool = False) -> str:
    outcome = replace(text, old, new, is_all=is_all)
    assert isinstance(outcome, Replaced), outcome
    return outcome.text


def refused(text: str, old: str, new: str) -> str:
    outcome = replace(text, old, new, is_all=False)
    assert isinstance(outcome, NotReplaced), outcome
    return outcome.why


def test_exact_piece_is_replaced() -> None:
    assert CODE.replace("-x", "+x") == replaced(CODE, "return -x", "return +x")
    assert "ac" == replaced("abc", "b", "")


def test_several_places_are_told_with_their_lines() -> None:
    assert "2 times, at lines 2, 7" in refused(CODE, "x = 1", "x = 2")
    assert CODE.replace("x = 1", "x = 2") == replaced(CODE, "x = 1", "x = 2", is_all=True)


@pytest.mark.parametrize(
    ("old", "new", "after"),
    [
        ("def b():\n  x = 1\n  return -x", "def b():\n  return 2", "def b():\n  return 2\n"),
        ("  return   -x  ", "  return 0", "def b():\n    x = 1\n    return 0\n"),
        ("return -x\n", "return 0", None),
        ("\tx = 1\n\treturn -x", "\ty = 2\n\treturn y", "def b():\n    y = 2\n    return y\n"),
    ],
    ids=["indent", "spaces", "exact", "tabs"],
)
def test_white_space_does_not_count_where_one_place_is_meant(
    old: str, new: str, after: str | None
) -> None:
    if after is None:
        assert "return 0" in replaced(CODE, old, new)
        return
    outcome = replace(CODE, old, new, is_all=False)
    assert isinstance(outcome, Replaced)
    assert outcome.is_loose
    assert CODE[: CODE.index("def b")] + after == outcome.text


def test_white_space_counts_where_two_places_may_be_meant() -> None:
    assert "but for white space it is there at lines 2, 7" in refused(CODE, "x  =  1", "y = 2")


def test_line_ends_of_the_file_are_kept() -> None:
    assert "a\r\nX\r\nY\r\nd\r\n" == replaced("a\r\nb\r\nc\r\nd\r\n", "b\nc", "X\nY")
    assert "a\r\n  X\r\n" == replaced("a\r\n  b\r\n", "b ", "X")


def test_last_line_without_an_end_stays_so() -> None:
    assert "a\n  X" == replaced("a\n  b", "   b", "   X")
    assert "a\n" == replaced("a\n  b\n", "b  ", "")


@pytest.mark.parametrize(
    ("text", "old", "new", "why"),
    [
        ("abc", "", "x", "old is empty"),
        ("abc", "b", "b", "are the same"),
        ("", "b", "c", "The file is empty"),
        ("done it", "do it", "done it", "seems to have been made already"),
        ("nothing like", "zzzz", "x", "nor anything like it"),
    ],
    ids=["empty", "same", "empty-file", "already", "unlike"],
)
def test_what_cannot_be_replaced_is_told(text: str, old: str, new: str, why: str) -> None:
    assert why in refused(text, old, new)


def test_nearest_lines_are_shown() -> None:
    why = refused(CODE, "def b():\n    x = 1\n    return +x", "")
    assert "The nearest is at lines 6 to 8:\ndef b():\n    x = 1\n    return -x\n" in why


def test_a_long_file_is_looked_through_in_bounded_time() -> None:
    text = "\n".join(f"value_{number} = compute({number})" for number in range(50_000))
    began_s = time.process_time()

    assert "The nearest is at lines" in refused(text, "value_17 = compute(18)", "x")

    assert time.process_time() - began_s < 5.0


def _numbers(factor: int) -> str:
    return "\n".join(str(number * factor % 500) for number in range(22_000))


@pytest.mark.parametrize(
    "work",
    [
        lambda: replace("ab\n" * 1_000_000, "ab", "cd", is_all=True),
        lambda: replace("a\n" * 1_000_000, "a \n" * 1000 + "b", "x", is_all=False),
        lambda: replace("ab aab  b" * 20 + "\n" * 20_000, "b aab a ba" * 20, "x", is_all=False),
        lambda: replace(("ab aab  b" * 20 + "\n") * 20_000, "ba aab a b" * 20, "", is_all=False),
        lambda: difference("file", _numbers(1), _numbers(7)),
    ],
    ids=["all", "loosely", "blank", "nearest", "difference"],
)
def test_time_grows_with_the_lengths_only(work: Callable[[], object]) -> None:
    began_s = time.process_time()

    work()

    # Measured: 3 s at most. Each took minutes when it grew with the square.
    assert time.process_time() - began_s < 15


def test_difference_names_the_lines_of_the_whole_file() -> None:
    before = "".join(f"{number}\n" for number in range(1000))

    shown = difference("a.txt", before, before.replace("\n700\n", "\nseven\n\n"))

    assert (
        "--- a/a.txt\n+++ b/a.txt\n@@ -698,7 +698,8 @@\n"
        " 697\n 698\n 699\n-700\n+seven\n+\n 701\n 702\n 703" == shown
    )


def test_difference_that_would_take_long_is_shown_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agency.tools.files.write.COMPARISONS_MAX", 1)

    shown = difference("f", "a\nb\n", "a\nX\n")

    assert "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-a\n-b\n+a\n+X" == shown
