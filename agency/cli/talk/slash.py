"""What a conversation is told with ``/``: about itself, and not for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agency.cli.talk.place import RECALLED, Place, newest_session, text_of
from agency.cli.talk.screen import Screen
from agency.cli.talk.story import Story, todo_lines
from agency.core.records import dataclass
from agency.core.suggestions import nearest
from agency.errors import InvalidInput

ROWS = 20
"""Of a list, in a conversation; the commands of the same name show more."""


class Leave(Exception):
    """The person has said all."""


@dataclass(frozen=True, slots=True)
class Word:
    """A command: what follows it, and what it does."""

    takes: str
    does: str


WORDS: Mapping[str, Word] = {
    "help": Word("", "these commands"),
    "new": Word("", "begin a new conversation"),
    "sessions": Word("", "list conversations"),
    "resume": Word("[ID]", "go on with another conversation, by default the newest"),
    "fork": Word("[N]", "go on from message N in a new conversation; list them without N"),
    "undo": Word("", "go on from before your last message, in a new conversation"),
    "model": Word("[NAME]", "ask this model from now on; without a name the agent's own"),
    "agent": Word("[NAME]", "talk to this agent; without a name list them"),
    "tools": Word("", "list the tools, and what becomes of their calls"),
    "todos": Word("", "show what is to be done"),
    "files": Word("[PATH]", "list the files of the last run, or print one"),
    "context": Word("", "show how full the context is"),
    "export": Word("[FILE]", "write the conversation to a file, as Markdown"),
    "quit": Word("", "leave; Ctrl-D does so, too"),
}


class Slash:
    """Does what is said with ``/``."""

    def __init__(self, place: Place, screen: Screen, story: Story) -> None:
        """Work on a conversation."""
        self._place = place
        self._screen = screen
        self._story = story
        self._deeds: Mapping[str, Callable[[str], None]] = {
            "help": self._help,
            "new": self._new,
            "sessions": self._sessions,
            "resume": self._resume,
            "fork": self._fork,
            "undo": self._undo,
            "model": self._model,
            "agent": self._agent,
            "tools": self._tools,
            "todos": self._todos,
            "files": self._files,
            "context": self._context,
            "export": self._export,
            "quit": self._quit,
        }

    def do(self, text: str) -> None:
        """Do one command, with its slash.

        Raises:
            Leave: the conversation is over.
            AgencyError: the daemon refuses.
        """
        word, _, rest = text.removeprefix("/").partition(" ")
        word = {"exit": "quit", "q": "quit", "?": "help"}.get(word, word)
        deed = self._deeds.get(word)
        if deed is None:
            likely = nearest(word, WORDS)
            hint = f"Did you mean /{likely}?" if likely else "See /help."
            self._screen.line(f"There is no command /{word}. {hint}", "warning")
            return
        deed(rest.strip())

    def recall(self) -> None:
        """Show where the conversation stands that is gone on with."""
        for message in self._place.said(RECALLED):
            sign = "you: " if message["role"] == "user" else ""
            self._screen.line(f"{sign}{text_of(message)}", "faint")

    # --- conversations ----------------------------------------------------------------------

    def _help(self, rest: str) -> None:
        del rest
        for name, word in WORDS.items():
            self._screen.line(f"  {f'/{name} {word.takes}'.strip():<15} {word.does}")
        self._screen.line("  A line that ends with \\ goes on in the next one.")

    def _quit(self, rest: str) -> None:
        del rest
        raise Leave

    def _new(self, rest: str) -> None:
        del rest
        self._place.leave()
        self._screen.line("A new conversation.", "faint")

    def _sessions(self, rest: str) -> None:
        del rest
        found = self._place.client.sessions(limit=ROWS).items
        for one in found:
            sign = "*" if one["session_id"] == self._place.session_id else " "
            about = " ".join((one["title"] or one["first_message"]).split())[:60]
            self._screen.line(f"{sign} {one['session_id']}  {one['messages']:>4}  {about}")
        if not found:
            self._screen.line("There are none yet.", "faint")

    def _resume(self, rest: str) -> None:
        session_id = rest or newest_session(self._place.client)
        if session_id is None:
            self._screen.line("There are none yet.", "faint")
            return
        found = self._place.client.session(session_id)
        self._place.leave(session_id)
        self._place.run_id = found["live_run_id"] or ""
        self._screen.line(f"Going on with {session_id}, {found['messages']} messages.", "faint")
        self.recall()

    def _fork(self, rest: str) -> None:
        if rest and not rest.isdecimal():
            self._screen.line("/fork takes the number of a message.", "warning")
            return
        if not rest:
            for message in self._place.said():
                text = " ".join(text_of(message).split())[:70]
                self._screen.line(f"{message['position']:>4}  {message['role']:<9}  {text}")
            return
        self._fork_at(int(rest))

    def _fork_at(self, position: int) -> None:
        made = self._place.client.fork_session(self._place.session_id, position=position)
        self._place.leave(made["session_id"])
        self._screen.line(f"Going on in {made['session_id']}, from message {position}.", "faint")

    def _undo(self, rest: str) -> None:
        del rest
        mine = [message for message in self._place.said() if message["role"] == "user"]
        if not mine:
            self._screen.line("Nothing was said yet.", "faint")
        elif mine[-1]["position"] == 1:
            self._new("")
        else:
            self._fork_at(mine[-1]["position"] - 1)

    def _export(self, rest: str) -> None:
        path = Path(rest or f"{self._place.session_id}.md").expanduser()
        pieces = self._place.client.session_file(self._place.session_id, is_markdown=True)
        # Read first: what cannot be read must not leave half a file.
        content = b"".join(pieces)
        try:
            with path.open("xb") as file:
                file.write(content)
        except OSError as error:
            self._screen.line(f"{str(path)!r} cannot be written: {error.strerror}.", "warning")
        else:
            self._screen.line(f"Written to {path}.", "faint")

    # --- who answers, and with what ---------------------------------------------------------

    def _model(self, rest: str) -> None:
        self._place.model = rest or None
        self._screen.line(f"The model is {rest or 'that of the agent'} from now on.", "faint")

    def _agent(self, rest: str) -> None:
        found = self._place.client.agents(limit=100).items
        if not rest:
            for one in found:
                sign = "*" if one["name"] == (self._place.agent or "default") else " "
                self._screen.line(f"{sign} {one['name']:<16} {one['description']}".rstrip())
            return
        if rest not in {one["name"] for one in found}:
            names = ", ".join(one["name"] for one in found)
            raise InvalidInput(f"There is no agent {rest!r}; there are: {names}.")
        self._place.agent = rest
        self._screen.line(f"You talk to {rest} from now on.", "faint")

    def _tools(self, rest: str) -> None:
        del rest
        for tool in self._place.client.tools(agent=self._place.agent, limit=100).items:
            self._screen.line(f"  {tool['permission']:<5} {tool['name']:<18} {tool['description']}")

    # --- the last run -----------------------------------------------------------------------

    def _todos(self, rest: str) -> None:
        del rest
        for line in todo_lines(self._story.todos) or ["There are none."]:
            self._screen.line(line)

    def _context(self, rest: str) -> None:
        del rest
        gauge = self._story.gauge
        self._screen.line(gauge.describe() or "Nothing was asked yet.")
        for name, tokens in gauge.parts.items():
            self._screen.line(f"  {name:<8} {tokens:>7}")

    def _files(self, rest: str) -> None:
        run_id = self._place.run_id
        if not run_id:
            self._screen.line("Nothing was asked yet.", "faint")
            return
        if rest:
            content = b"".join(self._place.client.run_file(run_id, rest))
            self._screen.line(content.decode(errors="replace").rstrip("\n"))
            return
        found = self._place.client.run_files(run_id, limit=100).items
        for one in found:
            self._screen.line(f"{one['size_bytes']:>10}  {one['path']}")
        if not found:
            self._screen.line("The last run has kept no files.", "faint")
