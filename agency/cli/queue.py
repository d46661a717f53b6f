"""``agency queue``: see queues, pause and drain them, and put many runs into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import IO, Any

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.client import Page
from agency.core.ids import new_id
from agency.core.json import NotJson, decode, encode
from agency.core.limits import BULK_RUNS_MAX, VALUE_BYTES_MAX
from agency.documents import BulkItemDocument, QueueDocument

REQUEST_BYTES = 768 * 1024
"""Lines that are sent together: below the size of a body that a daemon takes by default."""


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.queue:ls",
        "show": "agency.cli.queue:show",
        "pause": "agency.cli.queue:pause",
        "resume": "agency.cli.queue:resume",
        "drain": "agency.cli.queue:drain",
        "add": "agency.cli.queue:add",
    },
    examples=(
        "agency queue ls",
        "agency queue pause mail",
        "agency queue drain mail --timeout 5m",
        "agency queue add orders.jsonl",
    ),
)
@daemon_options
def queue() -> None:
    """See queues, pause and drain them, and put many runs into them."""


@click.command(cls=Verb, examples=("agency queue ls", "agency queue ls --json"))
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
)
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List queues by name, with how many runs they hold and what they are limited by."""
    client, output = invocation.client(), invocation.output

    def read(cursor: str | None, rows: int) -> Page[QueueDocument]:
        return client.queues(limit=rows, cursor=cursor)

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"queues": found, "next_cursor": cursor})
    elif output.is_quiet:
        for one in found:
            output.text(one["name"])
    else:
        output.table(
            ("name", "state", "pending", "running", "suspended", "concurrency", "rate", "size max"),
            [
                (
                    one["name"],
                    "paused" if one["paused"] else "open",
                    str(one["runs"].get("pending", 0)),
                    str(one["runs"].get("running", 0)),
                    str(one["runs"].get("suspended", 0)),
                    _limit(one["concurrency"]),
                    _rate(one),
                    _limit(one["size_max"]),
                )
                for one in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency queue show mail",))
@click.argument("name", metavar="QUEUE")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one queue: its state, its limits, and how many of its runs have each status."""
    return _tell(invocation.output, invocation.client().queue(name))


@click.command(cls=Verb, examples=("agency queue pause mail",))
@click.argument("name", metavar="QUEUE")
@daemon_options
@pass_invocation
def pause(invocation: Invocation, name: str) -> ExitCode:
    """Take up nothing of the queue until it is resumed, also after a restart of the daemon.

    What is worked on goes on, and new runs are accepted.
    """
    output = invocation.output
    paused = invocation.client().pause_queue(name)
    if output.is_json:
        output.document(paused)
    else:
        output.note(f"The queue {name!r} is paused; {_running(paused)}")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency queue resume mail",))
@click.argument("name", metavar="QUEUE")
@daemon_options
@pass_invocation
def resume(invocation: Invocation, name: str) -> ExitCode:
    """Let the queue be worked off again."""
    output = invocation.output
    resumed = invocation.client().resume_queue(name)
    if output.is_json:
        output.document(resumed)
    else:
        output.note(f"The queue {name!r} is worked off again.")
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency queue drain mail", "agency queue drain mail --timeout 5m")
)
@click.argument("name", metavar="QUEUE")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); by default until it is done.")
@daemon_options
@pass_invocation
def drain(invocation: Invocation, name: str, timeout: float | None) -> ExitCode:
    """Pause the queue, and wait until nothing of it runs. Ends with 7 if the time is over first."""
    client, output = invocation.client(), invocation.output
    limit = Limit(timeout)
    with output.busy(f"queue {name}"):
        while True:
            drained = client.drain_queue(name, wait_s=limit.left_s(25.0))
            if not drained["runs"].get("running", 0) or limit.is_over:
                break
    is_done = not drained["runs"].get("running", 0)
    if output.is_json:
        output.document(drained)
    elif is_done:
        output.note(f"Nothing of the queue {name!r} runs. It is paused.")
    else:
        output.complaint(f"The queue {name!r} is paused, and {_running(drained)}")
    return ExitCode.OK if is_done else ExitCode.TIMED_OUT


@click.command(
    cls=Verb,
    examples=(
        "agency queue add orders.jsonl",
        "jq -c '.[] | {workflow: \"order\", input: .}' orders.json | agency queue add -",
    ),
)
@click.argument("file", type=click.File("rb"))
@daemon_options
@pass_invocation
def add(invocation: Invocation, file: IO[bytes]) -> ExitCode:
    """Start a run for each line of FILE (- for stdin), and print their ids.

    A line is what POST /api/v1/runs takes, as JSON: {"workflow": "order", "input": {...}}, with
    "idempotency_key" if the same line may come again. A line that is refused is told on stderr and
    touches no other; the command then ends with 1.
    """
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(None))
    refused = 0
    for batch in _batches(_lines(file)):
        send = partial(client.start_many, [one for _, one in batch])
        outcomes = follower.delivered(send)
        for (line, _), outcome in zip(batch, outcomes, strict=True):
            refused += _tell_outcome(output, line, outcome)
    return ExitCode.FAILED if refused else ExitCode.OK


def _lines(file: IO[bytes]) -> Iterator[tuple[int, Mapping[str, Any], int]]:
    """Read lines with their numbers and sizes; empty ones do not count.

    Raises:
        click.UsageError: one is not a JSON object, or too long.
    """
    number = 0
    while text := file.readline(VALUE_BYTES_MAX + 1):
        number += 1
        if len(text) > VALUE_BYTES_MAX:
            raise click.UsageError(f"Line {number} has more than {VALUE_BYTES_MAX} bytes.")
        if not text.strip():
            continue
        try:
            value = decode(text)
        except NotJson as error:
            raise click.UsageError(f"Line {number} is not JSON: {error}.") from error
        if not isinstance(value, dict):
            raise click.UsageError(f"Line {number} is not a JSON object.")
        # A key of our own, so that the request may be sent again when its answer is lost.
        value.setdefault("idempotency_key", new_id())
        yield number, value, len(encode(value))


def _batches(
    lines: Iterable[tuple[int, Mapping[str, Any], int]],
) -> Iterator[list[tuple[int, Mapping[str, Any]]]]:
    """Put together what goes into one request."""
    batch: list[tuple[int, Mapping[str, Any]]] = []
    size = 0
    for number, value, length in lines:
        if batch and (len(batch) == BULK_RUNS_MAX or size + length > REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((number, value))
        size += length
    if batch:
        yield batch


def _tell_outcome(output: Output, line: int, outcome: BulkItemDocument) -> int:
    problem = outcome["problem"]
    if output.is_json:
        output.line({"line": line, **outcome})
    elif outcome["run_id"] is not None:
        output.text(outcome["run_id"])
    if problem is None:
        return 0
    output.warn(f"line {line}: {problem['detail']} [{problem['code']}]")
    return 1


def _tell(output: Output, one: QueueDocument) -> ExitCode:
    if output.is_json:
        output.document(one)
        return ExitCode.OK
    rows: Mapping[str, object] = {
        "name": one["name"],
        "state": f"paused since {one['paused_at']}" if one["paused"] else "open",
        "concurrency": _limit(one["concurrency"]),
        "rate": _rate(one),
        "size max": _limit(one["size_max"]),
        **one["runs"],
    }
    for name, value in rows.items():
        output.text(f"{name + ':':<14} {value}")
    return ExitCode.OK


def _running(one: QueueDocument) -> str:
    count = one["runs"].get("running", 0)
    return f"{count} of its runs {'is' if count == 1 else 'are'} still worked on."


def _limit(value: int | None) -> str:
    return "-" if value is None else str(value)


def _rate(one: QueueDocument) -> str:
    return "-" if one["rate"] is None else f"{one['rate']:g} in {one['rate_period_s']:g} s"
