"""``agency snapshots export|import``: runs as files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import BinaryIO

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.runs import id_of
from agency.cli.tree import Verb
from agency.client import Client
from agency.core.ids import is_id
from agency.core.json import NotJson, decode
from agency.errors import AnswerLost, SnapshotNotFound


@click.command(
    cls=Verb,
    examples=(
        "agency snapshots export order-17 -o order-17.jsonl",
        "agency snapshots export order-17 -o order-17.jsonl --move",
        "agency snapshots export --receipt RECEIPT -o order-17.jsonl",
    ),
)
@click.argument("name", metavar="[SNAPSHOT|RUN]", required=False)
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="The file."
)
@click.option("--move", is_flag=True, help="The run ends here, and goes on where the file goes.")
@click.option("--receipt", "receipt_id", help="Fetch the file of a move that was cut off.")
@daemon_options
@pass_invocation
def export(
    invocation: Invocation, name: str | None, path: Path, receipt_id: str | None, *, move: bool
) -> ExitCode:
    """Write a run into a file: as it was at a snapshot, or as it is.

    The file is whole or not there. It holds inputs and results, so keep it as you keep those.
    """
    if (name is None) == (receipt_id is None) or (receipt_id is not None and move):
        raise click.UsageError("Name a snapshot or a run, or the receipt of a move.")
    client, output = invocation.client(), invocation.output
    if path.is_dir():
        raise click.UsageError(f"{str(path)!r} is a folder.")
    # Before anything is moved, so that no run goes away for a file that cannot be.
    _check_place(path)
    if move and name is not None:
        receipt = client.move(_snapshot_of(client, name))
        receipt_id = receipt["receipt_id"]
        output.note(f"The run {receipt['run_id']} is moved away under the receipt {receipt_id}.")
    if receipt_id is not None:
        try:
            digest = _write(path, client.export("receipts", receipt_id), client.url)
        except BaseException:
            again = f"agency snapshots export --receipt {receipt_id} -o {quote(str(path))}"
            output.warn(f"The file can be fetched still: {again}")
            raise
        client.confirm_moved(receipt_id)
    else:
        assert name is not None
        digest = _write(path, _copied(client, name), client.url)
    if output.is_json:
        output.document({"path": str(path), "sha256": digest, "receipt_id": receipt_id})
    else:
        output.text(str(path))
    return ExitCode.OK


@click.command(
    cls=Verb,
    name="import",
    examples=(
        "agency snapshots import order-17.jsonl",
        "agency snapshots import order-17.jsonl --copy",
    ),
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--copy", "is_copy", is_flag=True, help="As a copy also if it is of a moved run.")
@click.option("--again", is_flag=True, help="Another copy although this file was brought in.")
@daemon_options
@pass_invocation
def import_(invocation: Invocation, path: Path, *, is_copy: bool, again: bool) -> ExitCode:
    """Bring a run in from its file, and print its id. It goes on at once."""
    client, output = invocation.client(), invocation.output
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            run = client.bring_in(file, size_bytes, is_copy=is_copy, again=again)
    except OSError as error:
        raise click.UsageError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if output.is_json:
        output.document(run)
    else:
        output.text(run["id"])
    return ExitCode.OK


def _snapshot_of(client: Client, name: str) -> str:
    """Find the newest snapshot of a run, or take the name for a snapshot's id."""
    if is_id(name):
        try:
            return client.snapshot(name)["snapshot_id"]
        except SnapshotNotFound:
            run = client.run(name)
    else:
        run = client.run_named(name)
    found = run["snapshot_id"]
    if found is None:
        raise click.UsageError(
            f"The run {run['id']} is {run['status']}; only a suspended run can be moved. "
            f"Hold it first: agency runs suspend {run['id']}"
        )
    return found


def _copied(client: Client, name: str) -> Iterator[bytes]:
    if is_id(name):
        try:
            client.snapshot(name)
        except SnapshotNotFound:
            return client.export("runs", name)
        return client.export("snapshots", name)
    return client.export("runs", id_of(client, name))


def _write(path: Path, lines: Iterator[bytes], url: str) -> str:
    """Write a file so that it is whole or not there, and give its hash."""
    first = next(lines, b"")  # a refusal comes before anything is written
    try:
        descriptor, partial = _make_partial(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = _copy(file, first, lines, url)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _not_written(path, error) from error
    _sync_folder(path.parent)
    return digest


def _check_place(path: Path) -> None:
    """Refuse a place where no file can be made.

    Raises:
        click.UsageError: why not.
    """
    try:
        descriptor, partial = _make_partial(path)
        os.close(descriptor)
        Path(partial).unlink()
    except OSError as error:
        raise _not_written(path, error) from error


def _make_partial(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)


def _not_written(path: Path, error: OSError) -> click.UsageError:
    return click.UsageError(f"{str(path)!r} cannot be written: {error.strerror}.")


def _copy(file: BinaryIO, first: bytes, lines: Iterator[bytes], url: str) -> str:
    """Copy all lines; the last one must hold the hash of those before it.

    Raises:
        AnswerLost: the file is not whole.
    """
    whole = hashlib.sha256()
    last = first
    file.write(first)
    for line in lines:
        whole.update(last)
        file.write(line)
        last = line
    try:
        end = decode(last)
    except NotJson:
        end = None
    digest = whole.hexdigest()
    if not isinstance(end, dict) or end.get("part") != "end" or end.get("whole") != digest:
        lost = AnswerLost(url, "the file is not whole")
        lost.hint = "Fetch it again; the file of a move with --receipt."
        raise lost
    return digest


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: whoever is told that a run has arrived forgets its file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
