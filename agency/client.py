"""A client of a daemon's REST interface, for the command line and for other programs.

It is synchronous and stands on the standard library alone, because a command line must start in a
tenth of a second. Each request has its own connection, so a client has no state that could go
stale, may be used from several threads, and needs no closing.

Problem documents (RFC 9457) come back as the classes of `agency.errors`, found by their ``code``.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO, Generic, NoReturn, TypeVar, Unpack, cast
from urllib.parse import quote, urlencode, urlsplit

from agency import errors
from agency.core.json import NotJson, decode, encode
from agency.core.limits import PAGE_ROWS_MAX
from agency.core.records import dataclass
from agency.documents import (
    AbortedDocument,
    AgentDocument,
    AgentToolDocument,
    ApprovalDocument,
    BlockDocument,
    BulkItemDocument,
    CheckDocument,
    ConnectionDocument,
    ConnectionLoginDocument,
    ConnectionLoginStartedDocument,
    ConnectionShownDocument,
    ConnectionTestDocument,
    ConnectionToolDocument,
    DecidedDocument,
    DefinitionsDocument,
    FactDocument,
    FiringDocument,
    HealthDocument,
    InboxItemDocument,
    LineageDocument,
    MemoryDocument,
    MessageDocument,
    ModelsDocument,
    ModelShownDocument,
    NewTokenDocument,
    NotebookDocument,
    NotebookFileDocument,
    PeerDeletedDocument,
    PeerDocument,
    PruneDocument,
    PushDocument,
    QueueDocument,
    ReceiptDocument,
    RecollectionDocument,
    RekeyedDocument,
    RemoteAgentDocument,
    RemoteCardDocument,
    RemoteTaskDocument,
    RuleDocument,
    RunDocument,
    RunFileDocument,
    RunRowDocument,
    SagaDocument,
    SagaRunDocument,
    ScheduleDocument,
    SecretDeletedDocument,
    SecretDocument,
    SessionDeletedDocument,
    SessionDocument,
    SnapshotDocument,
    StartedDocument,
    StatsDocument,
    StepDocument,
    SweptDocument,
    TokenDocument,
    ToolOutcomeDocument,
    TopicDocument,
    TopicEventDocument,
    UpdateDocument,
    UpdateWishes,
    VacuumDocument,
    VaultDocument,
    VerbDocument,
)
from agency.errors import AgencyError, AnswerLost, DaemonUnreachable, Fault, InvalidInput
from agency.event_stream import LINE_BYTES_MAX, follow
from agency.version import VERSION

ANSWER_BYTES_MAX = 64 << 20
"""Largest answer that is read: four times the largest value that a run may hold."""

WAIT_MARGIN_S = 10.0
"""An answer that the daemon may hold back for N seconds is late after this much more."""

STREAM_SILENCE_S = 60.0
"""A stream that says nothing for so long is opened again: four signs of life are missing then."""

CONNECTION_WAIT_S = 120.0
"""A server of tools may take so long to start, to answer a call or to leave."""

MAINTENANCE_S = 3600.0
"""The daemon answers when it is done, which takes minutes for many gigabytes."""
FILE_TYPE = "application/x-ndjson"
"""Media type of the file of a run."""
BYTES_TYPE = "application/octet-stream"
"""Media type of the files that a run has kept."""

T = TypeVar("T")

_MEMBERS_OF_A_PROBLEM = frozenset(
    {"type", "title", "status", "detail", "instance", "errors", "hint", "code", "links"}
    | {"success", "error", "message", "correlationId", "timestamp"}
    | {"data", "faults", "args"}
)
"""Members that every problem document has, or that would hide something of an exception."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon answered.

    Attributes:
        headers: Names in lower case.
        body: JSON value; None when there was none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")


