"""``agency model``: which models there are, what they are fit for, and fetching more."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from agency.cli.follow import Follower, Limit, exit_code_for, has_ended
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN
from agency.cli.results import REHEARSAL, explain, tell_interrupted
from agency.cli.tree import Noun, Verb
from agency.core.ids import new_id
from agency.documents import FitnessDocument, ModelRowDocument, ModelsDocument, RunDocument

_WHY_CHARACTERS = 80
"""Of what a model said instead: the whole is in the run's output."""

_PROGRESS_STEP = 0.05
"""Share of a download after which its progress is told again."""


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.model:ls",
        "show": "agency.cli.model:show",
        "pull": "agency.cli.model:pull",
        "check": "agency.cli.model:check",
    },
    examples=(
        "agency model ls",
        "agency model pull llama3.2",
        "agency model check llama3.2",
        "agency model show lab/qwen3",
    ),
)
@daemon_options
def model() -> None:
    """List models, have a server fetch one, and find out what one is fit for."""


@click.command(cls=Verb, examples=("agency model ls", "agency model ls --provider lab --json"))
@click.option("--provider", help="Only the models of this provider.")
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, provider: str | None, limit: int) -> ExitCode:
    """List the models of all providers, with the scores of their last check."""
    client, output = invocation.client(), invocation.output
    found: ModelsDocument = client.models(provider=provider, limit=limit)
    if output.is_json:
        output.document(found)
        return ExitCode.OK
    output.table(
        ("model", "size", "roles", "answers", "schema", "tools", "recall", "tok/s", "note"),
        [_row(one) for one in found["models"]],
    )
    for one in found["providers"]:
        if not one["reachable"]:
            output.warn(f"The provider {one['name']!r} lists nothing: {one['reason'].rstrip('.')}.")
        elif one["rehearsal"] and one["default"]:
            output.warn("The rehearsal stands in for all models: no language model is asked.")
    if found["next_cursor"] is not None:
        output.note(f"These are the first {limit}; there are more. See them with --limit.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency model show llama3.2",))
