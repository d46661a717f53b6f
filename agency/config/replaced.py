"""Environment variables of the guides that have no effect here, and what takes their place.

Whoever sets one expects something of it, so the daemon says at its start that nothing comes of it.
Their values are never shown: two of them are secrets.
"""

from __future__ import annotations

from collections.abc import Mapping

_ONE_FILE = "everything is kept in one SQLite file, which [store] url names"

REPLACED: Mapping[str, str] = {
    "JWT_SECRET": "there are no session tokens and no secret to sign them; make API tokens with "
    "`agency token new NAME`",
    "DB_HOST": _ONE_FILE,
    "DB_PORT": _ONE_FILE,
    "DB_NAME": _ONE_FILE,
    "DB_USER": _ONE_FILE,
    "DB_PASSWORD": _ONE_FILE,
    "RUST_LOG": "the level of the log is [logging] level, or AGENT_LOG_LEVEL",
}
"""By variable, what to use instead."""


def replaced_in(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Find those that are set, with what to use instead."""
    return {name: instead for name, instead in REPLACED.items() if environ.get(name)}
