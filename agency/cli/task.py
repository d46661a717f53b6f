"""``agency task``: one task for an agent, its progress on stderr, its result on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import click

from agency.cli.follow import Limit, exit_code_for, has_ended
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output, is_terminal
from agency.cli.parameters import SPAN, read_pipe_text
from agency.cli.results import REHEARSAL, explain, tell_interrupted
from agency.cli.talk.inputs import read_files, read_schema
from agency.cli.talk.keyboard import Keyboard
from agency.cli.talk.questions import Later, Questions
from agency.cli.talk.screen import Screen
from agency.cli.talk.story import Story
from agency.cli.talk.turn import Turn, Unanswered
from agency.cli.tree import Verb
from agency.client import Client
from agency.core.ids import new_id
from agency.documents import RunDocument
from agency.errors import InvalidInput

WORKFLOW = "agent"
OWN_FILES = ".agency/"
"""Where a run keeps long results for itself."""
BUDGETS = ("turns", "tokens", "seconds", "tool_calls")


@click.command(
    cls=Verb,
    examples=(
        'agency task "Find the slowest test and say why." --file report.xml',
        'agency task "Draw the figures." --file sales.csv --out plots',
        'agency task "Look around." --agent scout --max-turns 10 --json | jq .output.response',
        'agency task "Collect the news." --detach',
    ),
)
@click.argument("message")
@click.option("--agent", help="Agent that does it; else the default one.")
@click.option("--model", help="Model to ask; else the agent's own.")
@click.option("--tools", help="Only these tools, with commas between them; empty for none.")
@click.option("--max-turns", "turns", type=click.IntRange(min=1), help="Replies of the model.")
@click.option("--tokens", type=click.IntRange(min=1), help="Of prompts and replies.")
@click.option("--seconds", type=SPAN, help="Of models and tools (90s, 5m); waiting is free.")
@click.option("--tool-calls", type=click.IntRange(min=0), help="Calls of tools.")
@click.option("--schema", help="JSON Schema of the answer, as JSON or a file; prints the value.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put it into the workspace; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files that it has made.",
)
@click.option("--name", help="Name of the run.")
@click.option("--session", help="Conversation that it belongs to.")
@click.option("--detach", is_flag=True, help="Start it, print the run's id and leave.")
@click.option("--no-wait", is_flag=True, help="Leave, with exit code 6, when it needs somebody.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m); the run goes on after it.")
@daemon_options
@pass_invocation
def task(invocation: Invocation, /, message: str, **options: Any) -> ExitCode:  # noqa: ANN401
    """Give an agent one task, show how it gets on, and print what came of it.

    With - as the message it is read from stdin. The exit code is 0 only if the task was completed.
    Approvals are asked for on a terminal; elsewhere is said how to give them, and the run waits.
    Ctrl-C asks what becomes of the run; where nobody can be asked it goes on.
    """
    text = read_pipe_text() if message == "-" else message
    if not text.strip():
        raise click.UsageError("There is no task.")
    if options["detach"] and (options["out"] or options["no_wait"] or options["timeout"]):
        raise click.UsageError("--detach goes with neither --out, --no-wait nor --timeout.")
    wanted = _input(text, options)
    client, output = invocation.client(), invocation.output
    _check_tools(client, wanted)
    start = partial(
        client.start,
        WORKFLOW,
        wanted,
        name=options["name"],
        session_id=options["session"] or new_id(),
        wait_s=0,
        # The request is sent again when its answer is lost.
        idempotency_key=new_id(),
    )
    job = _Job(invocation, client, no_wait=options["no_wait"])
    run_id = job.turn.begin(start)
    if options["detach"]:
        if output.is_json:
            output.document({"run_id": run_id})
        else:
            output.text(run_id)
        return ExitCode.OK
    run = job.follow(Limit(options["timeout"]))
    saved: list[str] = []
    if options["out"] is not None and has_ended(run):
        saved = _save(client, run, options["out"], frozenset(wanted.get("files", ())))
    return _report(output, run, saved)


def _check_tools(client: Client, wanted: Mapping[str, Any]) -> None:
    """Refuse names that mean no tool: the agent would work without, and nobody would know why.

    Raises:
        InvalidInput: one of them does, or there is no such agent.
    """
    if not wanted.get("tools"):
        return
    unknown = client.unknown_tools(wanted.get("agent"), named=wanted["tools"])
    if unknown:
        told = ", ".join(repr(one) for one in unknown)
        raise InvalidInput(
            f"There is no tool or toolset {told}.", hint="List them with `agency tools ls`."
        )


def _input(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Make the input of the run; what is not given is the agent's own."""
    wanted: dict[str, Any] = {"message": text}
    for member in ("agent", "model"):
        if options[member] is not None:
            wanted[member] = options[member]
    if options["tools"] is not None:
        wanted["tools"] = [one.strip() for one in options["tools"].split(",") if one.strip()]
    budgets = {name: options[name] for name in BUDGETS if options[name] is not None}
    if budgets:
        wanted["budgets"] = budgets
    if options["schema"] is not None:
        wanted["schema"] = read_schema(options["schema"])
    if options["files"]:
        wanted["files"] = read_files(options["files"])
    return wanted


