"""What somebody probably meant who wrote a word that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Find the option that looks most like ``word``, or None when none looks much like it.

    Case and the difference between ``-`` and ``_`` do not count.
    """
    # Imported late: it is needed only when something is wrong.
    import difflib

    by_folded = {_fold(option): option for option in options}
    found = difflib.get_close_matches(_fold(word), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_")
