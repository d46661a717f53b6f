"""What is kept of a command's output."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agency.tools.sandbox.output import KEPT_BYTES_MAX, HeadAndTail


@given(st.lists(st.binary(max_size=40), max_size=40), st.integers(2, 60))
def test_head_and_tail_are_kept_and_the_middle_is_counted(pieces: list[bytes], bound: int) -> None:
    kept = HeadAndTail(bound)
    for piece in pieces:
        kept.add(piece)
    everything = b"".join(pieces)

    head, tail = everything[: bound // 2], everything[-(bound - bound // 2) :]
    if len(everything) <= bound:
        assert everything == kept.whole()
        assert 0 == kept.dropped_bytes
    else:
        assert len(everything) - bound == kept.dropped_bytes
        assert kept.whole().startswith(head)
        assert kept.whole().endswith(tail)
        assert f"{kept.dropped_bytes} bytes left out".encode() in kept.whole()
    assert everything[-5:] == kept.tail(5) or kept.dropped_bytes
    assert b"" == kept.tail(0)


def test_the_tail_spans_head_and_tail_while_nothing_was_dropped() -> None:
    kept = HeadAndTail(10)
    kept.add(b"0123456789")

    assert b"23456789" == kept.tail(8)


def test_output_without_a_bound_is_still_bounded() -> None:
    kept = HeadAndTail(math.inf)
    for _ in range(3 * KEPT_BYTES_MAX // (1 << 20)):
        kept.add(b"x" * (1 << 20))

    assert 2 * KEPT_BYTES_MAX == kept.dropped_bytes
    assert len(kept.whole()) < KEPT_BYTES_MAX + 100
