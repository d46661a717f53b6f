from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from agency.tools.mcp.naming import NAME_CHARACTERS_MAX, full_names


def test_name_that_models_accept_stays() -> None:
    assert {"read-file": "fs__read-file"} == full_names("fs", ["read-file"])


def test_other_letters_become_underscores() -> None:
    assert {"a.b/c é": "fs__a_b_c__"} == full_names("fs", ["a.b/c é"])


def test_names_that_would_be_the_same_are_told_apart() -> None:
    found = full_names("fs", ["a_b", "a.b", "a b"])

    assert "fs__a_b" == found["a_b"]
    assert 3 == len(set(found.values()))
    assert found["a.b"] == full_names("fs", ["a.b", "a_b"])["a.b"]


@given(st.lists(st.text(min_size=1), max_size=20))
def test_names_are_accepted_and_unique(names: list[str]) -> None:
    found = full_names("server", names)

    assert set(names) == set(found)
    assert len(found) == len(set(found.values()))
    for name in found.values():
        assert re.fullmatch(r"[A-Za-z0-9_-]+", name)
        assert len(name) <= NAME_CHARACTERS_MAX
