"""One run of an agent, followed to its end, with everything that it asks on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agency.cli.follow import Follower, Limit
from agency.cli.output import Output
from agency.cli.talk.feed import Feed, Told
from agency.cli.talk.questions import Questions
from agency.cli.talk.story import Story
from agency.cli.waits import needs_somebody, tell
from agency.client import Client
from agency.documents import RunDocument
from agency.errors import AgencyError, RunEnded

TICK_S = 1.0
"""How often is looked whether a limit of time is over, while nothing is heard."""
SETTLE_S = 0.15
"""So long nothing more is heard when a run waits: what came before has been shown by then."""
CANCEL_S = 15.0
"""How long the end of a cancelled run is waited for: its tools are stopped first."""


class Unanswered(Exception):
    """The run needs somebody, and nobody is here."""

    def __init__(self, run: RunDocument) -> None:
        """Take the run as it waits."""
        super().__init__(run["id"])
        self.run = run


class Turn:
    """Follows one run."""

    def __init__(
        self,
        client: Client,
        output: Output,
        story: Story,
        *,
        questions: Questions | None = None,
        listener: Callable[[Mapping[str, Any]], None] | None = None,
        waits: bool = True,
    ) -> None:
        """Follow a run, once it is known which.

        Args:
            questions: Asks whoever is there; without it is said how to answer.
            listener: Hears all updates, instead of the story.
            waits: Go on following when nobody answers here; else it ends with `Unanswered`.
        """
        self._client = client
        self._output = output
        self._story = story
        self._questions = questions
        self._listener = listener
        self._waits = waits
        self._feed = Feed(client)
        self._follower = Follower(client, output, Limit(None))
        self._read_to: dict[str, int] = {}
        self._bodies: dict[tuple[str, str], Any] = {}
        self._asked: set[str] = set()
        self._suspended: set[str] = set()
        self.run_id = ""

    def begin(self, start: Callable[[], Mapping[str, Any]]) -> str:
        """Start a run, and give its id.

        Args:
            start: Sends the request, with an idempotency key: it may be called again.
        """
        started = self._follower.delivered(start)
        self.take_up(str(started["run_id"]))
        return self.run_id

    def take_up(self, run_id: str) -> None:
        """Follow a run that there is already."""
        self.run_id = run_id
        self._story.begin()
        self._feed.follow(run_id)

    def go_on(self, limit: Limit | None = None) -> RunDocument:
        """Follow the run until it has ended or the limit is over. May be called again.

        Raises:
            Later: the person wants to answer at another time.
            Unanswered: nobody is here, and waiting is not wanted.
        """
        limit = limit or Limit(None)
        while not limit.is_over:
            told = self._feed.next(limit.left_s(SETTLE_S if self._suspended else TICK_S))
            if told is None:
                # All is told that led to it; what was answered before is not asked again.
                while self._suspended:
                    self._answer(self._suspended.pop())
            elif self._take(told):
                break
        return self._run(self.run_id)

    def now(self) -> RunDocument:
        """Read the run as it is."""
        return self._run(self.run_id)

    def cancel(self) -> RunDocument:
        """Stop the run, and follow it to its end or for `CANCEL_S`."""
        try:
            self._follower.steadily(partial(self._client.cancel, self.run_id))
        except RunEnded:
            return self._run(self.run_id)
        self._questions = None
        self._waits = True
        return self.go_on(Limit(CANCEL_S))

    def _take(self, told: Told) -> bool:
        """Take in what was heard; True when the run has ended."""
        is_own = told.run_id == self.run_id
        if told.is_end:
            if is_own and told.error is not None:
                raise told.error
            return is_own
        if told.away is not None:
            if is_own:
                self._tell_away(told.away)
            return False
        update = told.update
        assert update is not None
        if self._listener is not None:
            self._listener(update)
        else:
            read = partial(self._body, told.run_id, str(update.get("key", "")))
            self._story.tell(update, read, helper=not is_own)
        if update["type"] == "child" and isinstance(update["data"], dict):
            self._feed.follow(str(update["data"].get("run_id")))
        if update["type"] == "status":
            self._suspended.discard(told.run_id)
            if update["status"] == "suspended":
                self._suspended.add(told.run_id)
        return False

    def _tell_away(self, why: str) -> None:
        if why:
            self._story.cut_off()
            self._output.note(f"{why} Waiting for the daemon.")
        else:
            self._output.note("The daemon is back.")

    def _answer(self, run_id: str) -> None:
        run = self._run(run_id)
        if run["status"] != "suspended":
            return  # it goes on already: this was told again, or answered elsewhere
        if not needs_somebody(run):
            if any(wait["kind"] == "resource" for wait in run["waits"]):
                self._tell_waits(run)
        elif self._questions is not None:
            self._questions.ask(run)
        elif self._waits:
            self._tell_waits(run)
        else:
            raise Unanswered(run)

    def _tell_waits(self, run: RunDocument) -> None:
        """Say what the run waits for, each wait once."""
        keys = {f"{run['id']} {wait['key']}" for wait in run["waits"]}
        if keys - self._asked:
            self._asked |= keys
            for line in tell(run):
                self._output.warn(line)

    def _run(self, run_id: str) -> RunDocument:
        return self._follower.steadily(partial(self._client.run, run_id))

    def _body(self, run_id: str, key: str) -> Any:  # noqa: ANN401  JSON value
        """Read the result of a step that was too large for its update."""
        while (run_id, key) not in self._bodies:
            after = self._read_to.get(run_id, 0)
            try:
                page = self._follower.steadily(partial(self._client.steps, run_id, after=after))
            except AgencyError:
                return None
            if not page.items:
                return None
            self._read_to[run_id] = page.items[-1]["number"]
            for step in page.items:
                self._bodies[run_id, step["key"]] = step["body"]
        body = self._bodies[run_id, key]
        self._bodies = {place: None for place in self._bodies}  # each is told once
        return body