class _Job:
    """The run, watched from here."""

    def __init__(self, invocation: Invocation, client: Client, *, no_wait: bool) -> None:
        self._output = invocation.output
        self._can_ask = sys.stdin is not None and sys.stdin.isatty() and is_terminal(sys.stderr)
        self._screen = Screen(sys.stderr)
        self._keyboard = Keyboard({}, is_person=False)
        self.story = Story(self._screen, has_text=False, is_quiet=self._output.is_quiet)
        questions = None
        if self._can_ask and not no_wait:
            self._keyboard = _Prompted(self._screen)
            questions = Questions(client, self._screen, self._keyboard)
        self.turn = Turn(client, self._output, self.story, questions=questions, waits=not no_wait)

    def follow(self, limit: Limit) -> RunDocument:
        """Name the run, and follow it to its end, or to where it is left."""
        is_named = False
        while True:
            try:
                if not is_named:  # whoever reads it may interrupt at once
                    is_named = True
                    self._output.note(f"run {self.turn.run_id}")
                run = self.turn.go_on(limit)
                self._screen.close_line()
            except Unanswered as unanswered:
                return unanswered.run
            except Later:
                return self.turn.now()
            except KeyboardInterrupt:
                left = self._interrupted()
                if left is not None:
                    return left
            else:
                return run

    def _interrupted(self) -> RunDocument | None:
        """Ask what becomes of the run; None when it is followed on.

        Raises:
            KeyboardInterrupt: it is left to itself.
        """
        self._screen.close_line()
        if self._can_ask:
            try:
                word = _Prompted(self._screen).ask("c = cancel, l = leave it running, else go on: ")
            except EOFError:
                word = "l"
            except KeyboardInterrupt:
                word = "l"
            match word.strip().lower()[:1]:
                case "c":
                    return self.turn.cancel()
                case "l":
                    pass
                case _:
                    self._output.note("Going on.")
                    return None
        tell_interrupted(self._output, self.turn.run_id)
        raise KeyboardInterrupt


class _Prompted(Keyboard):
    """Asks on stderr: stdout is for the result."""

    def __init__(self, screen: Screen) -> None:
        super().__init__({}, is_person=False)
        self._screen = screen

    def ask(self, prompt: str, prefilled: str = "") -> str:
        if prefilled:
            self._screen.line(f"  now: {prefilled}")
        self._screen.piece(prompt)
        answer = super().ask("")
        self._screen.answered()
        return answer


def _save(client: Client, run: RunDocument, folder: Path, given: frozenset[str]) -> list[str]:
    """Fetch the files that the run has made or changed; those that it was given only if changed."""
    output = run["output"] if isinstance(run["output"], dict) else {}
    changed = set(output.get("files") or ())
    saved = []
    cursor: str | None = None
    while True:
        page = client.run_files(run["id"], cursor=cursor)
        for file in page.items:
            path = file["path"]
            if (path in given and path not in changed) or path.startswith(OWN_FILES):
                continue
            target = _target(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            try:
                with part.open("wb") as opened:
                    for piece in client.run_file(run["id"], path):
                        opened.write(piece)
                part.replace(target)
            except OSError as error:
                why = error.strerror
                raise click.UsageError(f"{str(target)!r} cannot be written: {why}.") from error
            saved.append(str(target))
        cursor = page.cursor
        if cursor is None:
            return saved


def _target(folder: Path, path: str) -> Path:
    """Find the place of a file below a folder.

    Raises:
        click.UsageError: the daemon has named a place elsewhere.
    """
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise click.UsageError(f"The file {path!r} would not be below {str(folder)!r}.")
    return folder.joinpath(*parts)


def _report(output: Output, run: RunDocument, saved: list[str]) -> ExitCode:
    found = run["output"] if isinstance(run["output"], dict) else {}
    if output.is_json:
        output.document({**run, "saved": saved})
    elif has_ended(run):
        if found.get("answer") is not None:
            output.document(found["answer"])
        elif found.get("response"):
            output.text(found["response"])
        for path in saved:
            output.note(f"saved {path}")
    if run.get("provider") == "rehearsal":
        output.warn(REHEARSAL)
    explain(output, run)
    return exit_code_for(run)
