"""``agency sagas``: define sagas, start them, see their legs, stop them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from agency.cli.follow import Follower, Limit, exit_code_for, has_ended
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import explain, report
from agency.cli.runs import collect, id_of, tell_more
from agency.cli.tree import Noun, Verb
from agency.cli.watching import follow_started
from agency.client import Page
from agency.core.ids import new_id
from agency.documents import LegStatusDocument, RunDocument, SagaRunDocument

FILE_BYTES_MAX = 1 << 20
"""A saga as a file; the daemon takes less."""


@click.group(
    cls=Noun,
    places={
        "define": "agency.cli.sagas:define",
        "ls": "agency.cli.sagas:ls",
        "show": "agency.cli.sagas:show",
        "rm": "agency.cli.sagas:rm",
        "start": "agency.cli.sagas:start",
        "status": "agency.cli.sagas:status",
        "abort": "agency.cli.sagas:abort",
        "retry-compensation": "agency.cli.sagas:retry_compensation",
    },
    examples=(
        "agency sagas define order-saga.json",
        "agency sagas start order-processing --input '{\"items\": 5}'",
        "agency sagas status order-17",
        "agency sagas retry-compensation order-17",
    ),
)
@daemon_options
def sagas() -> None:
    """Work whose parts are all done, or taken back. A run is named by its id or its name."""


@click.command(
    cls=Verb,
    examples=("agency sagas define order-saga.json", "agency sagas define order-saga.yaml"),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@daemon_options
@pass_invocation
def define(invocation: Invocation, file: Path) -> ExitCode:
    """Define a saga from a file of JSON or YAML, or a new version of it.

    New runs are of this version; those that have begun keep theirs.
    """
    declaration = _read(file)
    output = invocation.output
    defined = invocation.client().define_saga(declaration)
    if output.is_json:
        output.document(defined)
    elif output.is_quiet:
        output.text(defined["version"])
    else:
        output.note(f"The saga {defined['name']!r} is defined in version {defined['version']}.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sagas ls", "agency sagas ls --json"))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List the sagas that can be started, by name."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.sagas(limit=rows, cursor=cursor)

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"sagas": found, "next_cursor": cursor})
    elif output.is_quiet:
        for saga in found:
            output.text(saga["name"])
    else:
        output.table(
            ("name", "version", "origin", "legs", "description"),
            [
                (
                    saga["name"],
                    saga["version"],
                    saga["origin"],
                    str(len(saga["legs"])),
                    saga["description"].partition("\n")[0],
                )
                for saga in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sagas show order-processing",))
@click.argument("name")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one saga: its legs, and what takes each of them back."""
    output = invocation.output
    saga = invocation.client().saga(name)
    if output.is_json:
        output.document(saga)
        return ExitCode.OK
    output.text(f"saga:     {saga['name']} (version {saga['version']})")
    output.text(f"origin:   {saga['origin']}" + (f" {saga['source']}" if saga["source"] else ""))
    if saga["description"]:
        output.text(f"about:    {saga['description']}")
    output.table(
        ("leg", "name", "beside", "action", "compensation", "attempts"),
        [
            (
                leg["id"],
                leg["name"],
                leg["group"],
                leg["kind"],
                leg["compensation"] or "",
                str(leg["attempts"]),
            )
            for leg in saga["legs"]
        ],
    )
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sagas rm order-processing",))
@click.argument("name")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, name: str) -> ExitCode:
    """Delete a saga that was defined here. Refused while a run of it needs it."""
    output = invocation.output
    invocation.client().delete_saga(name)
    if output.is_json:
        output.document({"name": name, "deleted": True})
    else:
        output.note(f"The saga {name!r} is deleted.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency sagas start order-processing --input '{\"items\": 5}'",
        "agency sagas start order-processing --input @order.json --name order-17 --no-wait",
    ),
)
@click.argument("saga")
@click.option("--input", "input_text", help="Input as JSON, @FILE, or - for stdin.")
@click.option("--name", help="Your own name for the run; unique among live runs.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and do not wait for its end.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@click.option("--idempotency-key", help="The same key twice starts one run.")
@daemon_options
@pass_invocation
def start(
    invocation: Invocation,
    saga: str,
    input_text: str | None,
    name: str | None,
    timeout: float | None,
    idempotency_key: str | None,
    *,
    no_wait: bool,
) -> ExitCode:
    """Start a saga, and print its output, or what became of its legs, when it has ended."""
    if no_wait and timeout is not None:
        raise click.UsageError("--no-wait and --timeout do not go together.")
    value: Any = None if input_text is None else read_json(input_text, "--input")
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    # A key of our own, so that the request may be sent again when its answer is lost.
    key = idempotency_key or new_id()
    started = follower.delivered(
        partial(client.start_saga, saga, value, name=name, idempotency_key=key)
    )

    def tell_end(output: Output, ended: RunDocument) -> ExitCode:
        if ended["status"] not in {"compensated", "compensation_failed"}:
            return report(output, ended)
        found = client.saga_run(ended["id"])
        _show(output, found)
        explain(output, found)
        return exit_code_for(found)

    return follow_started(follower, output, started, no_wait=no_wait, tell=tell_end)


@click.command(
    cls=Verb, examples=("agency sagas status order-17", "agency sagas status order-17 --json")
)
@click.argument("run_id", metavar="RUN")
@daemon_options
@pass_invocation
def status(invocation: Invocation, run_id: str) -> ExitCode:
    """Show how a run of a saga is, leg by leg."""
    client, output = invocation.client(), invocation.output
    found = client.saga_run(id_of(client, run_id))
    _show(output, found)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sagas abort order-17 --reason 'ordered twice'",))
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; kept with the run.")
@daemon_options
@pass_invocation
def abort(invocation: Invocation, run_id: str, reason: str | None) -> ExitCode:
    """Stop a run of a saga, and take back what it has done."""
    client, output = invocation.client(), invocation.output
    found = client.abort_saga(id_of(client, run_id), reason=reason)
    _show(output, found)
    if not found["aborted"]:
        output.warn("It takes back what it has done already; that goes on.")
    elif not has_ended(found):
        output.note("It is being stopped; see `agency sagas status`.")
    return ExitCode.OK


@click.command(
    "retry-compensation", cls=Verb, examples=("agency sagas retry-compensation order-17",)
)
@click.argument("run_id", metavar="RUN")
@daemon_options
@pass_invocation
def retry_compensation(invocation: Invocation, run_id: str) -> ExitCode:
    """Try once more to take back what a run could not take back."""
    client, output = invocation.client(), invocation.output
    found = client.retry_compensation(id_of(client, run_id))
    _show(output, found)
    if found["status"] == "compensated":
        return ExitCode.OK
    if not has_ended(found):
        output.note("It is being taken back; see `agency sagas status`.")
        return ExitCode.OK
    explain(output, found)
    return exit_code_for(found)


def _show(output: Output, found: SagaRunDocument) -> None:
    if output.is_json:
        output.document(found)
        return
    if output.is_quiet:
        output.text(found["status"])
        return
    output.text(f"run:      {found['run_id']}")
    output.text(f"saga:     {found['saga']} (version {found['version']})")
    output.text(f"status:   {found['status']}")
    error = found["error"]
    if error is not None:
        output.text(f"error:    {error['message']} [{error['code']}]")
    output.table(
        ("leg", "state", "attempts", "result"),
        [(leg["id"], leg["state"], str(leg["attempts"]), _outcome(leg)) for leg in found["legs"]],
    )


def _outcome(leg: LegStatusDocument) -> str:
    import orjson

    error = leg["compensation_error"] or leg["error"]
    if leg["state"] == "compensated":
        error = None
    if error is not None:
        return f"{error['message']} [{error['code']}]"
    return "" if leg["result"] is None else orjson.dumps(leg["result"]).decode()[:200]


def _read(file: Path) -> Any:  # noqa: ANN401  JSON value
    from agency.core import json, yaml

    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    if len(raw) > FILE_BYTES_MAX:
        raise click.UsageError(f"{str(file)!r} has more than {FILE_BYTES_MAX} bytes.")
    try:
        if file.suffix in {".yaml", ".yml"}:
            return yaml.decode(raw.decode())
        return json.decode(raw)
    except (json.NotJson, yaml.NotYaml, UnicodeDecodeError) as error:
        raise click.UsageError(f"{str(file)!r} cannot be read: {error}") from error
