"""The folders of the daemon: there, writable, and the data directory the owner's alone."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from agency.errors import PlaceNotWritable

log = logging.getLogger(__name__)


def make_data_directory(path: Path) -> None:
    """Make the data directory, for the owner only, if it is not there.

    Raises:
        PlaceNotWritable: it cannot be made or written, or is no directory.
    """
    make_folder(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        log.warning(
            "data directory is open to others",
            extra={"path": str(path), "mode": f"{mode:o}", "hint": f"chmod 700 {path}"},
        )


def make_folder(path: Path) -> None:
    """Make a folder, for the owner only, if it is not there.

    Raises:
        PlaceNotWritable: it cannot be made or written, or is no directory.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise PlaceNotWritable(str(path), "it is not a directory") from None
    except OSError as error:
        raise PlaceNotWritable(str(path), error.strerror or str(error)) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PlaceNotWritable(str(path), "this user may not write there")
