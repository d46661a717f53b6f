"""For all tests: the seed that long lists are sampled with."""

from __future__ import annotations

import gc
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.sharing import LongFirst

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


# What is imported and collected stays to the end. To look through it for garbage again and again
# took a third of the time to collect, in each process, and later a part of each look.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongFirst | None:
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.sharing import LongFirst

    config.option.loadscopereorder = False
    return LongFirst(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from tests.sharing import order

        items[:] = order(items)
