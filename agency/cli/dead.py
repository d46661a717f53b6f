"""``agency dead``: runs that have used up their attempts."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output, is_terminal
from agency.cli.runs import collect, describe_run, id_of, tell_more
from agency.cli.tree import Noun, Verb
from agency.cli.verbs import DRY_RUN, MAX_ATTEMPTS, follow_verb
from agency.client import Client, Page


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.dead:ls",
        "show": "agency.cli.dead:show",
        "requeue": "agency.cli.dead:requeue",
        "discard": "agency.cli.dead:discard",
    },
    examples=(
        "agency dead ls",
        "agency dead requeue order-17",
        "agency dead requeue --workflow order --yes",
        "agency dead discard --all --dry-run",
    ),
)
@daemon_options
def dead() -> None:
    """See runs that have used up their attempts, requeue them, or give them up."""


def _which(command: Any) -> Any:  # noqa: ANN401  click's own
    options = (
        click.option("--workflow", help="Only runs of this workflow."),
        click.option("--queue", help="Only runs of this queue."),
        click.option("--code", help="Only runs that have ended with this code."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    cls=Verb, examples=("agency dead ls", "agency dead ls --workflow order --json | jq length")
)
@_which
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(
    invocation: Invocation, workflow: str | None, queue: str | None, code: str | None, limit: int
) -> ExitCode:
    """List dead letters, newest first."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[Any]:
        return client.dead_letters(
            workflow=workflow, queue=queue, code=code, limit=rows, cursor=cursor
        )

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"dead_letters": found, "next_cursor": cursor})
    elif output.is_quiet:
        for run in found:
            output.text(run["id"])
    else:
        output.table(
            ("id", "name", "workflow", "attempts", "ended", "error"),
            [
                (
                    run["id"],
                    run["name"] or "",
                    run["workflow"],
                    f"{run['attempt']} of {run['max_attempts']}",
                    run["ended_at"] or "",
                    run["error"]["message"][:80] if run["error"] is not None else "",
                )
                for run in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency dead show order-17",))
@click.argument("run_id", metavar="RUN")
@daemon_options
@pass_invocation
def show(invocation: Invocation, run_id: str) -> ExitCode:
    """Show one dead letter: what it was to do, and why it could not."""
    client, output = invocation.client(), invocation.output
    run = client.dead_letter(id_of(client, run_id))
    if output.is_json:
        output.document(run)
    else:
        describe_run(output, run)
        output.note(f"Let it go on with `agency dead requeue {run['id']}`.")
    return ExitCode.OK


def _many(command: Any) -> Any:  # noqa: ANN401  click's own
    options = (
        click.argument("run_id", metavar="[RUN]", required=False),
        click.option("--all", "is_all", is_flag=True, help="All that there are."),
        click.option("-y", "--yes", "is_sure", is_flag=True, help="Do not ask before many."),
        DRY_RUN,
    )
    for option in reversed(options):
        command = option(command)
    return _which(command)


@click.command(
    cls=Verb,
    examples=(
        "agency dead requeue order-17",
        "agency dead requeue --workflow order --dry-run",
        "agency dead requeue --all --yes --max-attempts 5",
    ),
)
@_many
@MAX_ATTEMPTS
@daemon_options
@pass_invocation
def requeue(
    invocation: Invocation,
    /,
    run_id: str | None,
    max_attempts: int | None,
    *,
    dry_run: bool,
    is_sure: bool,
    **which: Any,  # noqa: ANN401  members of the request
) -> ExitCode:
    """Let dead letters go on from what has failed: one, those of a filter, or all."""
    client = invocation.client()
    wish = {"max_attempts": max_attempts} if max_attempts is not None else {}
    if run_id is not None:
        _refuse_both(which)
        one = {**wish, "dry_run": True} if dry_run else wish
        return follow_verb(invocation, client.requeue(id_of(client, run_id), one), None)
    wish |= _filter(which)
    return _sweep(invocation, "requeue", wish, dry_run=dry_run, is_sure=is_sure)


@click.command(
    cls=Verb,
    examples=(
        "agency dead discard order-17",
        "agency dead discard --code crash --yes",
        "agency dead discard --all --dry-run",
    ),
)
@_many
@daemon_options
@pass_invocation
def discard(
    invocation: Invocation,
    /,
    run_id: str | None,
    *,
    dry_run: bool,
    is_sure: bool,
    **which: Any,  # noqa: ANN401  members of the request
) -> ExitCode:
    """Give dead letters up: one, those of a filter, or all. They are cancelled, and kept to see."""
    client, output = invocation.client(), invocation.output
    if run_id is None:
        wish = _filter(which)
        return _sweep(invocation, "discard", wish, dry_run=dry_run, is_sure=is_sure)
    _refuse_both(which)
    run = client.discard(id_of(client, run_id), dry_run=dry_run)
    if output.is_json:
        output.document(run)
    else:
        what = "would be discarded" if dry_run else "is discarded"
        output.note(f"The run {run['id']} {what}.")
    return ExitCode.OK


def _refuse_both(which: dict[str, Any]) -> None:
    if any(which.values()):
        raise click.UsageError("Name one run, or say which are meant; not both.")


def _filter(which: dict[str, Any]) -> dict[str, Any]:
    wish = {name: value for name, value in which.items() if value not in (None, False)}
    if not wish:
        raise click.UsageError("Name a run, or say which are meant: --workflow, --code or --all.")
    if wish.pop("is_all", False):
        wish["all"] = True
    return wish


def _sweep(
    invocation: Invocation, verb: str, wish: dict[str, Any], *, dry_run: bool, is_sure: bool
) -> ExitCode:
    client, output = invocation.client(), invocation.output
    if not (dry_run or is_sure):
        count, refused = _swept(client, verb, {**wish, "dry_run": True})
        if count and not is_terminal(sys.stdin):
            raise click.UsageError(f"{count} runs are meant: say --yes, or look with --dry-run.")
        if count and not click.confirm(f"{verb.capitalize()} {count} runs?", err=True):
            raise click.Abort
    count, refused = _swept(client, verb, {**wish, "dry_run": True} if dry_run else wish)
    done = f"{verb.rstrip('e')}ed"
    if output.is_json:
        output.document({done: count, "refused": refused, "dry_run": dry_run})
    else:
        _tell(output, f"{'would be ' if dry_run else ''}{done}", count, refused)
    return ExitCode.CONFLICT if refused and not count else ExitCode.OK


def _swept(client: Client, verb: str, wish: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Ask again and again until all were looked at."""
    count = 0
    refused: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        swept = client.sweep_dead(verb, {**wish, "cursor": cursor} if cursor else wish)
        count += swept.get("requeued", 0) + swept.get("discarded", 0)
        refused.update(swept["refused"])
        cursor = swept["next_cursor"]
        if cursor is None:
            return count, dict(refused)


def _tell(output: Output, done: str, count: int, refused: dict[str, int]) -> None:
    output.text(f"{count} {done}")
    for code, number in sorted(refused.items()):
        output.warn(f"{number} refused: {code}")
