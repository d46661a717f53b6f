"""Where the settings point on the disk. Pure: nothing is looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from agency.config.values import Unsuitable

DATABASE = "sqlite:agency.db"
"""The database when the settings name none."""

_Paths = TypeVar("_Paths", str, list[str])


def make_absolute(value: _Paths, start: Path, *, home: str) -> _Paths:
    """Make a path, or each of several, absolute from ``start``; an empty one stays empty.

    ``~/`` at the beginning is the home directory; a folder of that name is never meant.
    """
    if isinstance(value, list):
        return [_absolute(item, start, home) for item in value]
    return _absolute(value, start, home)


def _absolute(value: str, start: Path, home: str) -> str:
    if not value:
        return ""
    if home and (value == "~" or value.startswith("~/")):
        return str(Path(home, value[2:]))
    return str(start / value)


def find_database(url: str, data_dir: Path, *, home: str) -> Path:
    """Find the file that a database URL names, from the data directory on.

    ``sqlite:agency.db``, ``sqlite://agency.db`` and ``sqlite:/var/lib/agency.db`` are understood,
    and ``sqlite:///…`` is an absolute path. Source: sqlx, the library of the guide's own daemon.

    Raises:
        Unsuitable: the URL is of another kind.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() != "sqlite":
        raise Unsuitable(
            f"It must be a database URL that begins with 'sqlite:', and is {url!r}.",
            hint=f"For example {DATABASE!r}." if "://" in url else f"Write 'sqlite:{url}'?",
        )
    if rest in {"", "//"} or ":memory:" in rest:
        raise Unsuitable(
            f"The database {url!r} would not outlive the process.", hint="Name a file."
        )
    if "?" in rest or "#" in rest:
        plain = rest.split("?")[0].split("#")[0]
        raise Unsuitable(
            f"The database URL {url!r} has options, which are not known here.",
            hint=f"Write 'sqlite:{plain}'.",
        )
    return Path(_absolute(unquote(rest.removeprefix("//")), data_dir, home))


def make_url(database: Path) -> str:
    """Write the URL of a database file."""
    return f"sqlite:{database}"


def database_path(url: str) -> Path:
    """Give the file of a URL that was loaded, and so is absolute."""
    return Path(url.removeprefix("sqlite:"))
