"""Values between authors' types and JSON."""

from __future__ import annotations

from typing import Any

import pytest

from agency.domain.content import Content, text_part
from agency.engine.codec import codec_for
from agency.errors import InvalidInput

WRITTEN = b'{"content":[{"kind":"text","text":"Hello."}]}'
CONTENT = Content(parts=[text_part("Hello.")])


@pytest.mark.parametrize(
    "annotation",
    [Any, Content, Content | None, Content | str],
    ids=["anything", "content", "or_nothing", "or_text"],
)
def test_content_is_written_the_same_way_whatever_is_said_of_it(annotation: Any) -> None:
    assert WRITTEN == codec_for(annotation).encode(CONTENT)


@pytest.mark.parametrize(
    "annotation", [Content, Content | None, Content | str], ids=["content", "or_nothing", "or_text"]
)
def test_content_is_read_where_a_type_mentions_it(annotation: Any) -> None:
    assert CONTENT == codec_for(annotation).decode(WRITTEN)


def test_what_is_no_content_is_refused_where_a_type_mentions_it() -> None:
    with pytest.raises(InvalidInput):
        codec_for(Content | None).decode(b'{"content": [{"kind": "sound"}]}')


def test_list_of_contents_shows_their_schema() -> None:
    assert "Content" == codec_for(list[Content]).schema()["items"]["title"]
