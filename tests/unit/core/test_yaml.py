from __future__ import annotations

import pytest

from agency.core.yaml import DEPTH_MAX, NODES_MAX, NotYaml, decode


def test_plain_values_are_read_by_the_rules_of_1_2() -> None:
    text = "a: no\nb: on\nc: [1, 2.5, null, true]\nd: &x {y: 1}\ne: *x\nf: '1'\n"

    assert {
        "a": "no",
        "b": "on",
        "c": [1, 2.5, None, True],
        "d": {"y": 1},
        "e": {"y": 1},
        "f": "1",
    } == decode(text)


def bomb(levels: int) -> str:
    """Each line stands nine times for the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 2020-01-01", "a date"),
        ("a: 1\na: 2", "duplicate key"),
        ("1: 2", "quote it"),
        ("a: .nan", "nan"),
        ("a: .inf", "inf"),
        ("a: !!python/object:os.system x", "constructor"),
        ("a: !!set {x}", "a set"),
        ("a: !!binary aGVsbG8=", "a bytes"),
        ("---\na\n---\nb", "another document"),
        ("a: [", "while parsing"),
        ("a: \x00", "unacceptable"),
        ("&a [*a]", "deeper"),
        ("[" * (DEPTH_MAX + 2) + "]" * (DEPTH_MAX + 2), "deeper"),
        ("[" * 5000, "deeper"),
        (bomb(9), f"more than {NODES_MAX}"),
    ],
)
def test_what_is_not_plain_json_is_refused(text: str, why: str) -> None:
    with pytest.raises(NotYaml, match=why):
        decode(text)


def test_empty_document_is_null() -> None:
    assert None is decode("")
