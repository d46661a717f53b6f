"""Standard streams: there, whatever the daemon was started by."""

from __future__ import annotations

import os
import sys

_STREAMS = ("stdin", "stdout", "stderr")


def open_standard_streams() -> None:
    """Lead standard streams that were closed to ``/dev/null``.

    Some starters close them (``>&-``). Python has no object for such a stream then, and the next
    file that is opened gets its number: what any library prints would end up in it.
    """
    for number, name in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, and those below are taken.
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == number
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
