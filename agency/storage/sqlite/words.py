"""Questions to the index of words. Source: SQLite, "FTS5 Extension", section 3."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS_MAX = 32
"""Words of one question: each is looked up, and what has any of them is ranked."""

_WORD = re.compile(r"\w+")


def any_of(words: Sequence[str], collections: Sequence[int]) -> str:
    """Ask for passages of some collections that have any of the words; empty for no words."""
    chosen = _quoted(words)
    if not chosen or not collections:
        return ""
    return f"{_within(collections)} AND text : ({' OR '.join(chosen)})"


def all_of(text: str, collection: int) -> str:
    """Ask for passages of a collection that have all of the first words of a text."""
    chosen = _quoted(_WORD.findall(text))
    return f"{_within([collection])} AND text : ({' AND '.join(chosen)})" if chosen else ""


def _within(collections: Sequence[int]) -> str:
    return "collection : (" + " OR ".join(f'"{number}"' for number in collections) + ")"


def _quoted(words: Sequence[str]) -> list[str]:
    # Between quotes nothing is an operator; what is no letter or digit parts words for the index.
    plain = [part for word in words for part in _WORD.findall(word)]
    return [f'"{word}"' for word in dict.fromkeys(plain) if word.strip("_")][:WORDS_MAX]
