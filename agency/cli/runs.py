"""``agency runs``: see runs, and steer them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import tell_interrupted
from agency.cli.tree import Noun, Verb
from agency.cli.waits import describe, how_to_answer
from agency.cli.watching import result_of
from agency.cli.watching import watch as watch_run
from agency.client import Client, Page
from agency.core.ids import is_id, new_id
from agency.core.limits import PAGE_ROWS_MAX
from agency.documents import RunDocument, StepDocument

T = TypeVar("T")

STATUSES = (
    "pending",
    "running",
    "suspended",
    "completed",
    "limit_reached",
    "failed",
    "dead_letter",
    "cancelled",
    "timed_out",
    "compensated",
    "compensation_failed",
)


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.runs:ls",
        "show": "agency.cli.runs:show",
        "watch": "agency.cli.runs:watch",
        "updates": "agency.cli.updates:of_run",
        "cancel": "agency.cli.runs:cancel",
        "send": "agency.cli.runs:send",
        "suspend": "agency.cli.verbs:suspend",
        "resume": "agency.cli.verbs:resume",
        "retry": "agency.cli.verbs:retry",
        "rerun": "agency.cli.verbs:rerun",
        "fork": "agency.cli.verbs:fork",
        "lineage": "agency.cli.verbs:lineage",
        "files": "agency.cli.run_files:files",
    },
    examples=(
        "agency runs ls --status suspended",
        "agency runs show order-17 --steps",
        "agency runs watch order-17",
        "agency runs send order-17 paid --payload '{\"amount\": 12}'",
    ),
)
@daemon_options
def runs() -> None:
    """See runs, and steer them. A run is named by its id, or by the name it was given."""


@click.command(
    cls=Verb,
    examples=(
        "agency runs ls",
        "agency runs ls --status failed --status dead_letter --limit 100",
        "agency runs ls --workflow order --json | jq '.runs[].id'",
    ),
)
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only these; may be repeated."
)
@click.option("--workflow", help="Only runs of this workflow.")
@click.option("--name", help="Only runs of this name.")
@click.option("--session", help="Only runs of this conversation.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(
    invocation: Invocation,
    status: tuple[str, ...],
    workflow: str | None,
    name: str | None,
    session: str | None,
    limit: int,
) -> ExitCode:
    """List runs, newest first."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.runs(
            status=status,
            workflow=workflow,
            name=name,
            session_id=session,
            limit=rows,
            cursor=cursor,
        )

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"runs": found, "next_cursor": cursor})
    elif output.is_quiet:
        for run in found:
            output.text(run["id"])
    else:
        output.table(
            ("id", "name", "workflow", "status", "created"),
            [
                (run["id"], run["name"] or "", run["workflow"], run["status"], run["created_at"])
                for run in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency runs show order-17",
        "agency runs show 0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11 --steps",
        "agency runs show order-17 --json | jq .output",
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option("--steps", "has_steps", is_flag=True, help="Show the journal, too.")
@daemon_options
@pass_invocation
def show(invocation: Invocation, run_id: str, *, has_steps: bool) -> ExitCode:
    """Show one run: how it is, what it waits for, what it came to."""
    client, output = invocation.client(), invocation.output
    run = find_run(client, run_id)
    steps: list[StepDocument] = []
    if has_steps:
        steps = list(_all_steps(client, run["id"]))
    if output.is_json:
        output.document({**run, "steps": steps} if has_steps else run)
        return ExitCode.OK
    describe_run(output, run)
    if has_steps:
        output.text("")
        output.table(
            ("number", "kind", "key", "at", "result"),
            [
                (str(one["number"]), one["kind"], one["key"], one["at"], result_of(one))
                for one in steps
            ],
        )
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency runs watch order-17", "agency runs watch ID --json"))
@click.argument("run_id", metavar="RUN")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@daemon_options
@pass_invocation
def watch(invocation: Invocation, run_id: str, timeout: float | None) -> ExitCode:
    """Follow a run to its end, and print its steps as they come.

    Steps are told on stderr, the run's output is written to stdout.
    """
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    found = id_of(client, run_id)
    try:
        return watch_run(follower, output, found)
    except KeyboardInterrupt:
        tell_interrupted(output, found)
        raise


@click.command(cls=Verb, examples=("agency runs cancel order-17 --reason 'ordered twice'",))
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; kept with the run.")
@daemon_options
@pass_invocation
def cancel(invocation: Invocation, run_id: str, reason: str | None) -> ExitCode:
    """Cancel a run and its children. Work in flight is stopped."""
    client, output = invocation.client(), invocation.output
    cancelled = client.cancel(id_of(client, run_id), reason=reason)
    if output.is_json:
        output.document(cancelled)
    elif cancelled["status"] == "cancelled":
        output.note(f"The run {cancelled['run_id']} is cancelled.")
    else:
        output.note(f"The run {cancelled['run_id']} is being cancelled; it is still ending.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency runs send order-17 paid --payload '{\"amount\": 12}'",
        "agency runs send order-17 document --payload @document.json",
    ),
)
@click.argument("run_id", metavar="RUN")
@click.argument("name", metavar="EVENT")
@click.option("--payload", help="JSON, @FILE, or - for stdin; null if it is left out.")
@daemon_options
@pass_invocation
def send(invocation: Invocation, run_id: str, name: str, payload: str | None) -> ExitCode:
    """Send an event to a run. It is kept until the run takes it."""
    value = None if payload is None else read_json(payload, "--payload")
    client, output = invocation.client(), invocation.output
    # With a key the event may be sent again when the answer is lost, and counts once.
    deliver = partial(client.send, id_of(client, run_id), name, value, idempotency_key=new_id())
    sent = Follower(client, output, Limit(None)).delivered(deliver)
    if output.is_json:
        output.document(sent)
    else:
        output.text(sent["event_id"])
    return ExitCode.OK


# --- shared with the other nouns -----------------------------------------------------------


def id_of(client: Client, text: str) -> str:
    """Find the id of the run that somebody named by its id or its name.

    Raises:
        RunNotFound: no run has the name.
    """
    return text if is_id(text) else client.run_named(text)["run_id"]


def find_run(client: Client, text: str) -> RunDocument:
    """Read the run that somebody named by its id or its name.

    Raises:
        RunNotFound: there is none.
    """
    return client.run(text) if is_id(text) else client.run_named(text)


def collect(read: Callable[[str | None, int], Page[T]], limit: int) -> tuple[list[T], str | None]:
    """Read up to ``limit`` rows, page by page; also where the list goes on, or None."""
    found: list[T] = []
    cursor: str | None = None
    while len(found) < limit:
        page = read(cursor, min(limit - len(found), PAGE_ROWS_MAX))
        found.extend(page.items)
        cursor = page.cursor
        if cursor is None:
            break
    return found, cursor


def tell_more(output: Output, count: int, cursor: str | None) -> None:
    """Say that a list is not whole: nothing is left out in silence."""
    if cursor is not None:
        output.note(f"These are the newest {count}; there are more. See them with --limit.")


def _all_steps(client: Client, run_id: str) -> list[StepDocument]:
    steps: list[StepDocument] = []
    while True:
        after = steps[-1]["number"] if steps else 0
        page = client.steps(run_id, after=after, limit=PAGE_ROWS_MAX)
        steps.extend(page.items)
        if page.cursor is None:
            return steps


def describe_run(output: Output, run: RunDocument) -> None:
    """Tell people how a run is."""
    rows: Mapping[str, object] = {
        "id": run["id"],
        "name": run["name"],
        "workflow": f"{run['workflow']} (version {run['version']})",
        "status": run["status"],
        "attempt": f"{run['attempt']} of {run['max_attempts']}",
        "steps": run["steps_executed"],
        "session": run["session_id"],
        "parent": run["parent_id"],
        "rerun of": run.get("rerun_of"),
        "fork of": run.get("forked_from"),
        "provider": run["provider"],
        "held": run["hold"],
        "created": run["created_at"],
        "started": run["started_at"],
        "ended": run["ended_at"],
        "snapshot": run["snapshot_id"],
    }
    for name, value in rows.items():
        if value is not None:
            output.text(f"{name + ':':<10} {value}")
    for wait in run["waits"]:
        output.text(f"{'waits:':<10} {describe(wait)} [{wait['key']}]")
        command = how_to_answer(run, wait)
        if command:
            output.text(f"{'':<10} {command}")
    error = run["error"]
    if error is not None:
        output.text(f"{'error:':<10} {error['message']} [{error['code']}]")
        if error["hint"]:
            output.text(f"{'':<10} {error['hint']}")
    for name, value in (("input", run["input"]), ("output", run["output"])):
        if value is not None:
            output.text(f"{name + ':':<10} {_one_line(value)}")


def _one_line(value: object) -> str:
    import orjson

    return orjson.dumps(value).decode()
