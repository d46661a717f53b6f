"""``agency ask``: one message to the agent, one answer."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from agency.cli.follow import Follower, Limit, exit_code_for
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import EXIT_BY_STATUS, ExitCode, Output
from agency.cli.parameters import SPAN, read_pipe_text
from agency.cli.results import REHEARSAL, explain, tell_interrupted
from agency.cli.tree import Verb
from agency.core.ids import new_id
from agency.documents import RunDocument
from agency.errors import AgencyError


@click.command(
    cls=Verb,
    examples=(
        'agency ask "What is a durable workflow?"',
        'git diff | agency ask "Write a commit message for this."',
        "agency ask - < question.txt",
        'agency ask --session 0190c5b2-… "And the second one?"',
    ),
)
@click.argument("message", required=False)
@click.option("--session", help="Conversation that the message belongs to.")
@click.option("--model", help="Model to use; else the daemon's own.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Model turns at most.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@click.option("--no-stdin", is_flag=True, help="Do not read stdin, even if it is a pipe.")
@daemon_options
@pass_invocation
def ask(
    invocation: Invocation,
    message: str | None,
    session: str | None,
    model: str | None,
    max_steps: int | None,
    timeout: float | None,
    *,
    no_stdin: bool,
) -> ExitCode:
    """Give the agent a message and print its answer.

    What is piped in is put below the message; with - as the message it is all of it.
    The run is durable: it goes on when this command is interrupted.
    """
    text = _whole_message(message, may_read=not no_stdin)
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout))
    # With a key the request may be sent again when its answer is lost. It is not held, so that
    # the run's id is known before anything can interrupt.
    send = partial(
        client.ask,
        text,
        max_steps=max_steps,
        session_id=session,
        model=model,
        wait_s=0,
        idempotency_key=new_id(),
    )
    try:
        answer = follower.delivered(send)
    except AgencyError as error:
        run_id = _failed_run(error)
        if run_id is None:
            raise
    else:
        if answer.get("completed"):
            return _report(output, {**_UNKNOWN, "status": "completed", **answer})
        run_id = str(answer["run_id"])
    try:
        run = follower.until_stopped(run_id)
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise
    explain(output, run)
    _report(output, _answer_of(run))
    return exit_code_for(run)


_UNKNOWN: Mapping[str, Any] = {
    "run_id": None,
    "session_id": None,
    "status": None,
    "response": None,
    "completed": False,
    "steps_executed": 0,
    "model": None,
    "rehearsal": False,
    "snapshot_id": None,
    "waits": [],
    "error": None,
}
"""The members of the answer with ``--json``, in their order."""


def _answer_of(run: RunDocument) -> dict[str, Any]:
    """Make the answer out of the run: the same members as of one that was answered at once."""
    output = run["output"] if isinstance(run["output"], dict) else {}
    return {
        **_UNKNOWN,
        "run_id": run["id"],
        "session_id": run["session_id"],
        "status": run["status"],
        "response": output.get("response"),
        "completed": run["status"] == "completed",
        "steps_executed": run.get("steps_executed", 0),
        "model": output.get("model"),
        "rehearsal": run.get("provider") == "rehearsal",
        "snapshot_id": run.get("snapshot_id"),
        "waits": run.get("waits") or [],
        "error": run.get("error"),
    }


def _report(output: Output, answer: Mapping[str, Any]) -> ExitCode:
    if output.is_json:
        output.document({name: answer[name] for name in _UNKNOWN})
    elif answer["response"] is not None:
        output.text(answer["response"])
    if answer["rehearsal"]:
        output.warn(REHEARSAL)
    return EXIT_BY_STATUS[answer["status"]]


def _failed_run(error: AgencyError) -> str | None:
    """Give the run that an error tells the failure of, None when the request itself was refused."""
    # Only the problem of a run that has ended says what its status is.
    run_id, status = error.data.get("run_id"), error.data.get("status")
    return str(run_id) if run_id and status else None


def _whole_message(message: str | None, *, may_read: bool) -> str:
    """Put together what was typed and what was piped in.

    Raises:
        click.UsageError: nothing of both.
    """
    if message == "-":
        text = read_pipe_text()
    elif may_read and _is_fed():
        piped = read_pipe_text()
        parts = [part for part in (message, piped.rstrip("\n")) if part]
        text = "\n\n".join(parts)
    else:
        text = message or ""
    if not text.strip():
        raise click.UsageError("There is no message.", click.get_current_context())
    return text


def _is_fed() -> bool:
    """Tell whether stdin is a pipe or a file. A terminal, /dev/null or none at all is not."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
