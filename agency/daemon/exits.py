"""With which number the daemon's process ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from agency.errors import (
    AgencyError,
    Conflict,
    Corrupt,
    Failed,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
)


class ExitCode(IntEnum):
    """Exit codes; the same numbers as the command line's, where both have a meaning for them."""

    OK = 0
    FAILED = 1
    """It failed at run time: a disk, a right, a database that is broken."""
    USAGE = 2
    """The command line or the configuration has to be changed."""
    CONFLICT = 8
    """It runs already: the pid file, the data directory or the port is in use."""
    INTERRUPTED = 130


EXIT_CODES: Mapping[type[AgencyError], ExitCode] = {
    InvalidInput: ExitCode.USAGE,
    Conflict: ExitCode.CONFLICT,
    NotFound: ExitCode.FAILED,
    Forbidden: ExitCode.FAILED,
    LimitExceeded: ExitCode.FAILED,
    Unavailable: ExitCode.FAILED,
    Failed: ExitCode.FAILED,
    Corrupt: ExitCode.FAILED,
}


def exit_code(error: AgencyError) -> ExitCode:
    """Find the exit code of an error by the nearest of its classes in the table."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return ExitCode.FAILED
