"""``agency db``: how large the database is, whether it is sound, and keeping it small.

A daemon that answers is asked. When none runs, the database is opened directly, which a live daemon
would refuse.
"""

from __future__ import annotations

from functools import partial

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.parameters import SPAN
from agency.cli.tree import Noun, Verb
from agency.client import Client
from agency.config.schema import Settings
from agency.documents import CheckDocument, PruneDocument, StatsDocument, VacuumDocument

_BYTES_MAX = 1 << 40


@click.group(
    cls=Noun,
    places={
        "stats": "agency.cli.db:stats",
        "check": "agency.cli.db:check",
        "vacuum": "agency.cli.db:vacuum",
        "prune": "agency.cli.db:prune",
    },
    examples=(
        "agency db stats",
        "agency db check --timeout 5m",
        "agency db prune && agency db vacuum",
    ),
)
@daemon_options
def db() -> None:
    """Look after the database. Works with a daemon, and without one."""


@click.command(cls=Verb, examples=("agency db stats", "agency db stats --json"))
@daemon_options
@pass_invocation
def stats(invocation: Invocation) -> ExitCode:
    """Tell how large the database is, and what is in it."""

    async def look(settings: Settings) -> StatsDocument:
        from agency.daemon.local.db import stats as local

        return await local(settings)

    output = invocation.output
    found = invocation.ask_or_open(Client.db_stats, look)
    if output.is_json:
        output.document(found)
        return ExitCode.OK
    runs = ", ".join(f"{count} {status}" for status, count in sorted(found["runs"].items()))
    lines = {
        "database": found["path"],
        "size": _size(found["size_bytes"]),
        "free in it": _size(found["free_bytes"]),
        "log": _size(found["log_bytes"]),
        "runs": runs or "none",
        "oldest": found["oldest_at"] or "none",
        "oldest live": found["oldest_live_at"] or "none",
    }
    for name, value in lines.items():
        output.text(f"{name + ':':<13}{value}")
    for table in found["tables"]:
        at_least = "" if table["exact"] else "at least "
        output.text(f"{table['name'] + ':':<13}{at_least}{table['rows']} rows")
    if found["blocked_s"]:
        output.warn(f"A reader has kept the log from being copied for {found['blocked_s']:.0f} s.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency db check", "agency db check --timeout 10m"))
@click.option(
    "--timeout", type=SPAN, default=60.0, show_default="60s", help="Longest look, up to 10m."
)
@daemon_options
@pass_invocation
def check(invocation: Invocation, timeout: float) -> ExitCode:
    """Look through the database for damage, while everything goes on."""
    if not 0 < timeout <= 600:
        raise click.UsageError("--timeout is more than 0 and at most 10m.")

    async def look(settings: Settings) -> CheckDocument:
        from agency.daemon.local.db import check as local

        return await local(settings, timeout_s=timeout)

    output = invocation.output
    ask = partial(Client.check_db, timeout_s=timeout)
    with output.busy("Looking through the database"):
        found = invocation.ask_or_open(ask, look)
    if output.is_json:
        output.document(found)
    elif found["faults"]:
        for fault in found["faults"]:
            output.text(fault)
        output.complaint("The database is damaged.", "Stop the daemon and restore a backup.")
    elif found["unchecked"]:
        names = ", ".join(found["unchecked"])
        output.complaint(
            f"There was no time for {names}; the rest is sound.", "Give it more with --timeout."
        )
    else:
        output.note(f"The database is sound ({found['elapsed_s']:.1f} s).")
    return ExitCode.OK if found["sound"] else ExitCode.FAILED


@click.command(cls=Verb, examples=("agency db vacuum",))
@daemon_options
@pass_invocation
def vacuum(invocation: Invocation) -> ExitCode:
    """Give free space in the database back to the disk, but for what is soon used again."""

    async def give(settings: Settings) -> VacuumDocument:
        from agency.daemon.local.db import vacuum as local

        return await local(settings, bytes_max=_BYTES_MAX)

    output = invocation.output
    with output.busy("Giving space back"):
        given = invocation.ask_or_open(partial(Client.vacuum_db, bytes_max=_BYTES_MAX), give)
    if output.is_json:
        output.document(given)
    else:
        output.note(
            f"{_size(given['bytes'])} were given back; "
            f"{_size(given['free_bytes'])} in it are free still."
        )
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency db prune", "agency db prune --json"))
@daemon_options
@pass_invocation
def prune(invocation: Invocation) -> ExitCode:
    """Delete now what has expired, as [retention] says and as it is done by itself."""

    async def forget(settings: Settings) -> PruneDocument:
        from agency.daemon.local.db import prune as local

        return await local(settings)

    output = invocation.output
    with output.busy("Deleting what has expired"):
        done = invocation.ask_or_open(Client.prune_db, forget)
    if output.is_json:
        output.document(done)
    else:
        output.note(
            f"{done['runs']} runs, {done['snapshots']} snapshots and {done['sessions']} sessions "
            f"were deleted; {_size(done['bytes'])} were given back to the disk."
        )
    return ExitCode.OK


def _size(size_bytes: int) -> str:
    """Write a size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
