"""``agency updates`` and ``agency runs updates``: what happens in runs, as it happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import EXIT_BY_STATUS, LIVE, ExitCode, Output
from agency.cli.runs import STATUSES, id_of
from agency.cli.tree import Verb

TYPES = (
    "status",
    "step",
    "failure",
    "attempt",
    "intent",
    "wait",
    "child",
    "winner",
    "progress",
)
_SHOWN_CHARACTERS = 100
_COUNT = click.IntRange(min=1)


class Tag(click.ParamType[tuple[str, str]]):
    """A label: ``NAME=VALUE``."""

    name = "tag"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        name, sign, text = str(value).partition("=")
        if not name or not sign:
            self.fail(f"{value!r} is not a label; write NAME=VALUE.", param, ctx)
        return name, text


@click.command(
    cls=Verb,
    examples=(
        "agency updates",
        "agency updates --workflow order --status failed --status dead_letter",
        "agency updates --type status --tag team=shop --json | jq -r .run_id",
        "agency updates --after 0 --limit 100",
    ),
)
@click.option("--workflow", help="Only runs of this workflow.")
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only these; may be repeated."
)
@click.option("--queue", help="Only runs of this queue.")
@click.option("--session", "session_id", help="Only runs of this conversation.")
@click.option(
    "--tag", "tags", multiple=True, type=Tag(), help="Only runs that have it; may be repeated."
)
@click.option(
    "--type", "kind", multiple=True, type=click.Choice(TYPES), help="Only these; may be repeated."
)
@click.option(
    "--after", type=click.IntRange(min=0), help="Begin after this id; 0 from the start; else now."
)
@click.option("--limit", type=_COUNT, help="Stop after so many.")
@daemon_options
@pass_invocation
def updates(
    invocation: Invocation,
    /,
    kind: tuple[str, ...],
    after: int | None,
    limit: int | None,
    tags: tuple[tuple[str, str], ...],
    **only: Any,  # noqa: ANN401  the other options, which are passed on
) -> ExitCode:
    """Watch all runs. It ends with Ctrl-C, or after --limit."""
    found = invocation.client().updates(types=kind, after=after, tags=dict(tags), **only)
    for update in islice(found, limit):
        _write(invocation.output, update, has_run=True)
    return ExitCode.OK


@click.command(
    "updates",
    cls=Verb,
    examples=(
        "agency runs updates order-17",
        "agency runs updates order-17 --type status --type progress",
        "agency runs updates order-17 --type token",
        "agency runs updates order-17 --after 4711 --json",
    ),
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--type",
    "kind",
    multiple=True,
    type=click.Choice((*TYPES, "token")),
    help="Only these, and the end; may be repeated.",
)
@click.option(
    "--after", type=click.IntRange(min=0), default=0, show_default=True, help="Begin after this id."
)
@click.option("--limit", type=_COUNT, help="Stop after so many.")
@daemon_options
@pass_invocation
def of_run(
    invocation: Invocation, run_id: str, kind: tuple[str, ...], after: int, limit: int | None
) -> ExitCode:
    """Watch one run from its start to its end; the exit code tells how it has ended."""
    client, output = invocation.client(), invocation.output
    code = ExitCode.OK
    found: Iterator[Mapping[str, Any]] = client.updates(
        id_of(client, run_id), after=after, types=kind
    )
    for update in islice(found, limit):
        _write(output, update, has_run=False)
        if update["type"] == "status" and update["status"] not in LIVE:
            code = EXIT_BY_STATUS.get(update["status"], ExitCode.FAILED)
    return code


def _write(output: Output, update: Mapping[str, Any], *, has_run: bool) -> None:
    if output.is_json:
        output.line(update)
        return
    if update["type"] == "token":
        output.text(f"{'':>8}  token     {update['key']}  {_shortened(update['text'])}")
        return
    whose = f"{update['run_id']}  {update['workflow']}  " if has_run else ""
    what = update["status"] if update["type"] == "status" else update["key"]
    line = f"{update['id']:>8}  {update['type']:<8}  {whose}{what}  {_data(update)}"
    output.text(line.rstrip())


def _data(update: Mapping[str, Any]) -> str:
    data = update["data"]
    if data is None or data == {}:
        size = update["data_bytes"]
        return f"({size} bytes)" if size > 4 else ""
    import orjson

    return _shortened(data if isinstance(data, str) else orjson.dumps(data).decode())


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
