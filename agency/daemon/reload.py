"""What SIGHUP does: the log file anew, and the configuration read again and compared."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agency.config.connections import GROUP
from agency.config.explain import describe_faults, explain
from agency.config.load import Loaded
from agency.errors import ConfigurationInvalid, PlaceNotWritable
from agency.telemetry.logs import Logs

log = logging.getLogger(__name__)

APPLIED = frozenset({"logging.level", "mcp.server_url"})
"""Settings that take effect without a restart, beside those of single MCP servers."""


def reload(loaded: Loaded, load: Callable[[], Loaded], logs: Logs) -> Loaded | None:
    """Reopen the log, apply what can be applied, and report the rest. Never raises.

    Connections of the new settings are for the caller to take over.

    Args:
        loaded: What the daemon was started with.
        load: Reads the configuration again.
        logs: The open logs.

    Returns:
        What was read; None if it has faults.
    """
    try:
        is_reopened = logs.reopen()
    except PlaceNotWritable as error:
        is_reopened = False
        log.error("log file not reopened", extra={"reason": error.message})  # noqa: TRY400
    try:
        fresh = load()
    except ConfigurationInvalid as error:
        log.error("configuration not reloaded", extra={"faults": describe_faults(error)})  # noqa: TRY400
        return None
    logs.set_level(fresh.settings.logging.level)
    known = {one.name: one.value for one in explain(loaded)}
    now = {one.name: one.value for one in explain(fresh)}
    # The section of a queue may be new, or gone.
    changed = [name for name in known | now if known.get(name) != now.get(name)]
    log.info(
        "reloaded",
        extra={
            "log_reopened": is_reopened,
            "applied": [name for name in changed if _is_applied(name)],
            "needs_restart": [name for name in changed if not _is_applied(name)],
        },
    )
    return fresh


def _is_applied(name: str) -> bool:
    return name in APPLIED or name.startswith(f"{GROUP}.")
