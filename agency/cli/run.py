"""``agency run``: start a workflow, and wait for what it comes to."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.tree import Verb
from agency.cli.watching import follow_started
from agency.client import Client
from agency.core.ids import new_id
from agency.core.limits import ATTEMPTS_MAX, PRIORITY_MAX


@click.command(
    cls=Verb,
    examples=(
        'agency run order --input \'{"sku": "A-1"}\'',
        "agency run order --input @order.json --name order-17 --watch",
        "agency run order --queue bulk --key customer-7 --delay 5m --no-wait",
        "jq .order mail.json | agency run order --input - --no-wait",
        "agency run --list",
    ),
)
@click.argument("workflow", required=False)
@click.option("--input", "input_text", help="Input as JSON, @FILE, or - for stdin.")
@click.option("--name", help="Your own name for the run; unique among live runs.")
@click.option("--session", help="Conversation that the run belongs to.")
@click.option("--queue", help="Queue that the run waits in; by default the workflow's.")
@click.option("--key", help="Live runs with the same key are worked on one at a time.")
@click.option("--priority", type=click.IntRange(-PRIORITY_MAX, PRIORITY_MAX), help="Higher first.")
@click.option("--delay", type=SPAN, help="Do not begin before this is over (90s, 5m, 2h).")
@click.option("--attempts", type=click.IntRange(1, ATTEMPTS_MAX), help="Tries of the whole run.")
@click.option("--watch", "is_watched", is_flag=True, help="Print the steps as they come.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and do not wait for its end.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@click.option("--idempotency-key", help="The same key twice starts one run.")
@click.option("--list", "is_list", is_flag=True, help="List the workflows that can be run.")
@daemon_options
@pass_invocation
def run(  # noqa: PLR0913, PLR0917  one for each option
    invocation: Invocation,
    workflow: str | None,
    input_text: str | None,
    name: str | None,
    session: str | None,
    timeout: float | None,
    idempotency_key: str | None,
    queue: str | None,
    key: str | None,
    priority: int | None,
    delay: float | None,
    attempts: int | None,
    *,
    is_watched: bool,
    no_wait: bool,
    is_list: bool,
) -> ExitCode:
    """Start a run of a workflow, and print its output when it has ended.

    The run is durable: it goes on when this command is interrupted.
    """
    if is_list:
        return _list(invocation.client(), invocation.output)
    if workflow is None:
        raise click.UsageError("Name a workflow, or list them with --list.")
    if no_wait and (is_watched or timeout is not None):
        raise click.UsageError("--no-wait goes together with neither --watch nor --timeout.")
    value: Any = None if input_text is None else read_json(input_text, "--input")
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    start = partial(
        client.start,
        workflow,
        value,
        name=name,
        session_id=session,
        wait_s=0,
        # A key of our own, so that the request may be sent again when its answer is lost.
        idempotency_key=idempotency_key or new_id(),
        queue=queue,
        concurrency_key=key,
        priority=priority,
        delay_s=delay,
        max_attempts=attempts,
    )
    started = follower.delivered(start)
    return follow_started(follower, output, started, no_wait=no_wait, is_watched=is_watched)


def _list(client: Client, output: Output) -> ExitCode:
    found = client.definitions()
    if output.is_json:
        output.document(found)
    else:
        output.table(
            ("name", "kind", "version", "description"),
            [
                (
                    one["name"],
                    one["kind"],
                    one["version"],
                    one["description"] if one["enabled"] else f"DISABLED {one['description']}",
                )
                for one in found["definitions"]
            ],
        )
    for failure in found["failures"]:
        output.warn(f"{failure['path']} could not be loaded: {failure['reason']}")
    return ExitCode.OK
