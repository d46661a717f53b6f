"""Content is written as JSON and read back."""

from __future__ import annotations

import pytest

from agency import Content, bytes_part, data_part, link_part, text_part
from agency.domain.content import PARTS_MAX, content_of, is_content
from agency.engine.codec import codec_for
from agency.errors import InvalidInput


def test_content_comes_back_as_it_was_written() -> None:
    content = Content(
        parts=[
            text_part("Hello", name="greeting.txt"),
            data_part({"count": 42}),
            bytes_part(b"\x00\xff", media_type="image/png", name="dot.png"),
            link_part("https://example.com/output.txt", media_type="text/plain"),
        ],
        name="report",
        append=True,
        is_last=False,
    )
    codec = codec_for(Content)

    assert codec.decode(codec.encode(content)) == content
    assert is_content(content.to_json())


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, ""),
        ({"content": "text"}, ""),
        ({"content": [{"kind": "sound"}]}, "/content/0"),
        ({"content": [{"kind": "text"}]}, "/content/0/text"),
        ({"content": [{"kind": "bytes", "base64": "?"}]}, "/content/0/base64"),
        ({"content": [{"kind": "link", "url": 1}]}, "/content/0/url"),
        ({"content": [{"kind": "text", "text": "a", "metadata": []}]}, "/content/0/metadata"),
        ({"content": [{"kind": "data"}] * (PARTS_MAX + 1)}, "/content"),
    ],
    ids=["null", "no_list", "kind", "text", "base64", "url", "metadata", "many"],
)
def test_what_is_no_content_is_refused_and_its_place_named(value: object, where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        content_of(value)

    assert [fault.where for fault in refused.value.faults] == [where]


@pytest.mark.parametrize(
    "value",
    [{}, [], {"content": {}}, {"content": ["text"]}, "content"],
    ids=["object", "list", "no_list", "no_parts", "text"],
)
def test_other_values_are_no_content(value: object) -> None:
    assert not is_content(value)
