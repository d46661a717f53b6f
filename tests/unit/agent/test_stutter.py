from __future__ import annotations

import random
import time

import pytest

from agency.workflows.agent.calls.stutter import Stutter, find_stutter

REPEATED = {
    "word": "la " * 800,
    "letter": "a" * 3_000,
    "sentence": "I will now read the file. " * 80,
    "paragraph": ("First I look.\nThen I think about what I have seen there.\n" * 40),
    "after an answer": "The answer is 4.\n" + "Thank you! " * 200,
    "unicode": "好的。" * 600,
}
FINE = {
    "ruler": "-" * 200 + "\nend",
    "table": "\n".join(f"| {i} | {i * i} |" for i in range(300)),
    "zeros": "0," * 400,
    "code": "\n".join(f"    self.x{i} = values[{i}]" for i in range(200)),
    "noise": "".join(random.Random(1).choices("abcdef ", k=5_000)),
    "list": "- item\n" * 60,
    "short": "la " * 20,
    "empty": "",
}


@pytest.mark.parametrize("name", REPEATED)
def test_endless_repetition_is_found(name: str) -> None:
    unit = find_stutter(REPEATED[name])

    assert unit
    assert unit in REPEATED[name] * 2


@pytest.mark.parametrize("name", FINE)
def test_what_only_looks_alike_is_left_alone(name: str) -> None:
    assert find_stutter(FINE[name]) is None


def test_stream_is_judged_while_it_comes_in_any_pieces() -> None:
    for size in (1, 3, 50, 5_000):
        watch = Stutter()
        text = "It begins well. " + "and again " * 1_000

        found = [watch.feed(text[i : i + size]) for i in range(0, len(text), size)]

        assert any(found), size


def test_watching_is_cheap() -> None:
    watch = Stutter()
    text = "".join(random.Random(2).choices("etaoin shrdlu", k=200_000))
    began = time.process_time()

    for i in range(0, len(text), 4):
        watch.feed(text[i : i + 4])

    assert time.process_time() - began < 2.0
