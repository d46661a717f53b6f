"""References: found where they are, replaced by values, and nothing else touched."""

from __future__ import annotations

import pytest

from agency.vault.references import find_references, replace_references


def found(value: object) -> dict[str, str]:
    return dict(find_references(value))


def test_references_are_listed_by_json_pointer() -> None:
    value = {"env": {"A/B": "secret://a", "C~": ["x", "Bearer secret://b.c."]}, "n": 1}

    assert {"/env/A~1B": "a", "/env/C~0/1": "b.c"} == found(value)
    assert {"": "a", "#1": "b"} == found("secret://a secret://b")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("secret://a", "<a>"),
        ("Bearer secret://git-hub_1", "Bearer <git-hub_1>"),
        ("secret://a,secret://b", "<a>,<b>"),
        ("https://u:secret://a@host/", "https://u:<a>@host/"),
        ("secret://", "<>"),
        ("secret://-x", "<>-x"),
        ("SECRET://a", "SECRET://a"),
        ("", ""),
    ],
    ids=range(8),
)
def test_references_are_replaced_within_texts(text: str, wanted: str) -> None:
    assert wanted == replace_references(text, lambda name: f"<{name}>")


def test_names_of_members_and_other_values_stay() -> None:
    value = {"secret://a": [1, None, True, {"x": "secret://a"}]}

    replaced = replace_references(value, lambda _: "v")

    assert {"secret://a": [1, None, True, {"x": "v"}]} == replaced
