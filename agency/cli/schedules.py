"""``agency schedules``: runs that the clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import report, tell_interrupted
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.client import Page
from agency.documents import FiringDocument, ScheduleDocument


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.schedules:ls",
        "add": "agency.cli.schedules:add",
        "show": "agency.cli.schedules:show",
        "pause": "agency.cli.schedules:pause",
        "resume": "agency.cli.schedules:resume",
        "run": "agency.cli.schedules:run",
        "next": "agency.cli.schedules:next_",
        "history": "agency.cli.schedules:history",
        "rm": "agency.cli.schedules:rm",
    },
    examples=(
        "agency schedules add nightly report --cron '30 2 * * *' --zone Europe/Berlin",
        "agency schedules add poll fetch --every 5m --overlap skip",
        "agency schedules next nightly",
        "agency schedules history nightly",
    ),
)
@daemon_options
def schedules() -> None:
    """Let the clock start runs, and see what became of each firing."""


@click.command(
    cls=Verb, examples=("agency schedules ls", "agency schedules ls --workflow report --json")
)
@click.option("--workflow", help="Only schedules of this workflow.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, workflow: str | None, limit: int) -> ExitCode:
    """List schedules by name, with their next firing."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.schedules(workflow=workflow, limit=rows, cursor=cursor)

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"schedules": found, "next_cursor": cursor})
    elif output.is_quiet:
        for one in found:
            output.text(one["name"])
    else:
        output.table(
            ("schedule", "workflow", "when", "next", "state"),
            [
                (one["name"], one["workflow"], _when(one), one["next_at"] or "", _state(one))
                for one in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency schedules add nightly report --cron '30 2 * * *' --zone Europe/Berlin",
        "agency schedules add poll fetch --every 5m --jitter 30s --input '{\"feed\": 1}'",
        "agency schedules add hourly report --cron '0 * * * *' --catch-up all --overlap queue",
    ),
)
@click.argument("name")
@click.argument("workflow")
@click.option("--cron", help="Five fields, or six with seconds first.")
@click.option("--zone", default="UTC", show_default=True, help="Time zone that --cron is meant in.")
@click.option("--every", type=SPAN, help="Instead of --cron: a span of time (90s, 5m, 1d).")
@click.option("--anchor", help="Moment that --every counts from; else when it is made.")
@click.option("--input", "input_text", help="Input of each run as JSON, @FILE, or - for stdin.")
@click.option("--starts", help="Nothing is fired before this moment (2026-12-01T00:00:00Z).")
@click.option("--ends", help="Nothing is fired at this moment or later.")
@click.option("--jitter", type=SPAN, help="Put each firing off by its own part of this span.")
@click.option(
    "--catch-up",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="What becomes of firings that were missed.",
)
@click.option(
    "--catch-up-max",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Missed firings that `--catch-up all` makes up for at most.",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "cancel_previous"]),
    default="skip",
    show_default=True,
    help="What becomes of a firing while an earlier run is live.",
)
@click.option("--queue", help="Queue of the runs; else the workflow's.")
@click.option("--priority", type=int, default=0, help="Higher ones are worked off first.")
@click.option("--max-attempts", type=click.IntRange(min=1), help="Attempts of each run.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Label of each run.")
@daemon_options
@pass_invocation
def add(invocation: Invocation, /, name: str, workflow: str, **options: Any) -> ExitCode:  # noqa: ANN401  click's own
    """Make a schedule, or replace the one of that name. The same again changes nothing."""
    if (options["cron"] is None) == (options["every"] is None):
        raise click.UsageError("Either --cron or --every is needed, and not both.")
    body = {
        "workflow": workflow,
        "cron": options["cron"],
        "zone": options["zone"],
        "interval_s": options["every"],
        "anchor_at": options["anchor"],
        "starts_at": options["starts"],
        "ends_at": options["ends"],
        "jitter_s": options["jitter"],
        "catch_up": options["catch_up"],
        "catch_up_max": options["catch_up_max"],
        "overlap": options["overlap"],
        "queue": options["queue"],
        "priority": options["priority"],
        "max_attempts": options["max_attempts"],
        "tags": _tags(options["tags"]),
    }
    if options["input_text"] is not None:
        body["input"] = read_json(options["input_text"], "--input")
    given = {key: value for key, value in body.items() if value is not None}
    output = invocation.output
    schedule = invocation.client().put_schedule(name, given)
    if output.is_json:
        output.document(schedule)
    elif schedule["next_at"] is not None:
        output.note(f"The schedule {name!r} fires next at {schedule['next_at']}.")
    else:
        output.warn(f"The schedule {name!r} never fires: it has come to its end.")
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency schedules show nightly", "agency schedules show x --json")
)
@click.argument("name")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one schedule: what it runs, when, and how often it has fired."""
    output = invocation.output
    schedule = invocation.client().schedule(name)
    if output.is_json:
        output.document(schedule)
    else:
        _describe(output, schedule)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency schedules pause nightly --reason holidays",))
@click.argument("name")
@click.option("--reason", help="It is recorded and shown.")
@daemon_options
@pass_invocation
def pause(invocation: Invocation, name: str, reason: str | None) -> ExitCode:
    """Let a schedule fire nothing until it is resumed."""
    output = invocation.output
    schedule = invocation.client().pause_schedule(name, reason=reason)
    if output.is_json:
        output.document(schedule)
    else:
        output.note(f"The schedule {name!r} is paused.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency schedules resume nightly",))
@click.argument("name")
@daemon_options
@pass_invocation
def resume(invocation: Invocation, name: str) -> ExitCode:
    """Let a schedule fire again; what came due meanwhile is not made up for."""
    output = invocation.output
    schedule = invocation.client().resume_schedule(name)
    if output.is_json:
        output.document(schedule)
    else:
        output.note(f"The schedule {name!r} fires next at {schedule['next_at'] or 'no time'}.")
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency schedules run nightly", "agency schedules run nightly --watch")
)
@click.argument("name")
@click.option("--watch", is_flag=True, help="Wait for the run's end and print its output.")
@click.option("--idempotency-key", metavar="KEY", help="The same key again gives the same run.")
@daemon_options
@pass_invocation
def run(invocation: Invocation, name: str, idempotency_key: str | None, *, watch: bool) -> ExitCode:
    """Start a run of a schedule at once, paused or not. Its plan stays as it is."""
    client, output = invocation.client(), invocation.output
    started = client.run_schedule(name, idempotency_key=idempotency_key)
    run_id = started["run_id"]
    if not watch:
        if output.is_json:
            output.document(started)
        else:
            output.text(run_id)
        return ExitCode.OK
    output.note(f"run {run_id}")
    try:
        return report(output, Follower(client, output, Limit(None)).until_stopped(run_id))
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise


@click.command("next", cls=Verb, examples=("agency schedules next nightly --count 3",))
@click.argument("name")
@click.option(
    "--count", type=click.IntRange(1, 100), default=10, show_default=True, help="How many."
)
@daemon_options
@pass_invocation
def next_(invocation: Invocation, name: str, count: int) -> ExitCode:
    """List the next moments at which a schedule is expected to fire, in UTC."""
    output = invocation.output
    moments = invocation.client().next_firings(name, count=count)
    if output.is_json:
        output.document({"name": name, "next": moments})
        return ExitCode.OK
    for moment in moments:
        output.text(moment)
    if not moments:
        output.note(f"The schedule {name!r} has come to its end.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=("agency schedules history nightly", "agency schedules history nightly --json"),
)
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def history(invocation: Invocation, name: str, limit: int) -> ExitCode:
    """List what became of each firing, newest first: fired, caught up, or skipped and why."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.firings(name, limit=rows, cursor=cursor)

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"firings": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("expected", "outcome", "why", "run"),
        [(one["expected_at"], one["outcome"], _why(one), one["run_id"] or "") for one in found],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency schedules rm nightly",))
