"""For all tests: the seed that long lists are sampled with."""

from __future__ import annotations

import os
import random
import signal

import pytest

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 24))


# In a shell's background Ctrl-C is ignored, and all that a test starts would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def seed() -> int:
    """Seed of this run's samples: ``SEED``, else random; printed at the end."""
    return SEED


@pytest.fixture(scope="session")
def is_soak() -> bool:
    """Whether long lists are to be gone through whole."""
    return os.environ.get("SOAK") == "1"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"seed: {SEED}  (the same samples again: make test SEED={SEED})")
