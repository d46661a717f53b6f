"""``agency ask``: one message to the agent, one answer."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from agency.cli.follow import Follower, Limit, exit_code_for
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import EXIT_BY_STATUS, ExitCode, Output
from agency.cli.parameters import SPAN, read_pipe_text
from agency.cli.results import REHEARSAL, explain, tell_interrupted
from agency.cli.talk.inputs import read_contents, read_schema
from agency.cli.tree import Verb
from agency.core.ids import new_id
from agency.documents import RunDocument
from agency.errors import AgencyError


@click.command(
    cls=Verb,
    examples=(
        'agency ask "What is a durable workflow?"',
        'git diff | agency ask "Write a commit message for this."',
        'agency ask "What do these have in common?" --file a.txt --file b.txt',
        "agency ask 'Sum up.' --schema '{\"type\": \"object\"}' < report.txt | jq .",
        "agency ask - < question.txt",
        'agency ask --session 0190c5b2-… "And the second one?"',
    ),
)
@click.argument("message", required=False)
@click.option("--session", help="Conversation that the message belongs to.")
@click.option("--model", help="Model to use; else the daemon's own.")
@click.option("--agent", help="Agent to ask; else the default one.")
@click.option("--system", help="Is added to the agent's system prompt.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put this text below the message; may be repeated.",
)
@click.option("--schema", help="JSON Schema of the answer, as JSON or a file; prints the value.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Model turns at most.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@click.option("--no-stdin", is_flag=True, help="Do not read stdin, even if it is a pipe.")
@daemon_options
@pass_invocation
def ask(  # noqa: PLR0913  one for each option
    invocation: Invocation,
    /,
    message: str | None,
    session: str | None,
    *,
    model: str | None,
    agent: str | None,
    system: str | None,
    files: tuple[Path, ...],
    schema: str | None,
    max_steps: int | None,
    timeout: float | None,
    no_stdin: bool,
) -> ExitCode:
    """Give the agent a message and print its answer.

    What is piped in is put below the message; with - as the message it is all of it.
    The run is durable: it goes on when this command is interrupted.
    """
    text = _whole_message(message, files, may_read=not no_stdin)
    more: dict[str, Any] = {"agent": agent, "system_prompt": system}
    more["schema"] = None if schema is None else read_schema(schema)
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
        more={name: value for name, value in more.items() if value is not None},
    )
    try:
        answer = follower.delivered(send)
    except AgencyError as error:
        run_id = _failed_run(error)
        if run_id is None:
            raise
    else:
        # Only the run has the value of a schema.
        if answer.get("completed") and schema is None:
            return _report(output, {**_UNKNOWN, "status": "completed", **answer})
        run_id = str(answer["run_id"])
    try:
        run = follower.until_stopped(run_id)
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise
    explain(output, run)
    _report(output, _answer_of(run), is_value=schema is not None)
    return exit_code_for(run)


_UNKNOWN: Mapping[str, Any] = {
    "run_id": None,
    "session_id": None,
    "status": None,
    "response": None,
    "answer": None,
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
        "answer": output.get("answer"),
        "completed": run["status"] == "completed",
        "steps_executed": run.get("steps_executed", 0),
        "model": output.get("model"),
        "rehearsal": run.get("provider") == "rehearsal",
        "snapshot_id": run.get("snapshot_id"),
        "waits": run.get("waits") or [],
        "error": run.get("error"),
    }


def _report(output: Output, answer: Mapping[str, Any], *, is_value: bool = False) -> ExitCode:
    if output.is_json:
        output.document({name: answer[name] for name in _UNKNOWN})
    elif is_value:
        # Also null is a value, but only of an answer that obeys the schema.
        if answer["completed"]:
            output.document(answer["answer"])
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


def _whole_message(message: str | None, files: Sequence[Path], *, may_read: bool) -> str:
    """Put together what was typed, what was piped in, and the files.

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
    if not text.strip() and not files:
        raise click.UsageError("There is no message.", click.get_current_context())
    return "\n\n".join([*([text] if text.strip() else []), *_file_texts(files)])


def _file_texts(files: Sequence[Path]) -> list[str]:
    """Read files as parts of a message, each below its name.

    Raises:
        click.UsageError: one cannot be read, is too large or is not text.
    """
    texts = []
    for path, content in read_contents(files).items():
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise click.UsageError(f"--file: {str(path)!r} is not text in UTF-8.") from error
        texts.append(f"{path.name}:\n{text.rstrip()}")
    return texts


def _is_fed() -> bool:
    """Tell whether stdin is a pipe or a file. A terminal, /dev/null or none at all is not."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