@click.argument("name")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, name: str) -> ExitCode:
    """Delete a schedule with its history. Its runs stay."""
    output = invocation.output
    invocation.client().delete_schedule(name)
    if output.is_json:
        output.document({"name": name, "deleted": True})
    else:
        output.note(f"The schedule {name!r} is deleted.")
    return ExitCode.OK


def _tags(given: Sequence[str]) -> dict[str, str]:
    tags = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--tag: {text!r} is not NAME=VALUE.")
        tags[name] = value
    return tags


def _when(schedule: ScheduleDocument) -> str:
    if schedule["cron"] is not None:
        return f"{schedule['cron']} ({schedule['zone']})"
    return f"every {schedule['interval_s']:g} s"


def _state(schedule: ScheduleDocument) -> str:
    if schedule["paused"]:
        return "paused"
    return "ended" if schedule["next_at"] is None else "active"


def _why(firing: FiringDocument) -> str:
    if firing["through_at"] is None:
        return firing["reason"]
    many = "more than were counted" if firing["firings"] is None else f"{firing['firings']} firings"
    return f"{firing['reason']} ({many})"


def _describe(output: Output, schedule: ScheduleDocument) -> None:
    counts = schedule["counts"]
    lines = {
        "schedule": schedule["name"],
        "workflow": schedule["workflow"],
        "when": _when(schedule),
        "state": _state(schedule),
        "paused for": schedule["pause_reason"],
        "next": schedule["next_at"],
        "last": schedule["last_at"],
        "starts": schedule["starts_at"],
        "ends": schedule["ends_at"],
        "jitter": f"{schedule['jitter_s']:g} s" if schedule["jitter_s"] else None,
        "catch-up": schedule["catch_up"],
        "overlap": schedule["overlap"],
        "queue": schedule["queue"],
        "counts": ", ".join(f"{counts[outcome]} {outcome}" for outcome in counts),
    }
    for name, value in lines.items():
        if value:
            output.text(f"{name + ':':<12}{value}")
