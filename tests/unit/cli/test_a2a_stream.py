"""What a streamed answer of an agent elsewhere prints: each piece once, and all of them."""

from __future__ import annotations

from typing import Any

import pytest

from agency.cli.a2a import _not_shown


def text(said: str) -> dict[str, Any]:
    return {"kind": "text", "text": said}


DATA = {"kind": "data", "data": {"x": 1}}


@pytest.mark.parametrize(
    ("whole", "shown", "left"),
    [
        ([text("a"), DATA], [], [text("a"), DATA]),
        ([text("a"), DATA], [text("a")], [DATA]),
        ([text("a"), DATA], [text("a"), DATA], []),
        ([text("ab")], [text("a"), text("b")], []),
        ([text("aaa"), DATA], [text("a"), text("a")], [text("a"), DATA]),
        ([text("new")], [text("old")], [text("new")]),
    ],
    ids=["nothing-came", "some-came", "all-came", "divided", "divided-and-more", "replaced"],
)
def test_what_did_not_come_on_the_way_is_printed_at_the_end(
    whole: list[Any], shown: list[Any], left: list[Any]
) -> None:
    assert left == _not_shown(whole, shown)
