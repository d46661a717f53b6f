"""``agency runs files``: what a run has kept in its folder."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.runs import collect, id_of, tell_more
from agency.cli.tree import Verb
from agency.client import Client


@click.command(
    cls=Verb,
    examples=(
        "agency runs files 0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11",
        "agency runs files order-17 report.md",
        "agency runs files order-17 plots/one.png -o one.png",
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("path", required=False)
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Save it."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
)
@daemon_options
@pass_invocation
def files(
    invocation: Invocation, run_id: str, path: str | None, target: Path | None, limit: int
) -> ExitCode:
    """List the files that a run has kept; with PATH print that file, or save it."""
    client, output = invocation.client(), invocation.output
    if path is None:
        if target is not None:
            raise click.UsageError("Name the file that is to be saved.")
        return _list(invocation, id_of(client, run_id), limit)
    if target is not None:
        size = _save(client, id_of(client, run_id), path, target)
        if output.is_json:
            output.document({"path": path, "saved_as": str(target), "size_bytes": size})
        else:
            output.text(str(target))
        return ExitCode.OK
    if output.is_json:
        raise click.UsageError("A file is no JSON: save it with -o.")
    for piece in client.run_file(id_of(client, run_id), path):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return ExitCode.OK


def _list(invocation: Invocation, run_id: str, limit: int) -> ExitCode:
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.run_files(run_id, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"files": found, "next_cursor": cursor})
    elif output.is_quiet:
        for one in found:
            output.text(one["path"])
    else:
        output.table(("path", "bytes"), [(one["path"], str(one["size_bytes"])) for one in found])
        tell_more(output, len(found), cursor)
    return ExitCode.OK


def _save(client: Client, run_id: str, path: str, target: Path) -> int:
    """Write the file beside its place first, so that it is whole or not there."""
    size = 0
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            new = Path(file.name)
            try:
                for piece in client.run_file(run_id, path):
                    size += len(piece)
                    file.write(piece)
                # As any other file that is made here, and not for its owner alone.
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                new.replace(target)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise click.UsageError(f"{str(target)!r} cannot be written: {error.strerror}.") from error
    return size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
