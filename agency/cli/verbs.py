"""``agency runs retry|resume|rerun|fork|suspend|lineage``: let runs go on, or begin again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import report, tell_interrupted
from agency.cli.runs import id_of
from agency.cli.tree import Verb
from agency.core.ids import new_id
from agency.core.limits import PAGE_ROWS_MAX
from agency.documents import KinDocument, LineageDocument, VerbDocument

Command = TypeVar("Command", bound=Callable[..., Any])

DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Only tell what would be done again, or why it is refused."
)
MAX_ATTEMPTS = click.option(
    "--max-attempts", type=click.IntRange(min=1), help="Tries of the run as a whole."
)
PROVIDER = click.option("--provider", help="Who serves the run's models from now on.")


def _waiting(command: Command) -> Command:
    """Add the options of commands that wait for the run that goes on."""
    options = (
        click.option("--no-wait", is_flag=True, help="Do not wait for the run's end."),
        click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _given(**budgets: float | None) -> dict[str, float]:
    return {name: bound for name, bound in budgets.items() if bound is not None}


def _budgets(command: Command) -> Command:
    """Add the options for what an agent's run may use."""
    options = (
        click.option("--turns", type=click.IntRange(min=1), help="Of an agent: model turns."),
        click.option("--tokens", type=click.IntRange(min=1), help="Of an agent: tokens."),
        click.option("--seconds", type=SPAN, help="Of an agent: time of its calls (90s, 5m)."),
        click.option("--tool-calls", type=click.IntRange(min=0), help="Of an agent: tool calls."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    cls=Verb,
    examples=(
        "agency runs retry order-17",
        "agency runs retry order-17 --dry-run",
        "agency runs retry order-17 --max-attempts 5 --no-wait",
        "agency runs retry 0190c5b2-… --turns 50",
    ),
)
@click.argument("run_id", metavar="RUN")
@PROVIDER
@MAX_ATTEMPTS
@_budgets
@DRY_RUN
@_waiting
@daemon_options
@pass_invocation
def retry(  # noqa: PLR0913  one for each option
    invocation: Invocation,
    run_id: str,
    provider: str | None,
    max_attempts: int | None,
    timeout: float | None,
    *,
    turns: int | None,
    tokens: int | None,
    seconds: float | None,
    tool_calls: int | None,
    dry_run: bool,
    no_wait: bool,
) -> ExitCode:
    """Let an ended run go on from what has failed, and print its output when it has ended.

    Only the failures that the run's own error names are done again.
    An agent's run that has used up a budget may use as much once more, or what is given in all.
    """
    client, limit = invocation.client(), _limit(timeout, no_wait=no_wait)
    done = client.retry(
        id_of(client, run_id),
        provider=provider,
        max_attempts=max_attempts,
        budgets=_given(turns=turns, tokens=tokens, seconds=seconds, tool_calls=tool_calls),
        dry_run=dry_run,
    )
    return follow_verb(invocation, done, limit)


@click.command(
    cls=Verb,
    examples=(
        "agency runs resume order-17 --input '\"Main Street 1\"'",
        "agency runs resume order-17 --wait address#1 --input @address.json",
        'agency runs resume 0190c5b2-… --input \'{"budgets": {"turns": 50}}\'',
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option("--wait", help="Key of the wait that is answered; optional when there is one.")
@click.option("--input", "input_text", help="The answer as JSON, @FILE, or - for stdin.")
@DRY_RUN
@_waiting
@daemon_options
@pass_invocation
def resume(
    invocation: Invocation,
    run_id: str,
    wait: str | None,
    input_text: str | None,
    timeout: float | None,
    *,
    dry_run: bool,
    no_wait: bool,
) -> ExitCode:
    """Answer what a suspended run waits for, and print its output when it has ended."""
    client, limit = invocation.client(), _limit(timeout, no_wait=no_wait)
    value = None if input_text is None else read_json(input_text, "--input")
    done = client.resume_run(
        id_of(client, run_id),
        wait=wait,
        input=value,
        has_input=input_text is not None,
        dry_run=dry_run,
    )
    return follow_verb(invocation, done, limit)


@click.command(
    cls=Verb,
    examples=(
        "agency runs rerun order-17",
        'agency runs rerun order-17 --input \'{"sku": "A-2"}\' --name order-17b',
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option("--input", "input_text", help="Another input as JSON, @FILE, or - for stdin.")
@click.option("--name", help="Name of the new run.")
@PROVIDER
@MAX_ATTEMPTS
@DRY_RUN
@_waiting
@daemon_options
@pass_invocation
def rerun(
    invocation: Invocation,
    /,
    run_id: str,
    input_text: str | None,
    timeout: float | None,
    *,
    no_wait: bool,
    **wish: Any,  # noqa: ANN401  members of the request
) -> ExitCode:
    """Start a new run with the same input, or another, and print its output."""
    limit = _limit(timeout, no_wait=no_wait)
    return _begin(invocation, run_id, "rerun", _wish(wish, input_text), limit)


@click.command(
    cls=Verb,
    examples=(
        "agency runs fork order-17 --at charge#1",
        "agency runs fork order-17 --at 4711 --dry-run",
        'agency runs fork order-17 --at charge#1 --input \'{"sku": "A-2"}\'',
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--at",
    help="First entry that is not kept: number or key as `runs show --steps` has them, or the id "
    "of a snapshot. Everything is kept without it.",
)
@click.option("--input", "input_text", help="Another input as JSON, @FILE, or - for stdin.")
@click.option("--name", help="Name of the new run.")
@PROVIDER
@MAX_ATTEMPTS
@DRY_RUN
@_waiting
@daemon_options
@pass_invocation
def fork(
    invocation: Invocation,
    /,
    run_id: str,
    at: str | None,
    input_text: str | None,
    timeout: float | None,
    *,
    no_wait: bool,
    **wish: Any,  # noqa: ANN401  members of the request
) -> ExitCode:
    """Start a new run that has in common what this one had recorded before a point."""
    limit = _limit(timeout, no_wait=no_wait)
    made = _wish(wish, input_text)
    if at is not None:
        made["at"] = int(at) if at.isdecimal() else at
    return _begin(invocation, run_id, "fork", made, limit)


@click.command(cls=Verb, examples=("agency runs suspend order-17 --reason 'look at it first'",))
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; it is shown to whoever looks at the run.")
@daemon_options
@pass_invocation
def suspend(invocation: Invocation, run_id: str, reason: str | None) -> ExitCode:
    """Hold a run until it is resumed, whatever arrives for it meanwhile."""
    client, output = invocation.client(), invocation.output
    held = client.suspend(id_of(client, run_id), reason=reason)
    if output.is_json:
        output.document(held)
    elif held["snapshot_id"] is None:
        output.note(f"The run {held['run_id']} is held at its next safe point.")
    else:
        output.text(held["snapshot_id"])
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency runs lineage order-17",))
@click.argument("run_id", metavar="RUN")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=PAGE_ROWS_MAX),
    default=100,
    show_default=True,
    help="Further runs at most.",
)
@daemon_options
@pass_invocation
def lineage(invocation: Invocation, run_id: str, limit: int) -> ExitCode:
    """Show what a run comes from, and what has come from it."""
    client, output = invocation.client(), invocation.output
    family = client.lineage(id_of(client, run_id), limit=limit)
    if output.is_json:
        output.document(family)
    else:
        _describe(output, family)
    return ExitCode.OK


# --- what they have in common ----------------------------------------------------------------


def follow_verb(invocation: Invocation, done: VerbDocument, limit: Limit | None) -> ExitCode:
    """Tell what a verb has done or would do, and wait for its run unless ``limit`` is None."""
    output = invocation.output
    if done["dry_run"]:
        _preview(output, done)
        return ExitCode.OK
    run_id = done["run_id"]
    if limit is None:
        if output.is_json:
            output.document(done)
        else:
            output.text(run_id)
        return ExitCode.OK
    try:
        output.note(f"run {run_id}")
        follower = Follower(invocation.client(), output, limit)
        return report(output, follower.until_stopped(run_id))
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise


def _begin(
    invocation: Invocation, run_id: str, verb: str, wish: dict[str, Any], limit: Limit | None
) -> ExitCode:
    client = invocation.client()
    begin = client.rerun if verb == "rerun" else client.fork
    # With a key it may be sent again when the answer is lost, and begins one run.
    ask = partial(begin, id_of(client, run_id), wish, idempotency_key=new_id())
    done = Follower(client, invocation.output, Limit(None)).delivered(ask)
    return follow_verb(invocation, done, limit)


def _limit(timeout: float | None, *, no_wait: bool) -> Limit | None:
    if no_wait and timeout is not None:
        raise click.UsageError("--no-wait and --timeout do not go together.")
    return None if no_wait else Limit(timeout)


def _wish(given: dict[str, Any], input_text: str | None) -> dict[str, Any]:
    wish = {name: value for name, value in given.items() if value not in (None, False)}
    if input_text is not None:
        wish["input"] = read_json(input_text, "--input")
    return wish


def _preview(output: Output, done: VerbDocument) -> None:
    if output.is_json:
        output.document(done)
        return
    rows = [("again", one["kind"], one["key"], str(one["number"])) for one in done["again"]]
    rows += [("waits", "wait", key, "") for key in done["waits"]]
    rows += [("stays", one["kind"], one["key"], str(one["number"])) for one in done["stays"]]
    output.table(("what", "kind", "key", "number"), rows)
    output.note(
        f"Done again: {done['again_count']} of what is recorded; {done['stays_count']} stay. "
        "Nothing was changed."
    )


def _describe(output: Output, family: LineageDocument) -> None:
    output.table(
        ("run", "name", "workflow", "status", "is", "of"),
        [
            (kin["run_id"], kin["name"] or "", kin["workflow"], kin["status"], *_place(kin))
            for kin in family["runs"]
        ],
    )
    for retried in family["retries"]:
        error = retried["error"]
        why = f": {error['message']}" if error is not None else ""
        output.text(
            f"generation {retried['generation']} at {retried['at']} by {retried['principal']}, "
            f"after it was {retried['status']}{why}"
        )
    if not family["is_whole"]:
        output.note("There are more. See them with --limit.")


_FROM = {
    "child": "parent",
    "rerun": "first run",
    "fork": "forked from",
    "successor": "predecessor",
}


def _place(kin: KinDocument) -> tuple[str, str]:
    relation = kin["relation"]
    if relation is None:
        return "itself", ""
    return (_FROM[relation] if kin["is_ancestor"] else relation), kin["of"] or ""
