"""``agency snapshots``: where suspended runs can be resumed."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import report, tell_interrupted
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.cli.waits import describe
from agency.client import Page


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.snapshots:ls",
        "show": "agency.cli.snapshots:show",
        "resume": "agency.cli.snapshots:resume",
        "rm": "agency.cli.snapshots:rm",
        "export": "agency.cli.transfers:export",
        "import": "agency.cli.transfers:import_",
    },
    examples=(
        "agency snapshots ls",
        "agency snapshots show 0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11",
        "agency snapshots resume 0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11 --input '\"Main Street 1\"'",
    ),
)
@daemon_options
def snapshots() -> None:
    """See snapshots of suspended runs, and resume runs from them."""


@click.command(cls=Verb, examples=("agency snapshots ls", "agency snapshots ls --run order-17"))
@click.option("--run", "run_name", help="Only snapshots of the run of this name.")
@click.option("--reason", help="Only those with this reason.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, run_name: str | None, reason: str | None, limit: int) -> ExitCode:
    """List snapshots, newest first."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.snapshots(workflow_id=run_name, reason=reason, limit=rows, cursor=cursor)

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"snapshots": found, "next_cursor": cursor})
    elif output.is_quiet:
        for one in found:
            output.text(one["snapshot_id"])
    else:
        output.table(
            ("snapshot", "run", "name", "reason", "spent", "created"),
            [
                (
                    one["snapshot_id"],
                    one["run_id"],
                    one["workflow_id"] or "",
                    one["reason"],
                    "yes" if one["spent"] else "no",
                    one["created_at"],
                )
                for one in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency snapshots show SNAPSHOT --json",))
@click.argument("snapshot_id", metavar="SNAPSHOT")
@daemon_options
@pass_invocation
def show(invocation: Invocation, snapshot_id: str) -> ExitCode:
    """Show one snapshot: whose it is, what the run waited for, whether it is spent."""
    output = invocation.output
    snapshot = invocation.client().snapshot(snapshot_id)
    if output.is_json:
        output.document(snapshot)
        return ExitCode.OK
    name = f" ({snapshot['workflow_id']})" if snapshot["workflow_id"] else ""
    output.text(f"snapshot:  {snapshot['snapshot_id']}")
    output.text(f"run:       {snapshot['run_id']}{name}")
    output.text(f"workflow:  {snapshot['workflow']}")
    output.text(f"reason:    {snapshot['reason']}")
    output.text(f"created:   {snapshot['created_at']}")
    output.text(f"spent:     {'yes' if snapshot['spent'] else 'no'}")
    output.text(f"status:    {snapshot['run_status']}")
    for wait in snapshot["waits"]:
        output.text(f"waits:     {describe(wait)} [{wait['key']}]")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency snapshots resume SNAPSHOT",
        "agency snapshots resume SNAPSHOT --wait address#1 --input '\"Main Street 1\"'",
        'agency snapshots resume SNAPSHOT --input \'{"decision": "again"}\'',
    ),
)
@click.argument("snapshot_id", metavar="SNAPSHOT")
@click.option("--wait", help="Key of the wait that is answered; optional when there is one.")
@click.option("--input", "input_text", help="The answer as JSON, @FILE, or - for stdin.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the run's end.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@daemon_options
@pass_invocation
def resume(
    invocation: Invocation,
    snapshot_id: str,
    wait: str | None,
    input_text: str | None,
    timeout: float | None,
    *,
    no_wait: bool,
) -> ExitCode:
    """Answer what a suspended run waits for, and print its output when it has ended."""
    if no_wait and timeout is not None:
        raise click.UsageError("--no-wait and --timeout do not go together.")
    value = None if input_text is None else read_json(input_text, "--input")
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    answer = partial(
        client.resume, snapshot_id, wait=wait, input=value, has_input=input_text is not None
    )
    resumed = follower.once(partial(answer, wait_s=0))
    run_id = resumed["run_id"]
    if no_wait:
        if output.is_json:
            output.document(resumed)
        else:
            output.text(run_id)
        return ExitCode.OK
    try:
        output.note(f"run {run_id}")
        return report(output, follower.until_stopped(run_id))
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise


@click.command(cls=Verb, examples=("agency snapshots rm SNAPSHOT --cancel",))
@click.argument("snapshot_id", metavar="SNAPSHOT")
@click.option("--cancel", is_flag=True, help="Cancel the run first, if it has not ended.")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, snapshot_id: str, *, cancel: bool) -> ExitCode:
    """Delete a snapshot."""
    output = invocation.output
    invocation.client().delete_snapshot(snapshot_id, cancel=cancel)
    if output.is_json:
        output.document({"snapshot_id": snapshot_id, "deleted": True})
    else:
        output.note(f"The snapshot {snapshot_id} is deleted.")
    return ExitCode.OK