@click.argument("name", metavar="MODEL")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show what a model can do, how long its context is, and what a check has found."""
    output = invocation.output
    found = invocation.client().show_model(name)
    if output.is_json:
        output.document(found)
        return ExitCode.OK
    context, can = found["context"], found["capabilities"]
    rows = [
        ("model", found["model"]),
        ("size", _size(found["size_bytes"])),
        ("roles", ", ".join(found["roles"]) or "none"),
        ("can", ", ".join(can) if can is not None else "not told"),
        ("context", _context(context)),
        (
            "runs",
            "elsewhere: what is asked of it leaves this machine" if found["remote"] else "here",
        ),
    ]
    for label, text in rows:
        output.text(f"{label + ':':<10}{text}")
    _tell_fitness(output, found["fitness"], found["model"])
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency model pull llama3.2", "agency model pull llama3.2 --no-wait")
)
@click.argument("name", metavar="MODEL")
@click.option("--no-wait", is_flag=True, help="Print the run's id and do not wait for its end.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@daemon_options
@pass_invocation
def pull(invocation: Invocation, name: str, timeout: float | None, *, no_wait: bool) -> ExitCode:
    """Have a model server fetch a model.

    It is a durable run: it goes on when this command is interrupted, and after a restart. What
    was fetched is kept, also when the run is cancelled.
    """
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    started = follower.delivered(partial(client.pull_model, name, idempotency_key=new_id()))
    run = _follow(follower, output, started, no_wait=no_wait)
    if run is None:
        return ExitCode.OK
    if output.is_json:
        output.document(run)
    elif run["status"] == "completed":
        done: Mapping[str, Any] = run["output"]
        output.text(f"{done['provider']}/{done['model']}  {_size(done['bytes'])}")
    explain(output, run)
    return exit_code_for(run)


@click.command(
    cls=Verb, examples=("agency model check", "agency model check lab/qwen3 --json | jq .output")
)
@click.argument("name", metavar="MODEL", required=False)
@click.option("--no-wait", is_flag=True, help="Print the run's id and do not wait for its end.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@daemon_options
@pass_invocation
def check(
    invocation: Invocation, name: str | None, timeout: float | None, *, no_wait: bool
) -> ExitCode:
    """Find out what a model is fit for, by some ten short calls; without MODEL the default one.

    The scores are kept, and agents go by them: how many tools they offer in a turn, and whether
    they ask for native calls or for actions by schema.
    """
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    started = follower.delivered(partial(client.check_model, name, idempotency_key=new_id()))
    run = _follow(follower, output, started, no_wait=no_wait)
    if run is None:
        return ExitCode.OK
    if output.is_json:
        output.document(run)
    elif run["status"] == "completed":
        _tell_check(output, run["output"])
    explain(output, run)
    return exit_code_for(run)


def _follow(
    follower: Follower, output: Output, started: Mapping[str, Any], *, no_wait: bool
) -> RunDocument | None:
    """Follow a run to its end; None when nobody wants to wait."""
    run_id = str(started["run_id"])
    if no_wait:
        if output.is_json:
            output.document(started)
        else:
            output.text(run_id)
        return None
    output.note(f"run {run_id}")
    told = _Told(follower, output)
    try:
        return follower.until_ended(run_id, on_step=lambda _: None, on_change=told.change)
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise


class _Told:
    """Tells people how far a run is, but not each time that it has moved a little."""

    def __init__(self, follower: Follower, output: Output) -> None:
        self._follower = follower
        self._output = output
        self._note = ""
        self._share = 0.0

    def change(self, run: RunDocument) -> None:
        self._follower.tell(run)
        progress = run["progress"]
        if not isinstance(progress, dict) or has_ended(run):
            return
        note, total = str(progress.get("note") or ""), progress.get("total")
        done = progress.get("done") or 0
        share = done / total if total else 0.0
        if note == self._note and share < self._share + _PROGRESS_STEP:
            return
        self._note, self._share = note, share
        amount = f" {share:.0%}" if total else ""
        self._output.note(f"  {note}{amount}")


def _row(one: ModelRowDocument) -> tuple[str, ...]:
    fitness = one["fitness"]
    notes = ["remote"] if one["remote"] else []
    if fitness is None:
        notes.append("not checked")
        scores = ("-", "-", "-", "-", "-")
    else:
        if fitness["stale"]:
            notes.append("pulled anew since its check")
        scores = (
            _score(fitness["answers"]),
            _score(fitness["schema"]),
            _score(_tools(fitness)),
            _score(fitness["recall"]),
            _number(fitness["tokens_per_s"]),
        )
    size = _size(one["size_bytes"])
    return (one["model"], size, ",".join(one["roles"]) or "-", *scores, ", ".join(notes))


def _tools(fitness: FitnessDocument) -> float | None:
    known = [one for one in (fitness["tool_call"], fitness["tool_choice"]) if one is not None]
    return min(known) if known else None


def _tell_fitness(output: Output, fitness: FitnessDocument | None, name: str) -> None:
    if fitness is None:
        output.note(f"It has not been checked. Check it with `agency model check {name}`.")
        return
    for label, value in (
        ("answers", fitness["answers"]),
        ("schema", fitness["schema"]),
        ("calls", fitness["tool_call"]),
        ("chooses", fitness["tool_choice"]),
        ("recalls", fitness["recall"]),
    ):
        output.text(f"{label + ':':<10}{_score(value)}")
    output.text(f"{'speed:':<10}{_number(fitness['tokens_per_s'])} tokens/s")
    output.text(f"{'tools:':<10}{_advice(fitness)}")
    output.text(f"{'checked:':<10}{fitness['checked_at']}")
    if fitness["stale"]:
        output.warn("It was pulled anew since; agents do not go by these scores any more.")


def _tell_check(output: Output, found: Mapping[str, Any]) -> None:
    output.table(
        ("probe", "score", "seconds", "why"),
        [
            (one["name"], _score(one["score"]), f"{one['elapsed_s']:.1f}", _short(one["detail"]))
            for one in found["probes"]
        ],
    )
    speed = _number(found["tokens_per_s"])
    output.note(
        f"{found['provider']}/{found['model']}: {speed} tokens/s, loaded in "
        f"{found['load_s']:.1f} s, recalls from {found['recall_tokens']} tokens; "
        f"{_advice(found)}."
    )
    if found["rehearsal"]:
        output.warn(REHEARSAL)


def _advice(fitness: Mapping[str, Any]) -> str:
    how = "native calls" if fitness["calls_natively"] else "actions by schema"
    return f"agents offer it {fitness['tools_per_turn']} tools a turn and begin with {how}"


def _context(context: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {context[name]}"
        for name in ("configured", "trained", "allocated")
        if context[name] is not None
    ]
    tokens = context["tokens"]
    return f"{tokens} tokens ({', '.join(parts)})" if tokens is not None else "not told"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WHY_CHARACTERS else line[: _WHY_CHARACTERS - 1] + "…"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _size(size_bytes: int) -> str:
    if not size_bytes:
        return "-"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1_000_000:.1f} MB"
    return f"{size_bytes / 1_000_000_000:.1f} GB"
