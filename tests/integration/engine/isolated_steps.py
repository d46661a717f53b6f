"""Steps that other processes must be able to find."""

import os
import time


def own_pid() -> int:
    return os.getpid()


def sleep_long() -> None:
    time.sleep(60)
