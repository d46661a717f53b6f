"""Vectors of texts: checking those of a server, and making up those of a rehearsal."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from itertools import pairwise

from agency.errors import ModelReplyBroken

HASHED_WIDTH = 256
"""Numbers in a made-up vector: small, and wide enough that few words share a place."""

_WORD = re.compile(r"\w+")


def unit_rows(rows: object, model: str, *, count: int) -> list[list[float]]:
    """Check the vectors that a server sent and bring them to unit length.

    Args:
        rows: As received; wanted is shape ``(count, d)``.
        model: Name, for messages.
        count: Texts that were sent.

    Raises:
        ModelReplyBroken: they are not ``count`` rows of the same width, or one has length zero.
    """
    if not isinstance(rows, list) or len(rows) != count:
        found = len(rows) if isinstance(rows, list) else "no"
        raise ModelReplyBroken(f"The model {model!r} gave {found} vectors for {count} texts.")
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(widths) != 1 or 0 in widths:
        raise ModelReplyBroken(f"The vectors of the model {model!r} are not of one width.")
    return [_unit(row, model) for row in rows]


def hashed_vector(text: str) -> list[float]:
    """Make up a vector from the words of ``text`` and their neighbours.

    The same text has the same vector, everywhere and for ever; texts that share words point more
    nearly the same way. Shape ``(HASHED_WIDTH,)``, unit length.
    Source: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009.
    """
    words = _WORD.findall(text.lower())
    features = words + [f"{first} {second}" for first, second in pairwise(words)]
    row = [0.0] * HASHED_WIDTH
    for feature in features:
        digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        place = int.from_bytes(digest[:4]) % HASHED_WIDTH
        row[place] += 1.0 if digest[4] & 1 else -1.0
    length = math.hypot(*row)
    if length == 0.0:  # No words, or words that cancel each other out.
        row[0] = length = 1.0
    return [number / length for number in row]


def _unit(row: Sequence[object], model: str) -> list[float]:
    numbers: list[float] = []
    for number in row:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ModelReplyBroken(f"A vector of the model {model!r} holds something not a number.")
        numbers.append(float(number))
    length = math.hypot(*numbers)
    if not length or not math.isfinite(length):
        raise ModelReplyBroken(f"A vector of the model {model!r} has no direction.")
    return [number / length for number in numbers]
