"""Steps that other processes must be able to find."""

import os
import time
from pathlib import Path


def own_pid() -> int:
    return os.getpid()


def sleep_long() -> None:
    time.sleep(60)


def die_once(mark: str) -> str:
    """Die without a word the first time, and leave a mark."""
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(9)
    return "survived"


def print_much(lines: int) -> str:
    print("x" * 1000 * lines)  # noqa: T201  what a step prints is only output
    return "printed"


def fail() -> None:
    raise ValueError("it went wrong over there")


async def echo_later(value: str) -> str:
    return value


def return_nothing_plain() -> object:
    return object()


class Methods:
    def step(self) -> None:
        """Cannot be found by another process."""
