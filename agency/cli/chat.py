"""``agency chat``: a conversation with an agent, in a terminal or line by line."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from agency.cli.follow import exit_code_for
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, is_terminal
from agency.cli.results import REHEARSAL, explain
from agency.cli.talk.keyboard import Keyboard
from agency.cli.talk.place import Place, newest_session
from agency.cli.talk.questions import Later, Questions
from agency.cli.talk.screen import Screen
from agency.cli.talk.slash import Leave, Slash
from agency.cli.talk.story import Story
from agency.cli.talk.turn import Turn, Unanswered
from agency.cli.tree import Verb
from agency.core.ids import new_id
from agency.documents import RunDocument
from agency.errors import AgencyError

WORKFLOW = "agent"
PROMPT = "> "


@click.command(
    cls=Verb,
    examples=(
        "agency chat",
        "agency chat --agent writer --model qwen3:8b",
        "agency chat --continue",
        "agency chat --resume 0190c5b2-…",
        "printf 'Hello.\\nAnd goodbye.\\n' | agency chat --json",
    ),
)
@click.option("--agent", help="Agent to talk to; else the default one.")
@click.option("--model", help="Model to ask; else the agent's own.")
@click.option("--resume", "session_id", metavar="ID", help="Go on with this conversation.")
@click.option("--continue", "goes_on", is_flag=True, help="Go on with the newest conversation.")
@daemon_options
@pass_invocation
def chat(
    invocation: Invocation,
    agent: str | None,
    model: str | None,
    session_id: str | None,
    *,
    goes_on: bool,
) -> ExitCode:
    """Talk to an agent: its words as they come, its tools and questions in line.

    Each message is a durable run of one session. Ctrl-C stops the run, and the conversation goes
    on; twice, or Ctrl-D, leaves. Commands begin with /; /help lists them.
    """
    if session_id is not None and goes_on:
        raise click.UsageError("--resume and --continue do not go together.")
    client = invocation.client()
    place = Place(client, agent, model)
    if goes_on:
        session_id = newest_session(client)
    if session_id is not None:
        place.leave(session_id)
        place.run_id = client.session(session_id)["live_run_id"] or ""
    else:
        client.health()  # nobody should write a long message to nobody
    talk = _Talk(invocation, place)
    return talk.begin(is_resumed=session_id is not None)


def _edited(text: str) -> str | None:
    """Let a person edit JSON in their editor; None if nothing was saved."""
    return click.edit(text, extension=".json")


class _Talk:
    """One conversation."""

    def __init__(self, invocation: Invocation, place: Place) -> None:
        self._output = invocation.output
        self._client = place.client
        self._place = place
        self._is_person = (
            not self._output.is_json
            and sys.stdin is not None
            and sys.stdin.isatty()
            and is_terminal(sys.stdout)
        )
        self._keyboard = Keyboard(invocation.environ, is_person=self._is_person)
        self._screen = Screen(sys.stdout)
        self._story = Story(self._screen, is_quiet=self._output.is_quiet)
        self._slash = Slash(place, self._screen, self._story)
        has_editor = invocation.environ.get("VISUAL") or invocation.environ.get("EDITOR")
        self._edit = _edited if has_editor and self._is_person else None
        self._code = ExitCode.OK
        self._is_warned = False

    def begin(self, *, is_resumed: bool) -> ExitCode:
        """Talk until somebody leaves."""
        if self._is_person:
            self._greet(is_resumed=is_resumed)
        try:
            if is_resumed and self._place.run_id:
                self._follow(None)
            while True:
                self._read_and_answer()
        except EOFError:
            if self._is_person:
                self._screen.line("")
        except Leave:
            pass
        except Later:
            self._tell_later()
            return ExitCode.WAITING
        except Unanswered as unanswered:
            self._output.line({"type": "waiting", "run": unanswered.run})
            explain(self._output, unanswered.run)
            return ExitCode.WAITING
        if self._is_person:
            self._say_goodbye()
            return ExitCode.OK
        return self._code

    def _read_and_answer(self) -> None:
        """Read one message and answer it.

        Raises:
            EOFError, Leave, Later, Unanswered: the conversation is over.
            KeyboardInterrupt: likewise, for it was the second in turn.
        """
        try:
            text = self._keyboard.read(PROMPT)
            self._is_warned = False
            if text.strip():
                self._answer(text)
        except KeyboardInterrupt:
            if self._is_warned or not self._is_person:
                raise
            self._is_warned = True
            self._screen.line("")
            self._screen.line("Ctrl-C again, Ctrl-D or /quit leaves.", "faint")

    # --- one message ------------------------------------------------------------------------

    def _answer(self, text: str) -> None:
        try:
            if text.startswith("/") and not self._output.is_json:
                before = self._place.session_id
                self._slash.do(text)
                if self._place.session_id != before and self._place.run_id:
                    self._follow(None)
                return
            self._follow(text)
        except AgencyError as error:
            self._screen.close_line()
            self._output.error(error)
            if not self._is_person:
                self._code = ExitCode.FAILED

    def _follow(self, text: str | None) -> None:
        """Send a message and follow its run, or take up the one that is there already."""
        turn = Turn(
            self._client,
            self._output,
            self._story,
            questions=None
            if self._output.is_json
            else Questions(self._client, self._screen, self._keyboard, self._edit),
            listener=self._output.line if self._output.is_json else None,
            waits=not self._output.is_json,
        )
        try:
            if text is None:
                turn.take_up(self._place.run_id)
            else:
                self._place.run_id = turn.begin(self._start(text))
            run = turn.go_on()
        except KeyboardInterrupt:
            run = self._interrupted(turn)
        self._tell_end(run)

    def _start(self, text: str) -> Any:  # noqa: ANN401  a request, ready to be sent
        wanted: dict[str, Any] = {"message": text}
        if self._place.agent is not None:
            wanted["agent"] = self._place.agent
        if self._place.model is not None:
            wanted["model"] = self._place.model
        return partial(
            self._client.start,
            WORKFLOW,
            wanted,
            session_id=self._place.session_id,
            wait_s=0,
            # The request is sent again when its answer is lost.
            idempotency_key=new_id(),
        )

    def _interrupted(self, turn: Turn) -> RunDocument:
        """Cancel the run: the conversation keeps what was recorded, and goes on.

        Raises:
            KeyboardInterrupt: not started, once more, or nobody sits here.
        """
        if not turn.run_id or not self._is_person:
            raise KeyboardInterrupt
        self._screen.line("")
        self._screen.line("Stopping; Ctrl-C once more leaves.", "faint")
        self._is_warned = True
        run = turn.cancel()
        self._is_warned = False
        return run

    def _tell_end(self, run: RunDocument) -> None:
        self._screen.close_line()
        if self._output.is_json:
            self._output.line({"type": "end", "run": run})
        if run["status"] == "cancelled" and self._is_person:
            self._screen.line("Stopped. What was recorded stays in the conversation.", "faint")
        elif not self._output.is_json or run["status"] != "completed":
            explain(self._output, run)
        self._code = exit_code_for(run)
        if self._is_person:
            if self._story.gauge.model:
                self._screen.line(f"[{self._story.gauge.describe()}]", "faint")
        elif run.get("provider") == "rehearsal":
            self._output.warn(REHEARSAL)

    # --- the beginning and the end ------------------------------------------------------------

    def _greet(self, *, is_resumed: bool) -> None:
        who = self._place.agent or "the default agent"
        if is_resumed:
            self._screen.line(f"Going on with {self._place.session_id}.", "faint")
            self._slash.recall()
        else:
            self._screen.line(f"You talk to {who}. /help lists commands, /quit leaves.", "faint")
        if self._client.health()["llm"]["rehearsal"]:
            self._screen.line("This is a rehearsal: no language model is asked.", "warning")

    def _say_goodbye(self) -> None:
        if self._place.find() is not None:
            how = f"agency chat --resume {self._place.session_id}"
            self._screen.line(f"Go on with `{how}`.", "faint")

    def _tell_later(self) -> None:
        self._screen.line("The run waits for your answer.", "faint")
        self._screen.line(
            f"Give it with `agency chat --resume {self._place.session_id}`, "
            "or see `agency approvals ls`.",
            "faint",
        )
