"""Ending what is left of sandboxes of a daemon that has died."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from agency.tools.sandbox.plan import MARK, OUTER_ENVIRONMENT
from agency.tools.sandbox.remains import end_remains

GUARD_S = 10.0


@contextmanager
def left(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start what carries a mark, and end it after the test."""
    # Written when the shell has become what carries it: before, it may still have our variables.
    process = subprocess.Popen(
        ["/bin/sh", "-c", "echo begun; exec sleep 60"],
        env={**OUTER_ENVIRONMENT, MARK: mark},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_only_what_carries_the_mark_is_ended() -> None:
    with left("mark-of-the-dead") as dead, left("mark-of-others") as other:
        ended = end_remains("mark-of-the-dead")

        assert (1, -signal.SIGKILL) == (ended, dead.wait(GUARD_S))
        assert other.poll() is None


def test_mark_is_not_taken_for_a_longer_one() -> None:
    with left("mark-of-the-dead-and-others") as other:
        assert 0 == end_remains("mark-of-the-dead")
        assert other.poll() is None