@dataclass(frozen=True, slots=True)
class Problem:
    """Where an error came from: the HTTP side of it, which the error classes do not know."""

    status: int
    code: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and where to go on; ``cursor`` is None on the last one."""

    items: Sequence[T]
    cursor: str | None


def problem_of(error: AgencyError) -> Problem | None:
    """Tell what the daemon said about an error, or None when the error is not from a daemon."""
    problem = vars(error).get("_problem")
    return problem if isinstance(problem, Problem) else None


class Client:
    """Asks one daemon.

    All methods raise the errors of `agency.errors`; beside those that the daemon reports:

    Raises:
        DaemonUnreachable: Nothing was sent, or what answers is not Agency.
        AnswerLost: The request was sent, and whether it was carried out is not known.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 30.0) -> None:
        """Check the address; nothing is sent yet.

        Args:
            url: ``http://host:port`` or ``https://…``, with a path in front of ``/api`` if a
                proxy put one there.
            token: API token, or None.
            timeout_s: Longest silence of the daemon, above 0, beside what it was asked to wait.

        Raises:
            InvalidInput: the address is none.
        """
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._is_tls, self._host, self._port, self._path = _parse_url(self.url)

    # --- what every verb goes through ------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,  # noqa: ANN401  JSON value
        query: Mapping[str, object] | None = None,
        wait_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> Answer:
        """Send one request and read its answer.

        Args:
            path: From the root of the interface, quoted.
            body: Sent as JSON unless None.
            query: Values that are None are left out; sequences are repeated.
            wait_s: Ask the daemon to hold the request this long (RFC 7240, ``Prefer: wait``).
            accept: Statuses from 400 that are no errors here.

        Raises:
            AgencyError: the daemon refused; by its code one of the classes of `agency.errors`.
        """
        target = self._path + path + _query(query or {})
        content = None if body is None else encode(body)
        sent = self._headers(content, wait_s, headers or {})
        silence_s = self._timeout_s + (0 if wait_s is None else wait_s + WAIT_MARGIN_S)
        connection = self._connect(silence_s)
        try:
            answer = self._exchange(connection, method, target, content, sent)
        finally:
            connection.close()
        if answer.status >= 400 and answer.status not in accept:
            raise make_error(answer.status, answer.body, answer.headers)
        if not 200 <= answer.status < 300 and answer.status not in {304, *accept}:
            raise DaemonUnreachable(self.url, f"what answers there says HTTP {answer.status}")
        return answer

    def _headers(
        self, content: bytes | None, wait_s: float | None, more: Mapping[str, str]
    ) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": f"agency/{VERSION}"}
        headers["Connection"] = "close"
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if wait_s is not None:
            headers["Prefer"] = f"wait={max(0, round(wait_s))}"
        return {**headers, **more}

    def _connect(self, silence_s: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._is_tls:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=silence_s)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=silence_s)
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:
            connection.close()
            raise DaemonUnreachable(self.url, _reason(error)) from error
        return connection

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        content: bytes | BinaryIO | None,
        headers: Mapping[str, str],
    ) -> Answer:
        try:
            try:
                connection.request(method, target, content, dict(headers))
            except (BrokenPipeError, ConnectionResetError):
                # A daemon that refuses a large body answers and closes while it is still being
                # sent; the answer says why.
                response = connection.getresponse()
            else:
                response = connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise AnswerLost(self.url, _reason(error)) from error
        if len(text) > ANSWER_BYTES_MAX:
            raise errors.LimitExceeded(
                f"The answer of {self.url} has more than {ANSWER_BYTES_MAX} bytes.",
                hint="Ask for less, for example with a smaller limit.",
            )
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, self._parse(response.status, names, text))

    def _parse(self, status: int, headers: Mapping[str, str], text: bytes) -> Any:  # noqa: ANN401
        if not text:
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind == "application/json" or kind.endswith("+json"):
                return decode(text)
        except NotJson as error:
            raise AnswerLost(self.url, "the answer is not whole JSON") from error
        if status >= 500:
            # A proxy whose daemon is away.
            raise DaemonUnreachable(self.url, f"what answers there says HTTP {status}")
        raise DaemonUnreachable(
            self.url, f"what answers there is not Agency (HTTP {status}, {kind or 'no type'})"
        )

    # --- the daemon ------------------------------------------------------------------------

    def health(self) -> HealthDocument:
        """Ask how the daemon is; an unhealthy one answers, too."""
        return cast(HealthDocument, self.request("GET", "/health", accept=(503,)).body)

    def definitions(self) -> DefinitionsDocument:
        """List the workflows that can be run, and the files that failed to load."""
        return cast(DefinitionsDocument, self.request("GET", "/api/v1/definitions").body)

    # --- work ------------------------------------------------------------------------------

    def ask(
        self,
        message: str,
        *,
        max_steps: int | None = None,
        session_id: str | None = None,
        model: str | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Give the agent a message.

        Args:
            more: Further members of the request: ``agent``, ``tools``, ``budgets``, ``schema``,
                ``files``, ``system_prompt``, ``return_files``.

        Returns:
            ``response``, ``steps_executed``, ``completed``, ``run_id``, ``session_id``, ``model``
            and ``rehearsal``; ``limit`` when one was reached, ``answer`` for a schema, and
            ``returned`` and ``left_out`` for ``return_files``; or, when the run has not ended in
            time, ``run_id``, ``status`` and ``waits`` without ``response``.
        """
        body = _given(message=message, max_steps=max_steps, session_id=session_id, model=model)
        body |= more or {}
        answer = self.request(
            "POST",
            "/api/v1/agent/process",
            body=body,
            wait_s=wait_s,
            headers=_key(idempotency_key),
        )
        return cast(dict[str, Any], answer.body)

    def start(  # noqa: PLR0913  one for each member of the request
        self,
        workflow: str,
        input: Any = None,  # noqa: ANN401  the word of the interface; JSON value
        *,
        name: str | None = None,
        session_id: str | None = None,
        timeout_s: float | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
        queue: str | None = None,
        concurrency_key: str | None = None,
        priority: int | None = None,
        delay_s: float | None = None,
        max_attempts: int | None = None,
    ) -> StartedDocument:
        """Start a run of a workflow; accepted is durable.

        Raises:
            WorkflowNotFound, InvalidInput, NameTaken, IdempotencyMismatch, SessionBusy,
            QueueNotFound, QueueFull, StoreFull.
        """
        body = _given(
            workflow=workflow,
            input=input,
            name=name,
            session_id=session_id,
            timeout_s=timeout_s,
            queue=queue,
            concurrency_key=concurrency_key,
            priority=priority,
            delay_s=delay_s,
            max_attempts=max_attempts,
        )
        answer = self.request(
            "POST", "/api/v1/runs", body=body, wait_s=wait_s, headers=_key(idempotency_key)
        )
        return cast(StartedDocument, answer.body)

    def start_many(self, runs: Sequence[Mapping[str, Any]]) -> list[BulkItemDocument]:
        """Start up to `limits.BULK_RUNS_MAX` runs in one commit; each stands for itself.

        Args:
            runs: What `start` sends, each with its ``idempotency_key`` if it has one.

        Returns:
            What became of each, in this order.
        """
        answer = self.request("POST", "/api/v1/runs/bulk", body={"runs": runs})
        return cast("list[BulkItemDocument]", answer.body["runs"])

    # --- queues ----------------------------------------------------------------------------

    def queues(self, *, limit: int | None = None, cursor: str | None = None) -> Page[QueueDocument]:
        """List queues by name."""
        return self._page("/api/v1/queues", "queues", limit=limit, cursor=cursor)

    def queue(self, name: str) -> QueueDocument:
        """Read one queue.

        Raises:
            QueueNotFound: there is none.
        """
        return cast(QueueDocument, self.request("GET", f"/api/v1/queues/{_segment(name)}").body)

    def pause_queue(self, name: str) -> QueueDocument:
        """Let nothing of a queue be taken up until it is resumed.

        Raises:
            QueueNotFound: there is none.
        """
        path = f"/api/v1/queues/{_segment(name)}/pause"
        return cast(QueueDocument, self.request("POST", path).body)

    def resume_queue(self, name: str) -> QueueDocument:
        """Let a queue be worked off again.

        Raises:
            QueueNotFound: there is none.
        """
        path = f"/api/v1/queues/{_segment(name)}/resume"
        return cast(QueueDocument, self.request("POST", path).body)

    def drain_queue(self, name: str, *, wait_s: float | None = None) -> QueueDocument:
        """Pause a queue, and wait until nothing of it runs; its counts say whether that is so.

        Raises:
            QueueNotFound: there is none.
        """
        path = f"/api/v1/queues/{_segment(name)}/drain"
        return cast(QueueDocument, self.request("POST", path, wait_s=wait_s).body)

    # --- runs ------------------------------------------------------------------------------

    def run(self, run_id: str, *, wait_s: float | None = None) -> RunDocument:
        """Read a run; with ``wait_s`` when it has ended or needs somebody, at the latest then.

        Raises:
            RunNotFound: there is none.
        """
        answer = self.request("GET", f"/api/v1/runs/{_segment(run_id)}", wait_s=wait_s)
        return cast(RunDocument, answer.body)

    def run_named(self, name: str) -> RunDocument:
        """Read the live run of that name, else the newest ended one.

        Raises:
            RunNotFound: there is none.
        """
        answer = self.request("GET", f"/api/v1/workflows/{_segment(name)}")
        return cast(RunDocument, answer.body)

    def changed_run(
        self, run_id: str, etag: str | None, *, wait_s: float
    ) -> tuple[RunDocument | None, str | None]:
        """Read a run as soon as it differs from the state of ``etag``, after ``wait_s`` at most.

        Returns:
            The run and its new tag; or None and the old tag when nothing has changed.
        """
        answer = self.request(
            "GET",
            f"/api/v1/runs/{_segment(run_id)}",
            wait_s=wait_s if etag else None,
            headers={"If-None-Match": etag} if etag else {},
        )
        if answer.status == 304:
            return None, etag
        return cast(RunDocument, answer.body), answer.etag

    def runs(
        self,
        *,
        status: Sequence[str] = (),
        workflow: str | None = None,
        name: str | None = None,
        session_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RunRowDocument]:
        """List runs, newest first."""
        return self._page(
            "/api/v1/runs",
            "runs",
            status=status,
            workflow=workflow,
            name=name,
            session_id=session_id,
            limit=limit,
            cursor=cursor,
        )

    def steps(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Page[StepDocument]:
        """Read a page of a run's journal, oldest first, those with a ``number`` above ``after``.

        Raises:
            RunNotFound: there is none.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/steps"
        return self._page(path, "steps", after=after, limit=limit)

    def run_files(
        self, run_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[RunFileDocument]:
        """List the files that a run has kept, by path.

        Raises:
            RunNotFound: there is none.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/files"
        return self._page(path, "files", limit=limit, cursor=cursor)

    def run_file(self, run_id: str, path: str) -> Iterator[bytes]:
        """Read a file that a run has kept, piece by piece.

        Raises:
            RunNotFound, RunFileNotFound.
            AnswerLost: it did not come to its end.
        """
        place = quote(path.encode(errors="surrogateescape"))
        connection = self._connect(self._timeout_s)
        try:
            try:
                sent = {**self._headers(None, None, {}), "Accept": BYTES_TYPE}
                address = f"{self._path}/api/v1/runs/{_segment(run_id)}/files/{place}"
                connection.request("GET", address, headers=sent)
                response = connection.getresponse()
                kind = response.getheader("Content-Type", "").partition(";")[0]
                if response.status != 200 or kind != BYTES_TYPE:
                    self._refuse(response)
                left = int(response.getheader("Content-Length") or 0)
                while left and (piece := response.read(min(left, 1 << 20))):
                    left -= len(piece)
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise AnswerLost(self.url, _reason(error)) from error
            if left:
                raise AnswerLost(self.url, "the file was cut off")
        finally:
            connection.close()

    def updates(
        self,
        run_id: str | None = None,
        *,
        after: int | None = None,
        types: Sequence[str] = (),
        patience_s: float = 30.0,
        **only: Unpack[UpdateWishes],
    ) -> Iterator[UpdateDocument]:
        """Watch a run until it has ended, or all runs: each update as it comes, none missed.

        When the connection is lost it is made again, and goes on where it was. Tokens of models
        (``type`` is ``token``) are shown only while they are said.

        Args:
            run_id: The run; None for all runs.
            after: Id of the update after which to begin, 0 for the start; None to begin now.
            types: Only these.
            patience_s: How long a daemon that was there may be away.
            only: Of which runs; not with ``run_id``.

        Raises:
            RunNotFound: there is none.
            UpdatesAhead: no update with the id ``after`` was ever made.
            TooManyStreams: the daemon has as many as it takes.
        """
        tags = only.pop("tags", {})
        query = {"type": types, **only, "tag": [f"{name}={tags[name]}" for name in tags]}
        path = "/api/v1/updates"
        if run_id is not None:
            path = f"/api/v1/runs/{_segment(run_id)}/updates"
        found = follow(
            lambda headers: self._stream(path, query, headers),
            self.url,
            after=after,
            patience_s=patience_s,
            has_end=run_id is not None,
        )
        return cast(Iterator[UpdateDocument], found)

    @contextmanager
    def _stream(
        self, path: str, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> Iterator[Iterable[bytes] | None]:
        target = self._path + path + _query(query)
        sent = {**self._headers(None, None, headers), "Accept": "text/event-stream"}
        connection = self._connect(STREAM_SILENCE_S)
        try:
            try:
                connection.request("GET", target, headers=sent)
                response = connection.getresponse()
                if response.status == 204:
                    yield None
                    return
                kind = response.getheader("Content-Type", "").partition(";")[0]
                if response.status != 200 or kind != "text/event-stream":
                    self._refuse(response)
            except (OSError, http.client.HTTPException) as error:
                raise AnswerLost(self.url, _reason(error)) from error
            yield self._lines(response)
        finally:
            connection.close()

    def _refuse(self, response: http.client.HTTPResponse) -> NoReturn:
        text = response.read(ANSWER_BYTES_MAX)
        names = {name.lower(): value for name, value in response.getheaders()}
        body = self._parse(response.status, names, text)
        if response.status < 400:
            raise DaemonUnreachable(self.url, "what answers there sends no stream of updates")
        raise make_error(response.status, body, names)

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Read line by line; a lost connection is the end of an answer that has no other."""
        while True:
            try:
                line = response.readline(LINE_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                raise AnswerLost(self.url, _reason(error)) from error
            if not line:
                return
            yield line

    def cancel(self, run_id: str, *, reason: str | None = None) -> StartedDocument:
        """Cancel a run and its descendants; its status says whether it has ended yet.

        Raises:
            RunNotFound, RunEnded.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/cancel"
        return cast(StartedDocument, self.request("POST", path, body=_given(reason=reason)).body)

    def suspend(self, run_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Hold a run until it is resumed.

        Returns:
            ``run_id``, ``status`` and ``snapshot_id``, which is null while the run's safe point
            is not reached.

        Raises:
            RunNotFound, RunEnded.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/suspend"
        return cast(dict[str, Any], self.request("POST", path, body=_given(reason=reason)).body)

    def send(
        self,
        run_id: str,
        name: str,
        payload: Any = None,  # noqa: ANN401  JSON value
        *,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Send an event to a run; it is kept until the run takes it.

        Returns:
            ``event_id``, ``run_id`` and ``name``.

        Raises:
            RunNotFound, RunEnded.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/events"
        body = {"name": name, "payload": payload}
        answer = self.request("POST", path, body=body, headers=_key(idempotency_key))
        return cast(dict[str, Any], answer.body)

    # --- the verbs for runs that have been worked on -----------------------------------------

    def retry(
        self,
        run_id: str,
        *,
        provider: str | None = None,
        max_attempts: int | None = None,
        budgets: Mapping[str, float] | None = None,
        dry_run: bool = False,
    ) -> VerbDocument:
        """Let an ended run go on from what has failed; with ``dry_run`` only tell what would be.

        ``budgets`` are what an agent's run may use in all: ``turns``, ``tokens``, ``seconds``,
        ``tool_calls``.

        Raises:
            RunNotFound, RunNotRetryable, RunChanged, RunHasParent, NameTaken, SessionBusy,
            WorkflowNotFound.
        """
        wish = _given(provider=provider, max_attempts=max_attempts, budgets=budgets or None)
        return self._verb(run_id, "retry", wish, dry_run=dry_run)

    def resume_run(
        self,
        run_id: str,
        *,
        wait: str | None = None,
        input: Any = None,  # noqa: ANN401  the word of the interface; JSON value
        has_input: bool = False,
        dry_run: bool = False,
    ) -> VerbDocument:
        """Answer a wait of a suspended run, named by the run.

        Raises:
            RunNotFound, RunEnded, RunNotSuspended, SnapshotSpent, WaitNotFound, WaitAmbiguous,
            AnswerNeeded, WaitNotAnswerable, WaitTaken, InvalidInput.
        """
        wish = _given(wait=wait)
        if has_input:
            wish["input"] = input
        return self._verb(run_id, "resume", wish, dry_run=dry_run)

    def rerun(
        self, run_id: str, wish: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> VerbDocument:
        """Start a new run with the same input, or another.

        Args:
            wish: Any of ``input``, ``name``, ``provider``, ``max_attempts``, ``dry_run``.

        Raises:
            RunNotFound, WorkflowNotFound, InvalidInput, NameTaken, IdempotencyMismatch, QueueFull.
        """
        return self._verb(run_id, "rerun", wish, key=idempotency_key)

    def fork(
        self, run_id: str, wish: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> VerbDocument:
        """Start a new run from a point of this one.

        Args:
            wish: As for `rerun`, and ``at``: number or key of an entry, or id of a snapshot.

        Raises:
            ForkPointNotFound; and as `rerun`.
        """
        return self._verb(run_id, "fork", wish, key=idempotency_key)

    def lineage(self, run_id: str, *, limit: int | None = None) -> LineageDocument:
        """Read what a run comes from, and what has come from it.

        Raises:
            RunNotFound: there is none.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/lineage"
        return cast(LineageDocument, self.request("GET", path, query={"limit": limit}).body)

    def _verb(
        self,
        run_id: str,
        verb: str,
        wish: Mapping[str, Any],
        *,
        dry_run: bool = False,
        key: str | None = None,
    ) -> VerbDocument:
        body = {**wish, "dry_run": True} if dry_run else dict(wish)
        path = f"/api/v1/runs/{_segment(run_id)}/{verb}"
        answer = self.request("POST", path, body=body, headers=_key(key))
        return cast(VerbDocument, answer.body)

    # --- dead letters ------------------------------------------------------------------------

    def dead_letters(
        self,
        *,
        workflow: str | None = None,
        queue: str | None = None,
        code: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RunRowDocument]:
        """List runs that have used up their attempts, newest first."""
        return self._page(
            "/api/v1/dead-letters",
            "dead_letters",
            workflow=workflow,
            queue=queue,
            code=code,
            limit=limit,
            cursor=cursor,
        )

    def dead_letter(self, run_id: str) -> RunDocument:
        """Read a dead letter.

        Raises:
            RunNotFound, NotADeadLetter.
        """
        answer = self.request("GET", f"/api/v1/dead-letters/{_segment(run_id)}")
        return cast(RunDocument, answer.body)

    def requeue(self, run_id: str, wish: Mapping[str, Any]) -> VerbDocument:
        """Let a dead letter go on from what has failed.

        Args:
            wish: Any of ``provider``, ``max_attempts``, ``dry_run``.

        Raises:
            NotADeadLetter; and as `retry`.
        """
        path = f"/api/v1/dead-letters/{_segment(run_id)}/requeue"
        return cast(VerbDocument, self.request("POST", path, body=dict(wish)).body)

    def discard(self, run_id: str, *, dry_run: bool = False) -> RunDocument:
        """Give a dead letter up.

        Raises:
            RunNotFound, NotADeadLetter.
        """
        path = f"/api/v1/dead-letters/{_segment(run_id)}/discard"
        return cast(RunDocument, self.request("POST", path, body={"dry_run": dry_run}).body)

    def sweep_dead(self, verb: str, wish: Mapping[str, Any]) -> SweptDocument:
        """Requeue or discard many dead letters, a bounded number for each call.

        Args:
            verb: ``requeue`` or ``discard``.
            wish: Which: any of ``workflow``, ``queue``, ``code``, or ``all``; and ``cursor``,
                ``dry_run``, and to requeue ``max_attempts``.
        """
        answer = self.request("POST", f"/api/v1/dead-letters/{verb}", body=dict(wish))
        return cast(SweptDocument, answer.body)

    # --- runs as files -----------------------------------------------------------------------

    def export(self, place: str, identifier: str) -> Iterator[bytes]:
        """Read the file of a run, line by line. The last line tells whether it is whole.

        Args:
            place: ``snapshots`` or ``runs``, to be copied, or ``receipts`` of moved ones.
            identifier: Id of the snapshot, run or receipt.

        Raises:
            SnapshotNotFound, RunNotFound, ReceiptNotFound, ReceiptConfirmed, ExportTooLarge.
        """
        last = "file" if place == "receipts" else "export"
        yield from self._file(f"/api/v1/{place}/{_segment(identifier)}/{last}", FILE_TYPE)

    def _file(self, path: str, media_type: str) -> Iterator[bytes]:
        connection = self._connect(self._timeout_s)
        try:
            try:
                sent = {**self._headers(None, None, {}), "Accept": media_type}
                connection.request("GET", self._path + path, headers=sent)
                response = connection.getresponse()
                kind = response.getheader("Content-Type", "").partition(";")[0]
                if response.status != 200 or kind != media_type:
                    self._refuse(response)
            except (OSError, http.client.HTTPException) as error:
                raise AnswerLost(self.url, _reason(error)) from error
            yield from self._whole_lines(response)
        finally:
            connection.close()

    def _whole_lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while line := response.readline(ANSWER_BYTES_MAX):
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise AnswerLost(self.url, _reason(error)) from error

    def move(self, snapshot_id: str) -> ReceiptDocument:
        """Let a suspended run end here, to go on where its file is brought in.

        Raises:
            SnapshotNotFound, SnapshotSpent, RunEnded, RunChanged, ExportTooLarge.
        """
        path = f"/api/v1/snapshots/{_segment(snapshot_id)}/move"
        return cast(ReceiptDocument, self.request("POST", path).body)

    def confirm_moved(self, receipt_id: str) -> ReceiptDocument:
        """Confirm that a moved run has arrived; its file is not given out after that.

        Raises:
            ReceiptNotFound: there is none.
        """
        path = f"/api/v1/receipts/{_segment(receipt_id)}/confirm"
        return cast(ReceiptDocument, self.request("POST", path).body)

    def bring_in(
        self, file: BinaryIO, size_bytes: int, *, is_copy: bool = False, again: bool = False
    ) -> RunDocument:
        """Bring a run in from its file.

        Raises:
            ExportCorrupt, ExportFormatUnknown, ExportTooLarge, ExportTaken, RunIdTaken, NameTaken,
            SessionBusy, QueueFull, WorkflowNotFound.
        """
        query = {"copy": "true" if is_copy else None, "again": "true" if again else None}
        target = self._path + "/api/v1/snapshots/import" + _query(query)
        sent = self._headers(None, None, {})
        sent.update({"Content-Type": FILE_TYPE, "Content-Length": str(size_bytes)})
        connection = self._connect(self._timeout_s)
        try:
            answer = self._exchange(connection, "POST", target, file, sent)
        finally:
            connection.close()
        if answer.status >= 400:
            raise make_error(answer.status, answer.body, answer.headers)
        return cast(RunDocument, answer.body)

    # --- snapshots -------------------------------------------------------------------------

    def snapshots(
        self,
        *,
        workflow_id: str | None = None,
        reason: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[SnapshotDocument]:
        """List snapshots, newest first; ``workflow_id`` is the name of a run."""
        return self._page(
            "/api/v1/workflows/snapshots",
            "snapshots",
            workflow_id=workflow_id,
            reason=reason,
            limit=limit,
            cursor=cursor,
        )

    def snapshot(self, snapshot_id: str) -> SnapshotDocument:
        """Read one snapshot.

        Raises:
            SnapshotNotFound: there is none.
        """
        path = f"/api/v1/workflows/snapshots/{_segment(snapshot_id)}"
        return cast(SnapshotDocument, self.request("GET", path).body)

    def resume(
        self,
        snapshot_id: str,
        *,
        wait: str | None = None,
        input: Any = None,  # noqa: ANN401  the word of the interface; JSON value
        has_input: bool = False,
        wait_s: float | None = None,
    ) -> dict[str, Any]:
        """Answer a wait of a suspended run, so that it goes on.

        Returns:
            ``run_id``, ``status``, ``completed``, ``steps_executed`` and ``response`` if any.

        Raises:
            SnapshotNotFound, SnapshotSpent, WaitNotFound, WaitAmbiguous, AnswerNeeded,
            WaitNotAnswerable, WaitTaken, InvalidInput.
        """
        body = _given(snapshot_id=snapshot_id, wait=wait)
        if has_input:
            body["input"] = input
        answer = self.request("POST", "/api/v1/workflows/resume", body=body, wait_s=wait_s)
        return cast(dict[str, Any], answer.body)

    def delete_snapshot(self, snapshot_id: str, *, cancel: bool = False) -> None:
        """Delete a snapshot; with ``cancel`` the live run that it belongs to is cancelled first.

        Raises:
            SnapshotNotFound, SnapshotLive.
        """
        path = f"/api/v1/workflows/snapshots/{_segment(snapshot_id)}"
        self.request("DELETE", path, query={"cancel": "true" if cancel else None})

    # --- schedules -------------------------------------------------------------------------

    def put_schedule(self, name: str, schedule: Mapping[str, Any]) -> ScheduleDocument:
        """Make a schedule, or replace it; the same again changes nothing.

        Args:
            schedule: ``workflow``, either ``cron`` or ``interval_s``, and what else the interface
                knows of a schedule.

        Raises:
            InvalidInput, WorkflowNotFound, ValueTooLarge, TooManySchedules, StoreFull.
        """
        path = f"/api/v1/schedules/{_segment(name)}"
        return cast(ScheduleDocument, self.request("PUT", path, body=schedule).body)

    def schedules(
        self,
        *,
        workflow: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ScheduleDocument]:
        """List schedules by name, without their input."""
        return self._page(
            "/api/v1/schedules", "schedules", workflow=workflow, limit=limit, cursor=cursor
        )

    def schedule(self, name: str) -> ScheduleDocument:
        """Read one schedule.

        Raises:
            ScheduleNotFound: there is none.
        """
        path = f"/api/v1/schedules/{_segment(name)}"
        return cast(ScheduleDocument, self.request("GET", path).body)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule with its ledger; its runs stay.

        Raises:
            ScheduleNotFound: there is none.
        """
        self.request("DELETE", f"/api/v1/schedules/{_segment(name)}")

    def pause_schedule(self, name: str, *, reason: str | None = None) -> ScheduleDocument:
        """Let a schedule fire nothing until it is resumed.

        Raises:
            ScheduleNotFound: there is none.
        """
        path = f"/api/v1/schedules/{_segment(name)}/pause"
        return cast(ScheduleDocument, self.request("POST", path, body=_given(reason=reason)).body)

    def resume_schedule(self, name: str) -> ScheduleDocument:
        """Let a schedule fire again.

        Raises:
            ScheduleNotFound: there is none.
        """
        path = f"/api/v1/schedules/{_segment(name)}/resume"
        return cast(ScheduleDocument, self.request("POST", path).body)

    def run_schedule(self, name: str, *, idempotency_key: str | None = None) -> RunRowDocument:
        """Start a run of a schedule at once; its plan stays as it is.

        Raises:
            ScheduleNotFound, WorkflowNotFound, InvalidInput, IdempotencyMismatch, StoreFull.
        """
        path = f"/api/v1/schedules/{_segment(name)}/run"
        answer = self.request("POST", path, headers=_key(idempotency_key))
        return cast(RunRowDocument, answer.body)

    def next_firings(self, name: str, *, count: int | None = None) -> list[str]:
        """List the next moments at which a schedule is expected to fire.

        Raises:
            ScheduleNotFound: there is none.
        """
        path = f"/api/v1/schedules/{_segment(name)}/next"
        return cast(list[str], self.request("GET", path, query={"count": count}).body["next"])

    def firings(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[FiringDocument]:
        """List what became of a schedule's firings, newest first.

        Raises:
            ScheduleNotFound: there is none.
        """
        path = f"/api/v1/schedules/{_segment(name)}/firings"
        return self._page(path, "firings", limit=limit, cursor=cursor)

    # --- approvals -------------------------------------------------------------------------

    def approvals(
        self,
        *,
        status: Sequence[str] = (),
        kind: Sequence[str] = (),
        risk: Sequence[str] = (),
        workflow: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ApprovalDocument]:
        """List approvals and inputs, newest first."""
        return self._page(
            "/api/v1/approvals",
            "approvals",
            status=status,
            kind=kind,
            risk=risk,
            workflow=workflow,
            run_id=run_id,
            limit=limit,
            cursor=cursor,
        )

    def approval(self, approval_id: str) -> ApprovalDocument:
        """Read one approval.

        Raises:
            ApprovalNotFound: there is none.
        """
        path = f"/api/v1/approvals/{_segment(approval_id)}"
        return cast(ApprovalDocument, self.request("GET", path).body)

    def decide(
        self,
        approval_id: str,
        decision: str,
        *,
        comment: str | None = None,
        value: Any = None,  # noqa: ANN401  JSON value
        has_value: bool = False,
        always: Mapping[str, Any] | None = None,
    ) -> DecidedDocument:
        """Decide an approval: ``approve`` or ``deny`` it, or ``answer`` an input.

        Args:
            always: Make a rule of it; what it leaves out is taken from the approval.

        Raises:
            ApprovalNotFound, ApprovalDecided, InvalidInput, TooManyRules.
        """
        body = _given(decision=decision, comment=comment, always=always)
        if has_value:
            body["value"] = value
        path = f"/api/v1/approvals/{_segment(approval_id)}/decide"
        return cast(DecidedDocument, self.request("POST", path, body=body).body)

    def inbox(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[InboxItemDocument]:
        """List everything that waits for a person, newest first."""
        return self._page("/api/v1/inbox", "inbox", limit=limit, cursor=cursor)

    def rules(self, *, limit: int | None = None, cursor: str | None = None) -> Page[RuleDocument]:
        """List the rules that allow approvals, newest first."""
        return self._page("/api/v1/approvals/rules", "rules", limit=limit, cursor=cursor)

    def make_rule(self, rule: Mapping[str, Any]) -> RuleDocument:
        """Make a rule that allows what fits it.

        Raises:
            InvalidInput, TooManyRules.
        """
        answer = self.request("POST", "/api/v1/approvals/rules", body=dict(rule))
        return cast(RuleDocument, answer.body)

    def delete_rule(self, rule_id: int) -> None:
        """Delete a rule; what it has decided stays decided.

        Raises:
            RuleNotFound: there is none.
        """
        self.request("DELETE", f"/api/v1/approvals/rules/{rule_id}")

    # --- topics ----------------------------------------------------------------------------

    def agents(self, *, limit: int | None = None, cursor: str | None = None) -> Page[AgentDocument]:
        """List the agents by name."""
        return self._page("/api/v1/agents", "agents", limit=limit, cursor=cursor)

    def tools(
        self, *, agent: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[AgentToolDocument]:
        """List the tools by name, with what an agent may do with them.

        Raises:
            InvalidInput: there is no such agent.
        """
        return self._page("/api/v1/tools", "tools", agent=agent, limit=limit, cursor=cursor)

    def unknown_tools(
        self, agent: str | None = None, *, named: Sequence[str] | None = None
    ) -> Sequence[str]:
        """Find the names that mean no tool: of ``named``, or of an agent's own settings.

        Raises:
            InvalidInput: there is no such agent, or a name cannot be read.
        """
        query = {"agent": agent, "limit": 1, "named": None if named is None else ",".join(named)}
        # A daemon of before says nothing of it.
        found: Sequence[str] = self.request("GET", "/api/v1/tools", query=query).body.get(
            "unknown", ()
        )
        return found

    def publish(
        self,
        topic: str,
        payload: Any = None,  # noqa: ANN401  JSON value
        *,
        name: str | None = None,
        mode: str | None = None,
        keep_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Publish an event in a topic; it is kept until a run takes it or its time is over.

        Returns:
            ``event_id``, ``topic``, ``name``, ``mode`` and ``is_new``.

        Raises:
            TopicFull, InvalidInput.
        """
        body = {"payload": payload, **_given(name=name, mode=mode, keep_s=keep_s)}
        path = f"/api/v1/topics/{_segment(topic)}/events"
        answer = self.request("POST", path, body=body, headers=_key(idempotency_key))
        return cast(dict[str, Any], answer.body)

    def topics(self, *, limit: int | None = None, cursor: str | None = None) -> Page[TopicDocument]:
        """List the topics that have events or waits, by name."""
        return self._page("/api/v1/topics", "topics", limit=limit, cursor=cursor)

    def topic(self, topic: str) -> TopicDocument:
        """Read one topic.

        Raises:
            TopicNotFound: it has no events, and nobody waits for one.
        """
        return cast(TopicDocument, self.request("GET", f"/api/v1/topics/{_segment(topic)}").body)

    def topic_events(
        self, topic: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[TopicEventDocument]:
        """List a topic's events, newest first."""
        path = f"/api/v1/topics/{_segment(topic)}/events"
        return self._page(path, "events", limit=limit, cursor=cursor)

    # --- the database ----------------------------------------------------------------------

    def db_stats(self) -> StatsDocument:
        """Ask how large the database is."""
        return cast(StatsDocument, self.request("GET", "/api/v1/db/stats").body)

    def check_db(self, *, timeout_s: float = 60.0) -> CheckDocument:
        """Have the database looked through for damage, ``timeout_s`` at most."""
        answer = self.request(
            "POST", "/api/v1/db/check", body={"timeout_s": timeout_s}, wait_s=timeout_s
        )
        return cast(CheckDocument, answer.body)

    def vacuum_db(self, *, bytes_max: int | None = None) -> VacuumDocument:
        """Have free space given back to the disk. Raises: StoreFull."""
        answer = self.request(
            "POST", "/api/v1/db/vacuum", body=_given(bytes_max=bytes_max), wait_s=MAINTENANCE_S
        )
        return cast(VacuumDocument, answer.body)

    def prune_db(self) -> PruneDocument:
        """Have deleted what has expired. Raises: StoreFull."""
        answer = self.request("POST", "/api/v1/db/prune", wait_s=MAINTENANCE_S)
        return cast(PruneDocument, answer.body)

    # --- sagas -----------------------------------------------------------------------------

    def define_saga(self, declaration: Any) -> SagaDocument:  # noqa: ANN401  JSON value
        """Define a saga, or a new version of it; runs that have begun keep theirs.

        Raises:
            InvalidInput: with all that is wrong.
            Conflict: a workflow of a file has the name, or there are too many.
        """
        answer = self.request("POST", "/api/v1/sagas", body=declaration)
        return cast(SagaDocument, answer.body)

    def sagas(self, *, limit: int | None = None, cursor: str | None = None) -> Page[SagaDocument]:
        """List sagas by name."""
        return self._page("/api/v1/sagas", "sagas", limit=limit, cursor=cursor)

    def saga(self, name: str) -> SagaDocument:
        """Read one saga.

        Raises:
            SagaNotFound: there is none.
        """
        return cast(SagaDocument, self.request("GET", f"/api/v1/sagas/{_segment(name)}").body)

    def delete_saga(self, name: str) -> None:
        """Delete a stored saga.

        Raises:
            SagaNotFound, DefinitionNotStored, DefinitionInUse.
        """
        self.request("DELETE", f"/api/v1/sagas/{_segment(name)}")

    def start_saga(
        self,
        saga: str,
        input: Any = None,  # noqa: ANN401  the word of the interface; JSON value
        *,
        name: str | None = None,
        timeout_s: float | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> StartedDocument:
        """Start a run of a saga; accepted is durable.

        Raises:
            SagaNotFound, InvalidInput, NameTaken, IdempotencyMismatch, StoreFull.
        """
        path = f"/api/v1/sagas/{_segment(saga)}/start"
        body = _given(input=input, name=name, timeout_s=timeout_s)
        headers = _key(idempotency_key)
        answer = self.request("POST", path, body=body, wait_s=wait_s, headers=headers)
        return cast(StartedDocument, answer.body)

    def saga_run(self, run_id: str, *, wait_s: float | None = None) -> SagaRunDocument:
        """Read a run of a saga with its legs.

        Raises:
            RunNotFound: there is none, or it is no saga's.
        """
        path = f"/api/v1/sagas/runs/{_segment(run_id)}"
        return cast(SagaRunDocument, self.request("GET", path, wait_s=wait_s).body)

    def abort_saga(self, run_id: str, *, reason: str | None = None) -> AbortedDocument:
        """Stop a run of a saga, and take back what it has done.

        Raises:
            RunNotFound, RunEnded.
        """
        path = f"/api/v1/sagas/runs/{_segment(run_id)}/abort"
        return cast(AbortedDocument, self.request("POST", path, body=_given(reason=reason)).body)

    def retry_compensation(self, run_id: str) -> SagaRunDocument:
        """Try once more to take back what a run could not take back.

        Raises:
            RunNotFound, CompensationNotFailed, NameTaken.
        """
        path = f"/api/v1/sagas/runs/{_segment(run_id)}/retry-compensation"
        return cast(SagaRunDocument, self.request("POST", path).body)

    # --- tokens ----------------------------------------------------------------------------

    def tokens(self) -> list[TokenDocument]:
        """List the tokens that work, oldest first."""
        return cast(list[TokenDocument], self.request("GET", "/api/v1/tokens").body["tokens"])

    def make_token(self, name: str) -> NewTokenDocument:
        """Make a token; its secret is in the answer and never shown again.

        Raises:
            TokenNameTaken: a token that works has the name.
        """
        answer = self.request("POST", "/api/v1/tokens", body={"name": name})
        return cast(NewTokenDocument, answer.body)

    def revoke_token(self, name: str) -> None:
        """Revoke a token; it stops working at once.

        Raises:
            TokenNotFound: no token that works has the name.
        """
        self.request("DELETE", f"/api/v1/tokens/{_segment(name)}")

    # --- models ----------------------------------------------------------------------------

    def models(self, *, provider: str | None = None, limit: int = 200) -> ModelsDocument:
        """List the models of all providers, up to ``limit``, by provider and name."""
        found: ModelsDocument | None = None
        while found is None or (found["next_cursor"] and len(found["models"]) < limit):
            left = limit - (len(found["models"]) if found else 0)
            query = _given(
                provider=provider,
                limit=min(left, PAGE_ROWS_MAX),
                cursor=found["next_cursor"] if found else None,
            )
            page = cast(ModelsDocument, self.request("GET", "/api/v1/models", query=query).body)
            models = [*(found["models"] if found else ()), *page["models"]]
            found = {**page, "models": models}
        return found

    def show_model(self, model: str) -> ModelShownDocument:
        """Show what a model can do.

        Raises:
            ModelNotFound, ModelUnavailable.
        """
        answer = self.request("GET", "/api/v1/models/show", query={"model": model})
        return cast(ModelShownDocument, answer.body)

    def pull_model(self, model: str, *, idempotency_key: str | None = None) -> StartedDocument:
        """Have a model server fetch a model, as a run."""
        return self._begin_model("pull", model, idempotency_key)

    def check_model(
        self, model: str | None = None, *, idempotency_key: str | None = None
    ) -> StartedDocument:
        """Find out what a model is fit for, as a run; the default one if none is named."""
        return self._begin_model("check", model, idempotency_key)

    def _begin_model(self, verb: str, model: str | None, key: str | None) -> StartedDocument:
        answer = self.request(
            "POST", f"/api/v1/models/{verb}", body=_given(model=model), headers=_key(key)
        )
        return cast(StartedDocument, answer.body)

    # --- sessions ----------------------------------------------------------------------------

    def sessions(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[SessionDocument]:
        """List sessions, those begun last first."""
        return self._page("/api/v1/sessions", "sessions", limit=limit, cursor=cursor)

    def session(self, session_id: str) -> SessionDocument:
        """Read one session.

        Raises:
            SessionNotFound: there is none.
        """
        path = f"/api/v1/sessions/{_segment(session_id)}"
        return cast(SessionDocument, self.request("GET", path).body)

    def messages(
        self, session_id: str, *, after: int = 0, upto: int | None = None
    ) -> Iterator[MessageDocument]:
        """Read what was said in a session, page by page.

        Args:
            after: Position before the first one.
            upto: Position of the last one; None for the newest there is.

        Raises:
            SessionNotFound: there is none.
        """
        path = f"/api/v1/sessions/{_segment(session_id)}/messages"
        cursor: str | None = None
        while True:
            begin = after if cursor is None else None
            page = self._page(path, "messages", after=begin, cursor=cursor)
            for message in page.items:
                if upto is not None and message["position"] > upto:
                    return
                yield message
            cursor = page.cursor
            if cursor is None:
                return

    def fork_session(
        self,
        session_id: str,
        *,
        position: int | None = None,
        new_id: str | None = None,
        title: str | None = None,
    ) -> SessionDocument:
        """Make a session that goes on from one of the messages of another.

        Args:
            position: Newest message that it has; None for the newest there is.
            new_id: Its id; None for one that is made.

        Raises:
            SessionNotFound, MessageNotFound, SessionExists, SessionTooDeep, StoreFull.
        """
        wanted = {"position": position, "session_id": new_id, "title": title}
        body = {name: value for name, value in wanted.items() if value is not None}
        path = f"/api/v1/sessions/{_segment(session_id)}/fork"
        return cast(SessionDocument, self.request("POST", path, body=body).body)

    def rename_session(self, session_id: str, title: str) -> SessionDocument:
        """Give a session another title; an empty one takes it away.

        Raises:
            SessionNotFound: there is none.
        """
        path = f"/api/v1/sessions/{_segment(session_id)}"
        return cast(SessionDocument, self.request("PATCH", path, body={"title": title}).body)

    def delete_session(self, session_id: str) -> SessionDeletedDocument:
        """Delete a session; its runs stay.

        Raises:
            SessionNotFound, SessionInUse.
        """
        path = f"/api/v1/sessions/{_segment(session_id)}"
        return cast(SessionDeletedDocument, self.request("DELETE", path).body)

    def session_file(self, session_id: str, *, is_markdown: bool) -> Iterator[bytes]:
        """Read a session as a file, line by line: as Markdown, or as JSON lines.

        Raises:
            SessionNotFound: there is none.
        """
        last, kind = ("transcript", "text/markdown") if is_markdown else ("export", FILE_TYPE)
        yield from self._file(f"/api/v1/sessions/{_segment(session_id)}/{last}", kind)

    # --- memory ------------------------------------------------------------------------------
    #
    # ``whose`` names a ``principal`` or ``session``, where the settings keep them apart.

    def memory(self, agent: str, **whose: str | None) -> MemoryDocument:
        """Read an agent's core memory."""
        path = f"/api/v1/memory/{_segment(agent)}"
        return cast(MemoryDocument, self.request("GET", path, query=whose).body)

    def write_block(
        self,
        agent: str,
        block: str,
        text: str,
        *,
        expected: int | None = None,
        reason: str = "",
        **whose: str | None,
    ) -> BlockDocument:
        """Write a block of core memory; an empty text removes it.

        Raises:
            InvalidInput, BlockNotFound, BlockChanged, TooManyBlocks, StoreFull.
        """
        body: dict[str, object] = {"text": text, "reason": reason}
        if expected is not None:
            body["expected"] = expected
        path = f"/api/v1/memory/{_segment(agent)}/core/{_segment(block)}"
        return cast(BlockDocument, self.request("PUT", path, body=body, query=whose).body)

    def block_versions(
        self,
        agent: str,
        block: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **whose: str | None,
    ) -> Page[BlockDocument]:
        """List the versions of a block, the newest first.

        Raises:
            BlockNotFound: there is none.
        """
        path = f"/api/v1/memory/{_segment(agent)}/core/{_segment(block)}/versions"
        return self._page(path, "versions", limit=limit, cursor=cursor, **whose)

    def revert_block(
        self, agent: str, block: str, version: int, **whose: str | None
    ) -> BlockDocument:
        """Bring an older version of a block back.

        Raises:
            BlockNotFound: there is none.
        """
        path = f"/api/v1/memory/{_segment(agent)}/core/{_segment(block)}/revert"
        answer = self.request("POST", path, body={"version": version}, query=whose)
        return cast(BlockDocument, answer.body)

    def facts(
        self,
        agent: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **whose: str | None,
    ) -> Page[FactDocument]:
        """List what an agent has remembered, the newest first."""
        path = f"/api/v1/memory/{_segment(agent)}/facts"
        return self._page(path, "facts", limit=limit, cursor=cursor, **whose)

    def add_fact(
        self, agent: str, text: str, *, source: str = "", **whose: str | None
    ) -> FactDocument:
        """Let an agent know something; the same twice is once.

        Raises:
            InvalidInput, MemoryFull, StoreFull.
        """
        path = f"/api/v1/memory/{_segment(agent)}/facts"
        body = {"text": text, "source": source}
        return cast(FactDocument, self.request("POST", path, body=body, query=whose).body)

    def delete_fact(self, agent: str, fact_id: str, **whose: str | None) -> None:
        """Let an agent forget something.

        Raises:
            FactNotFound: it has no such fact.
        """
        path = f"/api/v1/memory/{_segment(agent)}/facts/{_segment(fact_id)}"
        self.request("DELETE", path, query=whose)

    def recall(
        self, agent: str, query: str, *, limit: int | None = None, **whose: str | None
    ) -> RecollectionDocument:
        """Find what an agent knows: its facts, and what its notebooks say."""
        path = f"/api/v1/memory/{_segment(agent)}/recall"
        asked = {"query": query, "limit": limit, **whose}
        return cast(RecollectionDocument, self.request("GET", path, query=asked).body)

    def reembed(self, model: str | None = None) -> StartedDocument:
        """Start the run that gives all memories and notebooks vectors of one model."""
        body = {} if model is None else {"model": model}
        return cast(StartedDocument, self.request("POST", "/api/v1/memory/reembed", body=body).body)

    # --- notebooks ---------------------------------------------------------------------------

    def notebooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[NotebookDocument]:
        """List notebooks by name."""
        return self._page("/api/v1/notebooks", "notebooks", limit=limit, cursor=cursor)

    def notebook(self, name: str) -> NotebookDocument:
        """Read one notebook.

        Raises:
            NotebookNotFound: there is none.
        """
        path = f"/api/v1/notebooks/{_segment(name)}"
        return cast(NotebookDocument, self.request("GET", path).body)

    def make_notebook(
        self, name: str, *, description: str = "", agents: Sequence[str] = ()
    ) -> NotebookDocument:
        """Make a notebook.

        Raises:
            InvalidInput, NotebookExists, TooManyNotebooks, StoreFull.
        """
        body = {"name": name, "description": description, "agents": list(agents)}
        return cast(NotebookDocument, self.request("POST", "/api/v1/notebooks", body=body).body)

    def change_notebook(
        self, name: str, *, description: str | None = None, agents: Sequence[str] | None = None
    ) -> NotebookDocument:
        """Change what a notebook is about, or who may look into it; None leaves it.

        Raises:
            NotebookNotFound: there is none.
        """
        wanted = {"description": description, "agents": None if agents is None else list(agents)}
        body = {member: value for member, value in wanted.items() if value is not None}
        path = f"/api/v1/notebooks/{_segment(name)}"
        return cast(NotebookDocument, self.request("PATCH", path, body=body).body)

    def delete_notebook(self, name: str) -> None:
        """Delete a notebook with its documents.

        Raises:
            NotebookNotFound: there is none.
        """
        self.request("DELETE", f"/api/v1/notebooks/{_segment(name)}")

    def notebook_files(
        self, name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[NotebookFileDocument]:
        """List the documents of a notebook, the newest first.

        Raises:
            NotebookNotFound: there is none.
        """
        path = f"/api/v1/notebooks/{_segment(name)}/documents"
        return self._page(path, "documents", limit=limit, cursor=cursor)

    def add_notebook_file(
        self, name: str, data: bytes, *, title: str, source: str = "", media_type: str = ""
    ) -> NotebookFileDocument:
        """Add a document to a notebook; a run makes it searchable.

        Args:
            media_type: Empty to let the daemon find out.

        Raises:
            NotebookNotFound, DocumentTooLarge, DocumentUnreadable, TooManyDocuments, StoreFull.
        """
        target = f"{self._path}/api/v1/notebooks/{_segment(name)}/documents"
        target += _query({"title": title, "source": source or None})
        sent = self._headers(None, None, {})
        sent["Content-Type"] = media_type or "application/octet-stream"
        connection = self._connect(self._timeout_s)
        try:
            answer = self._exchange(connection, "POST", target, data, sent)
        finally:
            connection.close()
        if answer.status >= 400:
            raise make_error(answer.status, answer.body, answer.headers)
        return cast(NotebookFileDocument, answer.body)

    def delete_notebook_file(self, name: str, document_id: str) -> None:
        """Delete a document.

        Raises:
            NotebookNotFound, DocumentNotFound.
        """
        path = f"/api/v1/notebooks/{_segment(name)}/documents/{_segment(document_id)}"
        self.request("DELETE", path)

    def search_notebook(
        self, name: str, query: str, *, limit: int | None = None
    ) -> RecollectionDocument:
        """Find what a notebook says.

        Raises:
            NotebookNotFound: there is none.
        """
        path = f"/api/v1/notebooks/{_segment(name)}/search"
        asked = {"query": query, "limit": limit}
        return cast(RecollectionDocument, self.request("GET", path, query=asked).body)

    # --- A2A ---------------------------------------------------------------------------------

    def pushes(
        self, run_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[PushDocument]:
        """List the addresses that are told of a run over A2A, and how far that has come.

        Raises:
            RunNotFound: there is no such run.
        """
        path = f"/api/v1/runs/{_segment(run_id)}/push"
        return self._page(path, "pushes", limit=limit, cursor=cursor)

    def peers(
        self, *, service: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[PeerDocument]:
        """List peers by id, or those that have a service."""
        return self._page("/api/v1/peers", "peers", service=service, limit=limit, cursor=cursor)

    def peer(self, peer_id: str) -> PeerDocument:
        """Read one peer.

        Raises:
            PeerNotFound: there is none of that id.
        """
        return cast(PeerDocument, self.request("GET", f"/api/v1/peers/{_segment(peer_id)}").body)

    def register_peer(self, peer: Mapping[str, Any]) -> PeerDocument:
        """Register a peer, or tell anew what it can do; it counts as a sign of life.

        Args:
            peer: ``id``, ``capabilities``, ``endpoints``, ``heartbeat_interval_s``, ``status``; but
                for the id each has a default.

        Raises:
            InvalidInput, PeerNotAllowed, PeerForeign, TooManyPeers, StoreFull.
        """
        return cast(PeerDocument, self.request("POST", "/api/v1/peers", body=dict(peer)).body)

    def heartbeat_peer(self, peer_id: str, *, status: str | None = None) -> PeerDocument:
        """Give a sign of life of a peer, and say how it is.

        Raises:
            InvalidInput, PeerNotFound, PeerForeign.
        """
        path = f"/api/v1/peers/{_segment(peer_id)}/heartbeat"
        body = {} if status is None else {"status": status}
        return cast(PeerDocument, self.request("POST", path, body=body).body)

    def delete_peer(self, peer_id: str) -> PeerDeletedDocument:
        """Forget a peer.

        Raises:
            PeerNotFound: there is none of that id.
        """
        answer = self.request("DELETE", f"/api/v1/peers/{_segment(peer_id)}")
        return cast(PeerDeletedDocument, answer.body)

    # --- secrets -----------------------------------------------------------------------------

    def secrets(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[SecretDocument]:
        """List secrets by name; their values are never shown."""
        return self._page("/api/v1/secrets", "secrets", limit=limit, cursor=cursor)

    def put_secret(self, name: str, value: str) -> SecretDocument:
        """Store a secret, or another value of it.

        Raises:
            InvalidInput, VaultLocked, TooManySecrets, StoreFull.
        """
        path = f"/api/v1/secrets/{_segment(name)}"
        return cast(SecretDocument, self.request("PUT", path, body={"value": value}).body)

    def delete_secret(self, name: str) -> SecretDeletedDocument:
        """Forget a secret.

        Raises:
            SecretNotFound: there is none of that name.
        """
        answer = self.request("DELETE", f"/api/v1/secrets/{_segment(name)}")
        return cast(SecretDeletedDocument, answer.body)

    def vault(self) -> VaultDocument:
        """Tell whether secrets can be used."""
        return cast(VaultDocument, self.request("GET", "/api/v1/vault").body)

    def rekey(self) -> RekeyedDocument:
        """Encrypt all secrets with a new key.

        Raises:
            VaultLocked, RekeyRefused, PlaceNotWritable, StoreFull.
        """
        return cast(RekeyedDocument, self.request("POST", "/api/v1/vault/rekey").body)

    # --- connections -----------------------------------------------------------------------

    def remote_agents(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[RemoteAgentDocument]:
        """List the agents of other systems that the daemon's settings name."""
        return self._page("/api/v1/remote-agents", "remote_agents", limit=limit, cursor=cursor)

    def remote_card(self, agent: str, *, is_fresh: bool = False) -> RemoteCardDocument:
        """Read the card of an agent of another system.

        Raises:
            RemoteAgentNotFound: the settings have none of that name.
            RemoteAgentUnreachable, RemoteAgentUnfit, RemoteAgentDenied: it cannot be had.
        """
        query = {"fresh": "true"} if is_fresh else None
        path = f"/api/v1/remote-agents/{_segment(agent)}/card"
        answer = self.request("GET", path, query=query)
        return cast(RemoteCardDocument, answer.body)

    def remote_task(self, agent: str, task_id: str) -> RemoteTaskDocument:
        """Read a task of an agent of another system.

        Raises:
            as `remote_card`, and
            RemoteTaskNotFound: it has no such task.
        """
        path = f"/api/v1/remote-agents/{_segment(agent)}/tasks/{_segment(task_id)}"
        return cast(RemoteTaskDocument, self.request("GET", path).body)

    def cancel_remote_task(self, agent: str, task_id: str) -> RemoteTaskDocument:
        """Have a task of an agent of another system ended; one that has ended stays as it is.

        Raises:
            as `remote_task`.
        """
        path = f"/api/v1/remote-agents/{_segment(agent)}/tasks/{_segment(task_id)}/cancel"
        return cast(RemoteTaskDocument, self.request("POST", path).body)

    def connections(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[ConnectionDocument]:
        """List connections to servers of tools by name, with how they are."""
        return self._page("/api/v1/connections", "connections", limit=limit, cursor=cursor)

    def connection(self, key: str) -> ConnectionShownDocument:
        """Read one connection, by its name or id.

        Raises:
            ConnectionNotFound: there is none.
        """
        answer = self.request("GET", f"/api/v1/connections/{_segment(key)}")
        return cast(ConnectionShownDocument, answer.body)

    def add_connection(
        self, name: str, config: Mapping[str, Any], *, is_tested: bool = True
    ) -> ConnectionDocument:
        """Add a connection; it is open without a restart.

        Args:
            is_tested: Try it first, and add it only if it works.

        Raises:
            InvalidInput, ConnectionNameTaken, ConnectionsFull.
            ConnectionFailed: it was tried and does not work; ``log`` is what its server has said.
        """
        body = {"name": name, "config": config, "test": is_tested}
        answer = self.request("POST", "/api/v1/connections", body=body, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionDocument, answer.body)

    def change_connection(
        self,
        key: str,
        *,
        config: Mapping[str, Any] | None = None,
        is_active: bool | None = None,
        is_tested: bool = False,
    ) -> ConnectionDocument:
        """Change a stored connection, or switch it off or on.

        Raises:
            as `add_connection`, and ConnectionNotFound, ConnectionConfigured.
        """
        body: dict[str, Any] = {"test": is_tested}
        if config is not None:
            body["config"] = config
        if is_active is not None:
            body["is_active"] = is_active
        path = f"/api/v1/connections/{_segment(key)}"
        answer = self.request("PATCH", path, body=body, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionDocument, answer.body)

    def remove_connection(self, key: str) -> None:
        """Forget a stored connection; its server has ended when this returns.

        Raises:
            ConnectionNotFound, ConnectionConfigured.
        """
        path = f"/api/v1/connections/{_segment(key)}"
        self.request("DELETE", path, wait_s=CONNECTION_WAIT_S)

    def test_connection(self, key: str) -> ConnectionTestDocument:
        """Try a connection.

        Raises:
            ConnectionNotFound: there is none.
        """
        path = f"/api/v1/connections/{_segment(key)}/test"
        answer = self.request("POST", path, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionTestDocument, answer.body)

    def connection_login(self, key: str) -> ConnectionLoginDocument:
        """Tell how a connection stands with the login at its server.

        Raises:
            ConnectionNotFound, VaultLocked.
        """
        path = f"/api/v1/connections/{_segment(key)}/login"
        return cast(ConnectionLoginDocument, self.request("GET", path).body)

    def begin_login(self, key: str) -> ConnectionLoginStartedDocument:
        """Begin a login at the server of a connection; a person opens its ``url`` in a browser.

        Raises:
            ConnectionNotFound, VaultLocked.
            LoginFailed: nobody can log in there; it says why.
        """
        path = f"/api/v1/connections/{_segment(key)}/login"
        answer = self.request("POST", path, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionLoginStartedDocument, answer.body)

    def finish_login(self, key: str, returned: str) -> ConnectionLoginDocument:
        """Finish a login with the address that the browser has ended up at.

        Raises:
            ConnectionNotFound, VaultLocked.
            LoginFailed: it was not begun, or has come to nothing; it says why.
        """
        path = f"/api/v1/connections/{_segment(key)}/login/finish"
        body = {"returned": returned}
        answer = self.request("POST", path, body=body, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionLoginDocument, answer.body)

    def forget_login(self, key: str) -> ConnectionLoginDocument:
        """Log out of the server of a connection.

        Raises:
            ConnectionNotFound, VaultLocked.
        """
        path = f"/api/v1/connections/{_segment(key)}/login"
        answer = self.request("DELETE", path, wait_s=CONNECTION_WAIT_S)
        return cast(ConnectionLoginDocument, answer.body)

    def connection_tools(
        self, key: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[ConnectionToolDocument]:
        """List the tools of a connection.

        Raises:
            ConnectionNotFound: there is none.
            ToolUnavailable: it cannot be asked now, and was never asked before.
        """
        path = f"/api/v1/connections/{_segment(key)}/tools"
        return self._page(path, "tools", limit=limit, cursor=cursor)

    def call_tool(
        self,
        key: str,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        answers: Mapping[str, Any] | None = None,
        state: Any = None,  # noqa: ANN401  JSON value
        timeout_s: float = CONNECTION_WAIT_S,
    ) -> ToolOutcomeDocument:
        """Call a tool of a connection, or go on with a call that has asked.

        Args:
            answers, state: Of the questions of an earlier outcome, and its state.
            timeout_s: Longest wait for the answer.

        Raises:
            ConnectionNotFound, ToolNotFound, InvalidInput, ToolUnavailable, ToolInterrupted.
        """
        body = {
            "tool": tool,
            "arguments": arguments,
            "answers": answers or {},
            "state": state,
        }
        path = f"/api/v1/connections/{_segment(key)}/call"
        return cast(
            ToolOutcomeDocument, self.request("POST", path, body=body, wait_s=timeout_s).body
        )

    def _page(self, path: str, member: str, **query: object) -> Page[Any]:
        body = self.request("GET", path, query=query).body
        return Page(body[member], body.get("next_cursor"))


# --- errors --------------------------------------------------------------------------------


def make_error(status: int, body: Any, headers: Mapping[str, str]) -> AgencyError:  # noqa: ANN401
    """Turn a problem document into the error that the daemon raised.

    A code that this client does not know, of a newer daemon perhaps, becomes the first-level class
    that fits the status.
    """
    document: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code = str(document.get("code") or "")
    kind = _class_by_code().get(code) or _class_by_status(status)
    message = document.get("detail") or document.get("message") or document.get("title")
    error = kind.__new__(kind)
    # Not the class's own __init__: each has its own arguments, and makes the message from them.
    AgencyError.__init__(
        error, str(message or f"The daemon answered HTTP {status}."), hint=document.get("hint")
    )
    fields = vars(error)
    for name, value in document.items():
        if name not in _MEMBERS_OF_A_PROBLEM and not name.startswith("_"):
            # On the wire "status" is that of the answer.
            fields["status" if name == "run_status" else name] = value
    if isinstance(error, InvalidInput):
        fields["_faults"] = tuple(map(_fault, document.get("errors") or ()))
    if isinstance(error, errors.Unavailable | errors.QueueFull):
        retry_after = headers.get("retry-after", "")
        fields["retry_after_s"] = float(retry_after) if retry_after.isdecimal() else None
    fields["_problem"] = Problem(status, code, str(document.get("correlationId") or ""))
    return error


def _fault(document: Mapping[str, Any]) -> Fault:
    return Fault(
        where=str(document.get("pointer") or ""),
        what=str(document.get("detail") or ""),
        hint=str(document.get("hint") or ""),
    )


@cache
def _class_by_code() -> Mapping[str, type[AgencyError]]:
    found: dict[str, type[AgencyError]] = {}
    classes = [AgencyError]
    while classes:
        kind = classes.pop()
        found[kind.code] = kind
        classes.extend(kind.__subclasses__())
    return found


def _class_by_status(status: int) -> type[AgencyError]:
    match status:
        case 401 | 403:
            return errors.Forbidden
        case 404 | 410:
            return errors.NotFound
        case 409 | 412:
            return errors.Conflict
        case 413 | 429 | 507:
            return errors.LimitExceeded
        case 502 | 504:
            return errors.Failed
        case 503:
            return errors.Unavailable
        case _ if status < 500:
            return InvalidInput
        case _:
            return AgencyError


# --- parts of requests ---------------------------------------------------------------------


def _parse_url(url: str) -> tuple[bool, str, int | None, str]:
    def refuse(why: str) -> NoReturn:
        raise InvalidInput(
            f"The address {url!r} is not one of a daemon: {why}.",
            hint="Write it as http://127.0.0.1:8080.",
        )

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        refuse(str(error))
    if parts.scheme not in {"http", "https"}:
        refuse("it does not begin with http:// or https://")
    if not parts.hostname:
        refuse("it names no host")
    if parts.username is not None:
        refuse("it holds a user name; tokens are given apart")
    if parts.query or parts.fragment:
        refuse("it has a query or a fragment")
    return parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/")


def _query(values: Mapping[str, object]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    text = urlencode(given, doseq=True)
    return f"?{text}" if text else ""


def _segment(text: str) -> str:
    return quote(text, safe="")


def _given(**members: Any) -> dict[str, Any]:  # noqa: ANN401  JSON values
    return {name: value for name, value in members.items() if value is not None}


def _key(idempotency_key: str | None) -> dict[str, str]:
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


def _reason(error: Exception) -> str:
    """Say in a few words why a connection failed, without the number of the system's error."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
