"""Parts between the protocol's form and ours, and what media types callers take."""

from __future__ import annotations

import json
import math
import threading
import time
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidRequestError, JSONParseError
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from agency.a2a import wire
from agency.a2a.parts import content_from, fit, parts_to, plain, put
from agency.a2a.sizes import VALUES_MAX
from agency.domain.content import (
    PARTS_MAX,
    Part,
    bytes_part,
    data_part,
    link_part,
    text_part,
)
from agency.errors import InvalidInput

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Whole numbers are integers on the way back, whatever they were."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and not isinstance(one, bool):
        return math.isclose(one, other, rel_tol=0, abs_tol=0)
    return bool(one == other) and type(one) is type(other)


@given(VALUES)
def test_json_comes_back_as_it_was(value: Any) -> None:
    written = Value()
    put(written, value)

    assert same(value, plain(written))
    # As whoever reads the wire sees it; there all numbers are doubles.
    assert value == json.loads(json.dumps(MessageToDict(written)))


def test_whole_numbers_are_written_as_integers() -> None:
    task = pb.Task(id="t")
    put(task.metadata.fields["n"], {"a": [42, 4.5, -1, 1e300, True, None, "42"]})

    written = wire.write(task)["metadata"]["n"]["a"]

    assert '[42, 4.5, -1, 1e+300, true, null, "42"]' == json.dumps(written)


@pytest.mark.parametrize("empty", [{}, [], None, "", 0, False], ids=repr)
def test_empty_values_are_values(empty: Any) -> None:
    written = Value()
    put(written, {"x": empty})

    assert written.WhichOneof("kind") is not None
    assert {"x": empty} == plain(written)


@pytest.mark.parametrize(
    "part",
    [
        text_part("ä", media_type="text/markdown", name="a.md"),
        data_part({"a": [1, None]}),
        bytes_part(b"\x00\xff", media_type="image/png", name="dot.png"),
        link_part("https://example.com/x", media_type="text/html"),
        Part(kind=text_part("").kind, text="", metadata={"n": {"m": 1}}),
    ],
    ids=["text", "data", "bytes", "link", "metadata"],
)
def test_part_comes_back_as_it_was(part: Part) -> None:
    message = pb.Message(message_id="m", parts=parts_to([part]))

    assert [part] == list(content_from(message).parts)


def test_empty_part_is_named_by_its_place() -> None:
    with pytest.raises(InvalidInput) as refused:
        content_from(pb.Message(parts=[pb.Part(text="x"), pb.Part()]))

    assert ["/message/parts/1"] == [fault.where for fault in refused.value.faults]


def test_parts_have_a_limit() -> None:
    with pytest.raises(InvalidInput, match=f"{PARTS_MAX} are the most"):
        content_from(pb.Message(parts=[pb.Part(text="x")] * (PARTS_MAX + 1)))


@pytest.mark.parametrize(
    ("accepted", "kinds"),
    [
        pytest.param([], ["text", "data", "bytes"], id="any"),
        pytest.param(["text/plain"], ["text", "text", "bytes"], id="text"),
        pytest.param(["application/json"], ["data", "data", "bytes"], id="json"),
        pytest.param(["text/plain", "application/json"], ["text", "data", "bytes"], id="both"),
        pytest.param(["*/*"], ["text", "data", "bytes"], id="all"),
        pytest.param(["image/png"], ["text", "data", "bytes"], id="neither"),
    ],
)
def test_parts_are_written_as_their_reader_takes_them(
    accepted: list[str], kinds: list[str]
) -> None:
    parts = [text_part("t"), data_part({"a": 1}), bytes_part(b"x", media_type="image/gif")]

    assert kinds == [part.kind.value for part in fit(parts, accepted)]


def test_values_that_are_many_are_refused_and_written_as_text() -> None:
    many = [[0]] * VALUES_MAX
    part = pb.Part()
    put(part.data, many[: VALUES_MAX // 2 + 1])

    with pytest.raises(InvalidInput, match="more than 20000 values"):
        content_from(pb.Message(parts=[part]))
    with pytest.raises(InvalidRequestError, match="more than 20000 values"):
        wire.parse(json.dumps({"parts": many}).encode())
    (written,) = parts_to([data_part(many)])
    assert (many, "application/json") == (json.loads(written.text), written.media_type)


def test_name_that_stands_twice_among_many_is_found_at_once() -> None:
    names = [*map(str, range(15_000)), "14999"]
    body = "{" + ", ".join(f'"{name}": 0' for name in names) + "}"

    # Comparing each with all others would take the half of a minute.
    started = time.process_time()
    with pytest.raises(JSONParseError, match="'14999' twice"):
        wire.parse(body.encode())
    assert time.process_time() - started < 2


async def test_long_request_is_understood_beside_the_loop() -> None:
    threads: list[threading.Thread] = []

    def noted(_: object) -> Value:
        threads.append(threading.current_thread())
        return Value()

    for value in ([0] * 10, [0] * 2_000):
        await wire.heard(value, noted)

    assert [True, False] == [one is threading.current_thread() for one in threads]
