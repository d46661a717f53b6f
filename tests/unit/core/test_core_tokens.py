import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core import tokens


def test_new_token_is_well_formed_and_unlike_the_last() -> None:
    first, second = tokens.make_token(), tokens.make_token()

    assert first != second
    assert first.startswith("agy_")
    assert len("agy_") + 43 + 6 == len(first)
    assert tokens.is_well_formed(first)


@given(position=st.integers(4, 52), letter=st.sampled_from("abcXYZ019-_"))
def test_token_with_one_wrong_character_is_told_apart(position: int, letter: str) -> None:
    token = tokens.make_token()
    wrong = token[:position] + letter + token[position + 1 :]

    assert (wrong == token) == tokens.is_well_formed(wrong)


@pytest.mark.parametrize("text", ["", "agy_", "agy_" + "a" * 48, "agy_" + "é" * 49, "x" * 53])
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not tokens.is_well_formed(text)


def test_hash_is_sha256_of_the_whole_token() -> None:
    token = tokens.make_token()

    assert hashlib.sha256(token.encode()).hexdigest() == tokens.secret_hash(token)
    assert tokens.matches(token, tokens.secret_hash(token))
    assert not tokens.matches(token + "x", tokens.secret_hash(token))


def test_shown_prefix_keeps_most_of_the_secret() -> None:
    token = tokens.make_token()

    assert token.startswith(tokens.shown_prefix(token))
    assert len(tokens.shown_prefix(token)) == 12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("laptop", True),
        ("ci.runner-2@home", True),
        ("", False),
        ("-rf", False),
        ("a/b", False),
        ("two words", False),
        ("x" * 65, False),
        ("line\n", False),
    ],
)
def test_names_are_fit_for_paths_and_logs(name: str, expected: bool) -> None:
    assert expected == tokens.is_name(name)
