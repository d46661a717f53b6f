from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agency.models.ollama.lines import LineSplitter

WORDS = st.lists(st.sampled_from([b"a", b"b\x85", b"\xe2\x80\xa8", b"\n", b"\r\n", b" ", b"xyz"]))


@given(WORDS, st.lists(st.integers(0, 30)))
def test_lines_do_not_depend_on_how_the_stream_was_cut(words: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(words)
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    splitter = LineSplitter()

    lines = [line for begin, end in pairwise(ends) for line in splitter.add(whole[begin:end])]
    lines += splitter.finish()

    assert lines == [line.strip() for line in whole.split(b"\n") if line.strip()]
