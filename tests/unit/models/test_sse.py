"""Events out of chunks, wherever the chunks are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import ModelReplyBroken
from agency.models.sse import EVENT_BYTES_MAX, EventSplitter

STREAM = (
    b'\xef\xbb\xbf: a comment\n\nevent: ping\ndata: 1\n\ndata: {"a": "x\\r\\n"}\r\n\r\n'
    b'data:two\rdata: lines\r\rid: 7\nretry: 1\n\nerror: {"code":500}\n\ndata: last'
)
WANTED = [
    ("ping", b"1"),
    ("message", b'{"a": "x\\r\\n"}'),
    ("message", b"two\nlines"),
    ("error", b'{"code":500}'),
    ("message", b"last"),
]


def read(chunks: list[bytes]) -> list[tuple[str, bytes]]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.add(chunk)]
    return [(event.name, event.data) for event in [*events, *splitter.finish()]]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(places)]

    assert read(chunks) == WANTED


def test_each_byte_by_itself() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == WANTED


def test_event_without_end_is_refused() -> None:
    splitter = EventSplitter()
    piece = b"data: " + b"x" * (EVENT_BYTES_MAX // 2)

    list(splitter.add(piece))
    with pytest.raises(ModelReplyBroken):
        list(splitter.add(piece))
