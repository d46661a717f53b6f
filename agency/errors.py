"""Every error that a caller may meet, in one tree.

The first level says what the caller can do::

    AgencyError
    ├── InvalidInput      change the request
    ├── NotFound          name another thing
    ├── Conflict          look at the state first
    ├── Forbidden         show who you are, or ask from elsewhere
    ├── LimitExceeded     ask for less, or later
    ├── Unavailable       make the same call later
    ├── Failed            the work itself failed; read why
    └── Corrupt           call a human

Each class has a stable ``code`` and a ``hint``. HTTP statuses and exit codes are not known here:
``web/problems.py`` and ``cli/output.py`` map the classes to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input.

    Attributes:
        where: JSON pointer, configuration key or argument, for example ``/message``.
        what: What is wrong and what was needed, one sentence.
        hint: What to write instead, or empty.
    """

    where: str
    what: str
    hint: str = ""


class AgencyError(Exception):
    """Root of all errors that are reported to a caller."""

    code: ClassVar[str] = "error"
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    @property
    def data(self) -> dict[str, object]:
        """Fields that a program may want, without the message. JSON types only."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in {"message", "hint"} and not name.startswith("_")
        }


class InvalidInput(AgencyError):
    """The request itself is wrong; sent again it fails again."""

    code = "invalid_input"

    def __init__(
        self, message: str, *, faults: Sequence[Fault] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self._faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All the faults that were found, not only the first."""
        return self._faults


class NotFound(AgencyError):
    """What the request names is not there."""

    code = "not_found"


class Conflict(AgencyError):
    """The state of things does not allow it."""

    code = "conflict"


class Forbidden(AgencyError):
    """The caller may not do this, or not from there."""

    code = "forbidden"


class LimitExceeded(AgencyError):
    """More is asked for than is allowed, or than there is room for."""

    code = "limit_exceeded"


class Unavailable(AgencyError):
    """The same call may succeed later. ``retry_after_s`` says when to try, if it is known."""

    code = "unavailable"
    retry_after_s: float | None = None


class Failed(AgencyError):
    """The work was done and did not succeed."""

    code = "failed"


class Corrupt(AgencyError):
    """What is stored is not what it should be, and nothing can be mended by the daemon."""

    code = "corrupt"


# --- configuration and start ---------------------------------------------------------------


class ConfigurationInvalid(InvalidInput):
    """The configuration has faults; all of them are named."""

    code = "configuration_invalid"
    hint = "Check the file with `agency config check`."


class DataDirectoryLocked(Conflict):
    """Another daemon uses the data directory."""

    code = "data_directory_locked"

    def __init__(self, path: str, pid: int | None) -> None:
        holder = f"the daemon with process id {pid}" if pid else "another process"
        super().__init__(
            f"The data directory {path!r} is in use by {holder}.",
            hint="Stop that daemon, or start this one with another --data-dir.",
        )
        self.path = path
        self.pid = pid


class AlreadyRunning(Conflict):
    """Another daemon holds the pid file."""

    code = "already_running"

    def __init__(self, path: str, pid: int | None) -> None:
        holder = f"process id {pid}" if pid else "a process that is just starting"
        super().__init__(
            f"A daemon is running already: {holder} holds the pid file {path!r}.",
            hint=f"Stop it with `kill {pid}`, or name another --pid-file." if pid else None,
        )
        self.path = path
        self.pid = pid


class PortTaken(Conflict):
    """Another process listens on the port. ``holder`` says which, if that can be told."""

    code = "port_taken"
    hint = "Stop it, or choose another port with --port."

    def __init__(self, host: str, port: int, holder: str) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(f"The port {port} on {host!r} is taken{by}.")
        self.host = host
        self.port = port
        self.holder = holder


class AddressUnusable(InvalidInput):
    """The address or port cannot be listened on."""

    code = "address_unusable"
    hint = "Name an address of this machine with --host, and a port from 1024 on with --port."

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"The daemon cannot listen on {host!r}, port {port}: {reason}.")
        self.host = host
        self.port = port


class BindRefused(InvalidInput):
    """Others could reach the daemon, and nothing would tell them apart from its owner."""

    code = "bind_refused"
    hint = "Make a token first: `agency token new NAME`."

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} opens the daemon to others, and no API token is configured.")


class PlaceNotWritable(Failed):
    """A folder or file that the daemon needs cannot be written."""

    code = "place_not_writable"
    hint = "Choose another place, or give this user the right to write there."

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"The daemon cannot write {path!r}: {reason}.")
        self.path = path
        self.reason = reason


class NetworkFileSystem(InvalidInput):
    """The data directory lies where locks and syncs are not safe."""

    code = "network_file_system"
    hint = "Put the data directory on a local disk: file locks and syncs are not safe on this one."

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(f"The data directory {path!r} lies on a network file system ({kind}).")
        self.path = path
        self.kind = kind


class SchemaNewer(Corrupt):
    """A newer Agency has changed the database."""

    code = "schema_newer"
    hint = "Start the newer Agency again, or restore a backup from before the upgrade."

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"The database {path!r} has schema {found}; this Agency knows schemas up to {known}."
        )
        self.path = path
        self.found = found
        self.known = known


class MigrationChanged(Corrupt):
    """The database was made by an Agency that was never released, or was tampered with."""

    code = "migration_changed"
    hint = "Install the Agency that created this database, or restore a backup."

    def __init__(self, path: str, number: int) -> None:
        super().__init__(
            f"Migration {number} was applied to {path!r} with another text than this Agency has."
        )
        self.path = path
        self.number = number


class DatabaseForeign(InvalidInput):
    """The file is another program's, or cannot be used as a database."""

    code = "database_foreign"
    hint = "Name another file in [store] url, or move this one away."

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"The database {path!r} cannot be used: {reason}.")
        self.path = path
        self.reason = reason


class DatabaseMissing(NotFound):
    """There is no database yet where the configuration says that it is."""

    code = "database_missing"
    hint = "Start the daemon once, or name another configuration with --config."

    def __init__(self, path: str) -> None:
        super().__init__(f"There is no database {path!r}.")
        self.path = path


class StoreBroken(Corrupt):
    """A commit or a sync failed; what the disk holds is unknown, so the process must end."""

    code = "store_broken"
    hint = "Look at the disk and its log; the daemon recovers when it is started again."


class StoreFull(LimitExceeded):
    """There is no room on the disk; nothing of the request was kept."""

    code = "store_full"
    hint = "Free space on the disk of the data directory; intake opens again by itself."


class ReadTooLong(Unavailable):
    """A read of the database was cut off, because what is read keeps the log from being copied."""

    code = "read_too_long"
    hint = "Ask for less, or raise [store] read_timeout_s."

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"A read of the database took longer than {timeout_s:g} s.")
        self.timeout_s = timeout_s


class ShuttingDown(Unavailable):
    """The daemon is stopping and takes no new work."""

    code = "shutting_down"
    hint = "Send it again when the daemon is back."

    def __init__(self) -> None:
        super().__init__("The daemon is stopping and takes no new work.")
        self.retry_after_s = 5.0


class DaemonUnreachable(Unavailable):
    """No daemon answers at the address that the command line or client asks."""

    code = "daemon_unreachable"
    hint = "Start it with `agency-daemon`, or name it with --url or AGENCY_URL."

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"No daemon answers at {url}: {reason}.")
        self.url = url


class AnswerLost(Unavailable):
    """The request was sent and no whole answer came back: it may have been carried out."""

    code = "answer_lost"
    hint = "Look with `agency runs ls` before sending it again, or send it with the same key."

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The connection to {url} was lost before the answer: {reason}.")
        self.url = url


# --- access --------------------------------------------------------------------------------


class TokenMissing(Forbidden):
    """This daemon wants an API token, and the request shows none."""

    code = "token_missing"
    hint = (
        "Send `Authorization: Bearer TOKEN`, or set AGENCY_TOKEN for the command line; make a "
        "token with `agency token new NAME`."
    )

    def __init__(self) -> None:
        super().__init__("This daemon wants an API token, and the request has none.")


class TokenRefused(Forbidden):
    """The API token is unknown or was revoked."""

    code = "token_refused"
    hint = "List the tokens with `agency token ls`; make a new one with `agency token new NAME`."

    def __init__(self) -> None:
        super().__init__("The API token of the request is unknown or was revoked.")


class HostRefused(Forbidden):
    """The request is addressed to a name that is not the daemon's."""

    code = "host_refused"
    hint = "Name the host in [server] allowed_hosts and configure an API token."

    def __init__(self, host: str) -> None:
        super().__init__(f"The Host header {host!r} is not one that this daemon answers to.")
        self.host = host


class OriginRefused(Forbidden):
    """A web page of another site has made the request."""

    code = "origin_refused"
    hint = "Requests from web pages of other sites are not accepted."

    def __init__(self, origin: str) -> None:
        super().__init__(f"Requests from the origin {origin!r} are not accepted.")
        self.origin = origin


class TokenNotFound(NotFound):
    """No API token that works has that name."""

    code = "token_not_found"
    hint = "List the tokens with `agency token ls`."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no API token named {name!r}.")
        self.name = name


class TokenNameTaken(Conflict):
    """An API token that works has that name already."""

    code = "token_name_taken"
    hint = "Choose another name, or revoke the old token first."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already an API token named {name!r}.")
        self.name = name


# --- requests at the doors -----------------------------------------------------------------


class BodyMalformed(InvalidInput):
    """The body is not one JSON value in UTF-8 of a depth that is read."""

    code = "body_malformed"
    hint = "Send one JSON object in UTF-8."


class BodyTooLarge(LimitExceeded):
    """The body is larger than ``[server] body_bytes_max``."""

    code = "body_too_large"
    hint = "Send less, or raise [server] body_bytes_max."

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body has more than the {bytes_max} bytes that are read.")
        self.bytes_max = bytes_max


class BodyLate(InvalidInput):
    """The body did not come in time."""

    code = "body_late"
    hint = "Send the body right after the head of the request."

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The body was not complete within {limit_s:g} s.")
        self.limit_s = limit_s


class ContentTypeRefused(InvalidInput):
    """The body says that it is something else than JSON."""

    code = "content_type_refused"
    hint = "Send JSON with the header `Content-Type: application/json`."

    def __init__(self, content_type: str, *, wanted: str = "application/json") -> None:
        is_json = wanted == "application/json"
        super().__init__(
            f"Bodies of the type {content_type!r} are not read here.",
            hint=None if is_json else f"Send the file with the header `Content-Type: {wanted}`.",
        )
        self.content_type = content_type
        self.wanted = wanted


class PathNotFound(NotFound):
    """Nothing is served at that path."""

    code = "path_not_found"
    hint = "See /docs or /openapi.json for what there is."

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path!r}.")
        self.path = path


class MethodNotAllowed(InvalidInput):
    """``allowed`` are the methods that the path knows."""

    code = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"{path!r} does not know the method {method}.",
            hint=f"It knows {', '.join(allowed)}.",
        )
        self.method = method
        self.allowed = list(allowed)


class RequestRefused(InvalidInput):
    """The request is not one that HTTP allows here."""

    code = "request_refused"


class TooManyConnections(Unavailable):
    """As many connections are open as ``[server] connections_max`` allows."""

    code = "too_many_connections"
    hint = "Close some, or raise [server] connections_max."

    def __init__(self, connections_max: int) -> None:
        super().__init__(f"{connections_max} connections are open, and more are not taken.")
        self.connections_max = connections_max
        self.retry_after_s = 1.0


class TooManyStreams(Unavailable):
    """As many streams of updates are open as ``[server] streams_max`` allows."""

    code = "too_many_streams"
    hint = "Close some, or raise [server] streams_max."

    def __init__(self, streams_max: int) -> None:
        super().__init__(f"{streams_max} streams of updates are open, and more are not taken.")
        self.streams_max = streams_max
        self.retry_after_s = 5.0


class InternalError(AgencyError):
    """A bug of ours. The log has the traceback under the correlation id."""

    code = "internal_error"
    hint = "Look for the correlation id in the daemon's log, and report it."

    def __init__(self) -> None:
        super().__init__("The daemon could not work off the request because of a fault of its own.")


# --- runs ----------------------------------------------------------------------------------


class WorkflowNotFound(NotFound):
    """No workflow of that name is loaded."""

    code = "workflow_not_found"
    hint = "List what there is with `GET /api/v1/definitions` or `agency run --list`."

    def __init__(self, workflow: str) -> None:
        super().__init__(f"There is no workflow named {workflow!r}.")
        self.workflow = workflow


class WorkflowDisabled(Conflict):
    """The workflow is switched off: no new run of it is taken. Those accepted before go on."""

    code = "workflow_disabled"
    hint = "Switch it on in `[features]`, or with FEATURE_<NAME>_AGENT=true, and restart."

    def __init__(self, workflow: str) -> None:
        super().__init__(f"The workflow {workflow!r} is switched off.")
        self.workflow = workflow


class NotPublished(NotFound):
    """No agent and no workflow of that name may be started by other programs."""

    code = "not_published"
    hint = "Publish it in `[publish] agents` or `[publish] workflows`."

    def __init__(self, name: str) -> None:
        super().__init__(f"Nothing is published by the name {name!r}.")
        self.name = name


class QueueNotFound(NotFound):
    """No queue has the name."""

    code = "queue_not_found"
    hint = "List the queues with `agency queue ls`, or add a section [queues.NAME]."

    def __init__(self, queue: str, *, hint: str | None = None) -> None:
        super().__init__(f"There is no queue {queue!r}.", hint=hint)
        self.queue = queue


class QueueFull(LimitExceeded):
    """The queue takes no more runs for now. ``retry_after_s`` says when to try, if it is known."""

    code = "queue_full"
    hint = "Send it again later; or raise size_max of the queue."
    retry_after_s: float | None = None

    def __init__(self, queue: str, size_max: int) -> None:
        super().__init__(f"The queue {queue!r} is full: {size_max} runs are pending in it.")
        self.queue = queue
        self.size_max = size_max


class RunNotFound(NotFound):
    """No run has that id or name."""

    code = "run_not_found"
    hint = "List the runs with `agency runs ls`."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id!r}.")
        self.run_id = run_id


class SnapshotNotFound(NotFound):
    """No snapshot has that id."""

    code = "snapshot_not_found"
    hint = "List the snapshots with `agency snapshots ls`."

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"There is no snapshot {snapshot_id!r}.")
        self.snapshot_id = snapshot_id


class NameTaken(Conflict):
    """A live run has the name already. ``run_id`` is that run."""

    code = "name_taken"
    hint = "Wait for that run or cancel it, or choose another name."

    def __init__(self, name: str, run_id: str) -> None:
        super().__init__(f"The run {run_id!r} has the name {name!r} and has not ended.")
        self.name = name
        self.run_id = run_id


class IdempotencyMismatch(InvalidInput):
    """The idempotency key was used before, for another request."""

    code = "idempotency_mismatch"
    hint = "Use a new Idempotency-Key for a new request."

    def __init__(self, key: str, run_id: str) -> None:
        super().__init__(f"The idempotency key {key!r} was used for another request.")
        self.key = key
        self.run_id = run_id


class UpdatesAhead(Conflict):
    """Nothing can be told after the number of an update that was never given.

    Whoever has it has it from another database, or from this one before an older copy of it was
    put back.
    """

    code = "updates_ahead"
    hint = "Begin with after=0, or leave it out to begin now."

    def __init__(self, after: int, newest: int) -> None:
        super().__init__(f"The newest update is {newest}; there is none with the number {after}.")
        self.after = after
        self.newest = newest


class HookNameTaken(Conflict):
    """Two hooks cannot have one name: how far each has come is kept under it."""

    code = "hook_name_taken"
    hint = "Give one of the two another name."

    def __init__(self, name: str, source: str, other: str) -> None:
        super().__init__(f"The hook {name!r} of {source!r} is also defined in {other!r}.")
        self.name = name


class OfferNameTaken(Conflict):
    """Two things of one kind that MCP clients are offered cannot have one name."""

    code = "offer_name_taken"
    hint = "Give one of the two another name."

    def __init__(self, kind: str, name: str, source: str, other: str) -> None:
        super().__init__(f"The {kind} {name!r} of {source!r} is also offered by {other!r}.")
        self.kind = kind
        self.name = name


class ClientCannot(Conflict):
    """The MCP client has not declared what it would need to answer a question."""

    code = "client_cannot"
    hint = "Use a client that declares it, or ask for something else."

    def __init__(self, capability: str) -> None:
        super().__init__(f"The client does not declare {capability!r}, so that it cannot be asked.")
        self.capability = capability


class ClientRefused(Conflict):
    """The MCP client was asked something and would not answer."""

    code = "client_refused"
    hint = "Make the call again, and let the client answer."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The client would not answer: {reason}")


class SessionBusy(Conflict):
    """The session's live run is suspended on something that a message cannot answer."""

    code = "session_busy"
    hint = "Answer what that run waits for, or cancel it."

    def __init__(self, session_id: str, run_id: str, wait: str) -> None:
        super().__init__(
            f"The run {run_id!r} of the session {session_id!r} is suspended and waits for {wait}."
        )
        self.session_id = session_id
        self.run_id = run_id
        self.wait = wait


class RunEnded(Conflict):
    """The run has ended, and what was asked for needs a live one."""

    code = "run_ended"
    hint = "Only a run that has not ended can do this."

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"The run {run_id!r} has ended: it is {status}.")
        self.run_id = run_id
        self.status = status


class RunNotSuspended(Conflict):
    """Only a suspended run can be resumed."""

    code = "run_not_suspended"
    hint = "See what the run is doing with `agency runs show RUN_ID`."

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"The run {run_id!r} cannot be resumed: it is {status}, not suspended.")
        self.run_id = run_id
        self.status = status


class RunNotRetryable(Conflict):
    """The run did not end in a way that a retry could mend, or has not ended."""

    code = "run_not_retryable"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"The run {run_id!r} cannot be retried: it is {status}.",
            hint="Start it anew with `agency runs rerun`, or from a point with `agency runs fork`."
            if status in {"completed", "limit_reached", "cancelled", "compensated"}
            else "See what it is doing with `agency runs show RUN_ID`.",
        )
        self.run_id = run_id
        self.status = status


class RunChanged(Conflict):
    """Somebody else was faster: the run is not any more as it was when the request was decided."""

    code = "run_changed"
    hint = "See the run with `agency runs show RUN_ID`, and ask again if it is still wanted."

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"The run {run_id!r} has changed meanwhile: it is {status}.")
        self.run_id = run_id
        self.status = status


class RunHasParent(Conflict):
    """The run is a child whose parent can be retried, which would begin its work anew."""

    code = "run_has_parent"

    def __init__(self, run_id: str, parent_id: str, parent_status: str) -> None:
        super().__init__(
            f"The run {run_id!r} is a child of the run {parent_id!r}, which is {parent_status}.",
            hint=f"Retry the parent: `agency runs retry {parent_id}`.",
        )
        self.run_id = run_id
        self.parent_id = parent_id


class NotADeadLetter(Conflict):
    """Only a dead letter can be discarded or requeued."""

    code = "not_a_dead_letter"
    hint = "List the dead letters with `agency dead ls`."

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"The run {run_id!r} is no dead letter: it is {status}.")
        self.run_id = run_id
        self.status = status


class ReceiptNotFound(NotFound):
    """No run was moved away under that receipt."""

    code = "receipt_not_found"
    hint = "The receipt is in the error of the run that was moved: `agency runs show RUN_ID`."

    def __init__(self, receipt_id: str) -> None:
        super().__init__(f"There is no receipt {receipt_id!r}.")
        self.receipt_id = receipt_id


class ReceiptConfirmed(Conflict):
    """The run's arrival elsewhere was confirmed, so its file is not given out any more."""

    code = "receipt_confirmed"
    hint = "The run goes on where its file was brought in."

    def __init__(self, receipt_id: str, run_id: str) -> None:
        super().__init__(f"The arrival of the run {run_id!r} was confirmed already.")
        self.receipt_id = receipt_id
        self.run_id = run_id


class RunIdTaken(Conflict):
    """A moved run cannot keep its id or its idempotency key here: ``run_id`` has it."""

    code = "run_id_taken"
    hint = "Bring it in as a copy, with an id of its own: `agency snapshots import FILE --copy`."

    def __init__(self, wanted: str, run_id: str) -> None:
        super().__init__(f"The id or idempotency key of the run {wanted!r} is taken here.")
        self.wanted = wanted
        self.run_id = run_id


class ExportTaken(Conflict):
    """The moved run of this file was brought in before; ``run_id`` is that run."""

    code = "export_taken"
    hint = "See the run with `agency runs show RUN_ID`; for another one import with `--copy`."

    def __init__(self, file_hash: str, run_id: str) -> None:
        super().__init__(f"The run {run_id!r} was brought in from this file before.")
        self.file_hash = file_hash
        self.run_id = run_id


class ExportCorrupt(InvalidInput):
    """The file is not whole, or not as it was written. ``line`` counts from 1."""

    code = "export_corrupt"
    hint = "Export the run again, and compare the sizes of the files."

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"The file is damaged at line {line}: {what}.")
        self.line = line


class ExportFormatUnknown(InvalidInput):
    """The file is of a format that this Agency does not read."""

    code = "export_format_unknown"
    hint = "Bring it in with an Agency that is as new as the one that has written it."

    def __init__(self, found: str, known: str) -> None:
        super().__init__(f"The file has the format {found!r}; this Agency reads {known!r}.")
        self.found = found


class ExportTooLarge(LimitExceeded):
    """A run's file would be, or is, larger than one may be."""

    code = "export_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"The file of the run has more than {bytes_max} bytes.",
            hint="Fork the run from an earlier point, or let it go on where it is.",
        )
        self.bytes_max = bytes_max


class ForkPointNotFound(InvalidInput):
    """The run has recorded nothing under that number, key or snapshot."""

    code = "fork_point_not_found"
    hint = "See what is recorded with `agency runs show RUN_ID --steps`."

    def __init__(self, run_id: str, at: str | int) -> None:
        super().__init__(
            f"The run {run_id!r} has no point {at!r}.",
            faults=[Fault("/at", "A number, a key or a snapshot of the run is needed.")],
        )
        self.run_id = run_id
        self.at = at


class SnapshotSpent(Conflict):
    """The run has gone on since. ``newest`` is its newest snapshot, or None."""

    code = "snapshot_spent"

    def __init__(self, snapshot_id: str, run_id: str, newest: str | None) -> None:
        super().__init__(
            f"The snapshot {snapshot_id!r} is spent: the run {run_id!r} has gone on since.",
            hint=f"Its newest snapshot is {newest}." if newest else "The run is not suspended now.",
        )
        self.snapshot_id = snapshot_id
        self.run_id = run_id
        self.newest = newest


class SnapshotLive(Conflict):
    """The snapshot is the newest of a live run, which could not go on without it."""

    code = "snapshot_live"
    hint = "Delete it with ?cancel=true to cancel the run as well."

    def __init__(self, snapshot_id: str, run_id: str) -> None:
        super().__init__(
            f"The snapshot {snapshot_id!r} is the newest one of the run {run_id!r}, "
            "which has not ended."
        )
        self.snapshot_id = snapshot_id
        self.run_id = run_id


class WaitNotFound(InvalidInput):
    """The named wait is not open. ``open_waits`` are the ones that are."""

    code = "wait_not_found"

    def __init__(self, run_id: str, wait: str, open_waits: Sequence[str]) -> None:
        super().__init__(
            f"The run {run_id!r} has no open wait {wait!r}.",
            hint=f"Open are: {', '.join(open_waits) or 'none'}.",
        )
        self.run_id = run_id
        self.wait = wait
        self.open_waits = list(open_waits)


class WaitAmbiguous(InvalidInput):
    """The run waits for several things, and the request does not say which is meant."""

    code = "wait_ambiguous"

    def __init__(self, run_id: str, open_waits: Sequence[str]) -> None:
        super().__init__(
            f"The run {run_id!r} waits for several things, and the request names none.",
            hint=f"Name one as `wait`: {', '.join(open_waits)}.",
        )
        self.run_id = run_id
        self.open_waits = list(open_waits)


class AnswerNeeded(InvalidInput):
    """The wait is answered with a value, and the request has none."""

    code = "answer_needed"

    def __init__(self, run_id: str, wait: str, what: str) -> None:
        super().__init__(f"The wait {wait!r} of the run {run_id!r} needs `input`: {what}.")
        self.run_id = run_id
        self.wait = wait


class WaitNotAnswerable(Conflict):
    """The wait ends in another way than by being resumed. ``approval_id``: decide that one."""

    code = "wait_not_answerable"

    def __init__(
        self, run_id: str, wait: str, kind: str, hint: str, *, approval_id: str | None = None
    ) -> None:
        super().__init__(
            f"The wait {wait!r} of the run {run_id!r} is of kind {kind} and cannot be resumed.",
            hint=hint,
        )
        self.run_id = run_id
        self.wait = wait
        self.kind = kind
        if approval_id is not None:
            self.approval_id = approval_id


class WaitTaken(Conflict):
    """Somebody else was faster; the wait has its answer."""

    code = "wait_taken"
    hint = "See the run with `agency runs show RUN_ID`."

    def __init__(self, run_id: str, wait: str) -> None:
        super().__init__(f"The wait {wait!r} of the run {run_id!r} has been answered already.")
        self.run_id = run_id
        self.wait = wait


class Fenced(Conflict):
    """The writer's claim is over: another claim, a cancel or an end came in between."""

    code = "fenced"
    hint = "Nothing is to be done: the newer claim goes on."

    def __init__(self, run_id: str, epoch: int) -> None:
        super().__init__(f"The claim {epoch} of the run {run_id!r} is over.")
        self.run_id = run_id
        self.epoch = epoch


class JournalFull(LimitExceeded):
    """The run has recorded as many entries as ``[engine] journal_entries_max`` allows."""

    code = "journal_full"
    hint = "End the run with ctx.continue_as(input) before, or raise [engine] journal_entries_max."

    def __init__(self, run_id: str, entries_max: int) -> None:
        super().__init__(f"The journal of the run {run_id!r} has its {entries_max} entries.")
        self.run_id = run_id
        self.entries_max = entries_max


class JournalKeyTaken(Corrupt):
    """A run was to record something again that it has recorded: a fault of the engine."""

    code = "journal_key_taken"
    hint = "Report this with the run's journal; nothing of the second recording was kept."

    def __init__(self, run_id: str, keys: Sequence[str]) -> None:
        super().__init__(f"The run {run_id!r} has recorded one of these already: {list(keys)}.")
        self.run_id = run_id
        self.keys = list(keys)


class ValueTooLarge(LimitExceeded):
    """An input, output, result or payload is larger than one may be."""

    code = "value_too_large"
    hint = "Store the content elsewhere and pass a reference."

    def __init__(self, what: str, size_bytes: int, bytes_max: int) -> None:
        super().__init__(f"{what} has {size_bytes} bytes; {bytes_max} are allowed.")
        self.size_bytes = size_bytes
        self.bytes_max = bytes_max


# --- approvals and topics ------------------------------------------------------------------


class ApprovalNotFound(NotFound):
    """No approval has that id."""

    code = "approval_not_found"
    hint = "List the approvals with `agency approvals ls`."

    def __init__(self, approval_id: str) -> None:
        super().__init__(f"There is no approval {approval_id!r}.")
        self.approval_id = approval_id


class ApprovalDecided(Conflict):
    """Somebody else was faster, it has expired, or nobody waits for it any more."""

    code = "approval_decided"
    hint = "See what was decided with `agency approvals show APPROVAL_ID`."

    def __init__(
        self, approval_id: str, decision: str, decided_by: str | None, decided_at: str
    ) -> None:
        by = f" by {decided_by}" if decided_by else ""
        super().__init__(
            f"The approval {approval_id!r} is not open any more: {decision}{by} at {decided_at}."
        )
        self.approval_id = approval_id
        self.decision = decision
        self.decided_by = decided_by
        self.decided_at = decided_at


class RuleNotFound(NotFound):
    """No rule for approvals has that number."""

    code = "rule_not_found"
    hint = "List the rules with `agency approvals rules ls`."

    def __init__(self, rule_id: str) -> None:
        super().__init__(f"There is no rule {rule_id!r} for approvals.")
        self.rule_id = rule_id


class TooManyRules(LimitExceeded):
    """There are as many rules for approvals as there may be."""

    code = "too_many_rules"
    hint = "Delete some with `agency approvals rules rm RULE`, or make one with a wider pattern."

    def __init__(self, rules_max: int) -> None:
        super().__init__(f"There are {rules_max} rules for approvals, and more are not taken.")
        self.rules_max = rules_max


class TopicNotFound(NotFound):
    """The topic has no event, and nobody waits for one."""

    code = "topic_not_found"
    hint = "List the topics with `agency topics ls`; a topic is there once something uses it."

    def __init__(self, topic: str) -> None:
        super().__init__(f"The topic {topic!r} has no events, and nobody waits for one.")
        self.topic = topic


class TopicFull(LimitExceeded):
    """The topic keeps as many events, or bytes, as ``[engine] topic_…_max`` allow."""

    code = "topic_full"
    hint = "Let runs take some, publish with a shorter keep_s, or raise [engine] topic_events_max."

    def __init__(self, topic: str, what: str) -> None:
        super().__init__(f"The topic {topic!r} is full: it keeps {what}.")
        self.topic = topic


# --- schedules -----------------------------------------------------------------------------


class ScheduleNotFound(NotFound):
    """No schedule has that name."""

    code = "schedule_not_found"
    hint = "List the schedules with `agency schedules ls`."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule named {name!r}.")
        self.name = name


class TooManySchedules(LimitExceeded):
    """There are as many schedules as one store may have."""

    code = "too_many_schedules"
    hint = "Delete some that are not needed any more, or let one workflow do the work of several."

    def __init__(self, schedules_max: int) -> None:
        super().__init__(f"There are {schedules_max} schedules, and more are not taken.")
        self.schedules_max = schedules_max


# --- what authors of workflows meet --------------------------------------------------------


class StepFailed(Failed):
    """A step, child or wait of a workflow ended without success; the same live and on replay.

    Attributes:
        error_code: Stable code, for example ``timed_out``; ``error`` for an author's exception.
        error_class: Class name of the original exception, for example ``ValueError``.
        details: JSON value that came with the failure, or None.
        step: Key of the step.
        is_permanent: No retry can mend it.
        kinds: Class names of the original exception and of those above it.
        retry_after_s: Seconds that whoever refused has asked to be left alone, or None.
    """

    code = "step_failed"
    is_permanent: bool = False
    kinds: Sequence[str] = ()
    retry_after_s: float | None = None

    def __init__(
        self,
        message: str,
        *,
        error_code: str = "error",
        error_class: str = "Exception",
        details: object = None,
        step: str = "",
    ) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.error_class = error_class
        self.details = details
        self.step = step


class WaitTimedOut(StepFailed):
    """A wait reached its ``timeout_s`` before it was answered."""

    code = "wait_timed_out"


class NotDone(AgencyError):
    """Raised by a step with ``effect="once"`` that knows that nothing happened outside."""

    code = "not_done"


class Permanent(Failed):
    """Raised by a step whose failure no retry can mend."""

    code = "permanent"


class Rejected(Permanent):
    """Raised by a workflow that refuses to do what it is asked; a task is then REJECTED."""

    code = "rejected"


class TaskNotFound(NotFound):
    """No task of the caller has that id."""

    code = "task_not_found"
    hint = "A task has the id of its run, and goes with it."

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id!r}.")
        self.task_id = task_id


class MessageIdTaken(InvalidInput):
    """The id was used before, for another message."""

    code = "message_id_taken"
    hint = "Give each message an id of its own; the same message may be sent again with its id."

    def __init__(self, message_id: str, task_id: str) -> None:
        super().__init__(f"The message id {message_id!r} was used for another message.")
        self.message_id = message_id
        self.task_id = task_id


class TooManyMessages(LimitExceeded):
    """A task takes no more messages, or no more bytes of them."""

    code = "too_many_messages"
    hint = "Begin another task in the same context."

    def __init__(self, task_id: str, messages_max: int, bytes_max: int) -> None:
        super().__init__(
            f"The task {task_id!r} takes no more than {messages_max} messages and {bytes_max} "
            "bytes of them."
        )
        self.task_id = task_id
        self.messages_max = messages_max
        self.bytes_max = bytes_max


class MessageUnwanted(Conflict):
    """The task is at work and has never asked for messages: nobody would read it."""

    code = "message_unwanted"
    hint = "Wait until the task asks, or begin another one in the same context."

    def __init__(self, task_id: str) -> None:
        super().__init__(f"The task {task_id!r} is at work and takes no messages now.")
        self.task_id = task_id


class DefinitionNotFound(NotFound):
    """No stored workflow has that name."""

    code = "definition_not_found"
    hint = "List them with GET /api/v1/sagas, or `agency sagas ls`."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no stored definition {name!r}.")
        self.name = name


class SagaNotFound(NotFound):
    """No saga has that name."""

    code = "saga_not_found"
    hint = "List them with GET /api/v1/sagas, or `agency sagas ls`."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no saga {name!r}.")
        self.name = name


class DefinitionInUse(Conflict):
    """A stored workflow cannot be deleted while runs need it."""

    code = "definition_in_use"
    hint = "Wait for its runs to end, or abort them; retry compensations that have failed."

    def __init__(self, name: str, run_id: str) -> None:
        super().__init__(f"The definition {name!r} is needed by the run {run_id}.")
        self.name = name
        self.run_id = run_id


class DefinitionNotStored(Conflict):
    """A workflow that comes from a file cannot be changed or deleted through the API."""

    code = "definition_not_stored"
    hint = "Change its file and start the daemon again."

    def __init__(self, name: str, source: str) -> None:
        super().__init__(f"The workflow {name!r} is defined in {source or 'the daemon'!r}.")
        self.name = name
        self.source = source


class CompensationNotFailed(Conflict):
    """Only a compensation that has failed can be retried."""

    code = "compensation_not_failed"
    hint = "It is retried when the status is compensation_failed."

    def __init__(self, run_id: str, kind: str, status: str) -> None:
        super().__init__(
            f"The run {run_id} of kind {kind} is {status}; no compensation of it has failed."
        )
        self.run_id = run_id
        self.kind = kind
        self.status = status


class WorkflowNameTaken(Conflict):
    """A workflow that was loaded from another place has the name."""

    code = "workflow_name_taken"
    hint = "Give one of the two another name."

    def __init__(self, name: str, source: str, other: str) -> None:
        super().__init__(f"The workflow {name!r} of {source!r} is also defined in {other!r}.")
        self.name = name


class TooManyDefinitions(LimitExceeded):
    """No more definitions, or versions of one, are kept."""

    code = "too_many_definitions"
    hint = "Delete definitions that are not needed, or the ended runs that need old versions."


class RunTakenBack(Conflict):
    """A run that compensates shares nothing: what it had done is taken back."""

    code = "run_taken_back"
    hint = "Start it anew with `agency runs rerun`."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"The run {run_id} has begun to take back what it has done.")
        self.run_id = run_id


class RunEndWanted(Conflict):
    """A run that is to end as soon as somebody has decided about it goes nowhere else before."""

    code = "run_end_wanted"
    hint = "Decide what it waits for; it ends then."

    def __init__(self, run_id: str, ending: str) -> None:
        super().__init__(f"The run {run_id} is to end as {ending}, and waits for a decision.")
        self.run_id = run_id
        self.ending = ending


class OutcomeUnknown(Failed):
    """Raised by a step that cannot tell whether it has had its effect outside.

    A saga takes such a leg back although it has failed. ``retry_after_s`` says when to try again,
    if that is known.
    """

    code = "outcome_unknown"
    retry_after_s: float | None = None


class ForeignTask(InvalidInput):
    """A call of the context came from a task that the context did not make."""

    code = "foreign_task"
    hint = "Make branches with ctx.gather, ctx.map or ctx.first, not with asyncio tasks."

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} was called from a task that is not a branch of the run.")
        self.operation = operation


class StepNameTaken(InvalidInput):
    """Two steps of one name are in flight in one branch."""

    code = "step_name_taken"
    hint = "Await the first one before the second, or give them different branches."

    def __init__(self, name: str) -> None:
        super().__init__(f"A step named {name!r} is already in flight in this branch.")
        self.name = name


class NotAwaited(InvalidInput):
    """A workflow asked its context for something and did not await it, so it was never done."""

    code = "not_awaited"
    hint = "Write `await` in front of it, or hand it to ctx.gather or ctx.first."

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} was never awaited, and so never done.")
        self.operation = operation


class WaitInsideTimeout(InvalidInput):
    """A durable wait stands inside ``asyncio.timeout``, whose timer it would outlive."""

    code = "wait_inside_timeout"
    hint = "Pass timeout_s= to the wait instead of wrapping it in asyncio.timeout."

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} cannot wait durably inside asyncio.timeout.")
        self.operation = operation


# --- models --------------------------------------------------------------------------------


class ModelUnavailable(Unavailable):
    """The model server does not answer. Runs wait for ``resource`` and go on by themselves."""

    code = "model_unavailable"
    hint = "Start the model server; runs that wait for it go on by themselves."

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"The model server {resource!r} is away: {reason}.")
        self.resource = resource
        self.reason = reason


class ModelInterrupted(Unavailable):
    """A call was under way when its server died or the connection broke."""

    code = "model_interrupted"

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"The call to {resource!r} was cut off: {reason}.")
        self.resource = resource
        self.reason = reason


class ModelBusy(Unavailable):
    """The model server, or the queue in front of it, has no place for the call now."""

    code = "model_busy"
    hint = "The server's own queue is full; the call is tried again."


class ModelCrashed(Failed):
    """The same call has killed the model server several times while it was well otherwise."""

    code = "model_crashed"
    hint = "Choose a smaller model or a smaller [llm] num_ctx, and look at the server's log."


class ModelTimedOut(Failed):
    """A time limit of the call was reached. ``phase``: load, first_token, between_tokens, total."""

    code = "model_timed_out"

    def __init__(self, phase: str, limit_s: float, hint: str) -> None:
        super().__init__(f"The model call reached its {phase} limit of {limit_s:g} s.", hint=hint)
        self.phase = phase
        self.limit_s = limit_s


class ModelNotFound(NotFound):
    """The model server does not have the model."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model server has no model {model!r}.",
            hint=f"Pull it with `agency model pull {model}`, or choose another in [llm] model.",
        )
        self.model = model


class ModelRefused(Failed):
    """The server refused the request as it stands."""

    code = "model_refused"


class ModelLacks(ModelRefused):
    """The model cannot do what the request needs, for example ``tools``: its ``capability``."""

    code = "model_lacks"

    def __init__(self, message: str, *, capability: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.capability = capability


class AgentStopped(Failed):
    """An agent's model brings no usable reply, whatever is tried; what was tried is in the message.

    ``model`` is the model that was asked.
    """

    code = "agent_stopped"
    hint = (
        "Choose a model that is better with tools (`agency model check`), or give it fewer tools; "
        "then retry the run."
    )

    def __init__(self, model: str, report: str) -> None:
        super().__init__(report)
        self.model = model


class BudgetUsedUp(Failed):
    """A call was cut off because its run's budget of seconds is used up; the run ends with that.

    ``seconds`` is what the call counts for.
    """

    code = "budget_used_up"
    hint = "Let the run go on with more."

    def __init__(self, seconds: float) -> None:
        super().__init__("It was cut off: the run's budget of seconds is used up.")
        self.seconds = seconds


class ModelPullFailed(Failed):
    """The model server could not fetch a model; what it has of it stays for the next try."""

    code = "model_pull_failed"
    hint = "It is tried again; if it stays so, look at the model server's log and network."


class ContextTooLong(LimitExceeded):
    """The prompt does not fit. The two counts of tokens are None when the server named none."""

    code = "context_too_long"
    hint = "Raise [llm] num_ctx, shorten the message, or start a new session."

    def __init__(
        self,
        message: str,
        *,
        prompt_tokens: int | None = None,
        context_tokens: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class ModelReplyBroken(Failed):
    """The reply ended early, was empty, or was not what the protocol promises."""

    code = "model_reply_broken"
    hint = "The call is tried again; if it stays so, look at the model server's log."


class ModelCallMalformed(ModelReplyBroken):
    """The model wrote a tool call that the server could not read: the model's mistake, not its.

    ``raw`` is what the server tells of it, up to a bound, and may be empty.
    """

    code = "model_call_malformed"
    hint = (
        "This is the model's mistake, not the server's: the call is tried again; if it stays so, "
        "choose a model that is better with tools."
    )

    def __init__(self, message: str, *, raw: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.raw = raw


class ModelReplyEmpty(ModelReplyBroken):
    """The reply was whole and empty.

    ``ended_by`` is ``length`` when the limit of tokens was used up (with ``thought``: by thinking),
    and ``stop`` when the model ended by itself; ``reply_tokens`` spent for nothing then mean a tool
    call that the server has dropped. None when it did not count.
    """

    code = "model_reply_empty"

    def __init__(
        self,
        message: str,
        *,
        ended_by: str,
        reply_tokens: int | None = None,
        thought: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.ended_by = ended_by
        self.reply_tokens = reply_tokens
        self.thought = thought


class ModelReplyCut(ModelReplyBroken):
    """The stream ended without its end and without an error; ``text`` is what had come, bounded.

    A server that saw a token repeated too often ends so, and one whose runner died in silence.
    """

    code = "model_reply_cut"

    def __init__(self, message: str, *, text: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text


class ModelStutters(ModelReplyBroken):
    """The model repeats itself without end; the stream was closed. ``unit`` is what it repeats."""

    code = "model_stutters"

    def __init__(self, model: str, unit: str) -> None:
        super().__init__(f"The model {model!r} repeats {unit!r} over and over.")
        self.unit = unit


class ModelAnswerUnfit(ModelReplyBroken):
    """The answer does not obey the schema that was asked for.

    ``text`` is the answer, up to a bound, for whoever can mend it; ``fault`` says what is wrong,
    with its JSON pointer. ``ended_by`` is ``length`` when a limit of tokens cut it off.
    """

    code = "model_answer_unfit"

    def __init__(
        self,
        message: str,
        *,
        text: str,
        fault: str,
        ended_by: str = "stop",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.fault = fault
        self.ended_by = ended_by


class SandboxTooWeak(Forbidden):
    """A tool needs more protection than this machine's sandbox gives; nothing was done."""

    code = "sandbox_too_weak"

    def __init__(self, tool: str, missing: Sequence[str], *, driver: str, fix: str) -> None:
        super().__init__(
            f"{tool} needs {', '.join(missing)} to be enforced, and the sandbox {driver!r} does "
            "not enforce it here.",
            hint=fix or None,
        )
        self.tool = tool
        self.missing = list(missing)
        self.driver = driver


class SandboxFailed(Failed):
    """The sandbox itself could not be made; the command has not run."""

    code = "sandbox_failed"
    hint = "Run `agency doctor`: it says what the sandbox needs on this machine."


class AddressRefused(Forbidden):
    """A host has no address that may be connected to: they are private, or the machine's own."""

    code = "address_refused"
    hint = "If it is meant to be reached, allow it by name or address in the settings."

    def __init__(self, host: str, addresses: Sequence[str]) -> None:
        shown = f" ({', '.join(addresses)})" if addresses else ""
        super().__init__(
            f"{host!r} was not connected to: it has no public address{shown}, and private ones are "
            "refused unless they are allowed."
        )
        self.host = host
        self.addresses = list(addresses)


class HostNotFound(Failed):
    """A host's name does not resolve."""

    code = "host_not_found"
    hint = "Look whether the name is right, and whether this machine can resolve names."

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host!r} does not resolve: {reason}.")
        self.host = host


class ToolUnavailable(Unavailable):
    """Who offers the tool is away; the call has not happened."""

    code = "tool_unavailable"
    hint = "The call is tried again by itself; `agency mcp ls` shows the state of the servers."


class UnknownTool(NotFound):
    """No source of tools that is switched on has a tool of that name."""

    code = "unknown_tool"
    hint = "List the tools with `agency tools ls`; [tools] switches those of our own on and off."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no tool {name!r}.")
        self.name = name


class ToolNotAllowed(Forbidden):
    """The tool would ask before it is called, and here is nobody to be asked."""

    code = "tool_not_allowed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The tool {name!r} needs somebody's approval, and here nobody is asked.",
            hint=f"Allow it with [tools] legs_allow = [{name!r}].",
        )
        self.name = name


class ToolInterrupted(Failed):
    """The call of a tool broke off in the middle; whether it has happened is unknown."""

    code = "tool_interrupted"


class ToolNotFound(NotFound):
    """Whoever was asked offers no tool of that name."""

    code = "tool_not_found"

    def __init__(self, source: str, name: str) -> None:
        super().__init__(
            f"{source!r} has no tool {name!r}.",
            hint=f"List what it offers with `agency mcp tools {source}`.",
        )
        self.source = source
        self.name = name


class ConnectionNotFound(NotFound):
    """There is no connection of that name or id."""

    code = "connection_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no connection {name!r}.", hint="List the connections with `agency mcp ls`."
        )
        self.name = name


class ConnectionNameTaken(Conflict):
    """A connection of that name is there already."""

    code = "connection_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is a connection {name!r} already.",
            hint=f"Choose another name, or remove it first: `agency mcp rm {name}`.",
        )
        self.name = name


class ConnectionConfigured(Conflict):
    """A connection comes from the configuration, and is changed there."""

    code = "connection_configured"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The connection {name!r} comes from the configuration.",
            hint=f"Change [mcp.servers.{name}] and send the daemon SIGHUP, or MCP_CONNECTIONS and "
            "start it anew.",
        )
        self.name = name


class ConnectionsFull(LimitExceeded):
    """There are as many connections as there may be."""

    code = "connections_full"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} connections are stored, which is the limit.",
            hint="Remove some that are not used: `agency mcp rm NAME`.",
        )
        self.most = most


class ConnectionFailed(InvalidInput):
    """A connection was tried and does not work. ``log`` is the end of what its server has said."""

    code = "connection_failed"
    hint = 'Mend what it says, or add it all the same with --no-test (`"test": false`).'

    def __init__(self, name: str, reason: str, *, log: str = "") -> None:
        super().__init__(f"The connection {name!r} does not work: {reason.rstrip('.')}.")
        self.name = name
        self.reason = reason
        self.log = log


class RemoteAgentNotFound(NotFound):
    """The settings name no agent of another system so, or it is switched off."""

    code = "remote_agent_not_found"

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        there = f"There are: {', '.join(known)}." if known else "There are none."
        super().__init__(
            f"There is no agent {name!r} to be called.",
            hint=f"Add it as [a2a.agents.{name}], or write its address. {there}",
        )
        self.name = name


class RemoteAgentRefused(Forbidden):
    """The settings do not allow that address to be called."""

    code = "remote_agent_refused"


class RemoteAgentUnreachable(Unavailable):
    """An agent of another system does not answer, or not now."""

    code = "remote_agent_unreachable"
    hint = "Look whether its address is right, and whether it runs."

    def __init__(
        self, agent: str, reason: str, *, retry_after_s: float | None = None, hint: str = ""
    ) -> None:
        super().__init__(f"The agent at {agent!r} cannot be reached: {reason}.", hint=hint or None)
        self.agent = agent
        self.reason = reason
        self.retry_after_s = retry_after_s


class RemoteAgentAway(RemoteAgentUnreachable):
    """No connection to an agent of another system; nothing has been sent to it."""

    code = "remote_agent_away"


class RemoteAgentSilent(RemoteAgentUnreachable):
    """An agent of another system has not answered in time; what it has done is not known."""

    code = "remote_agent_silent"
    hint = "Give it more time with [a2a.agents.NAME] timeout_s."


class RemoteAgentUnfit(Failed):
    """What answers at the address of an agent speaks no A2A that is understood here, or wrongly."""

    code = "remote_agent_unfit"
    hint = "See what it says of itself with `agency a2a card ADDRESS`."

    def __init__(self, agent: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"The agent at {agent!r} {reason}.", hint=hint or None)
        self.agent = agent


class RemoteAgentDenied(Failed):
    """An agent of another system wants to be shown another token."""

    code = "remote_agent_denied"

    def __init__(self, agent: str, reason: str, *, hint: str = "") -> None:
        super().__init__(
            f"The agent at {agent!r} wants another token: {reason}.",
            hint=hint
            or "Name the secret with its token in [a2a.agents.NAME] token; where `agency a2a` is "
            "given an address, set A2A_TOKEN.",
        )
        self.agent = agent


class RemoteTaskNotFound(NotFound):
    """An agent of another system has no such task, or has forgotten it."""

    code = "remote_task_not_found"
    hint = "Some agents forget their tasks when they are restarted; nothing was sent again."

    def __init__(self, agent: str, task_id: str) -> None:
        super().__init__(f"The agent at {agent!r} has no task {task_id!r}.")
        self.agent = agent
        self.task_id = task_id


class RemoteTaskFailed(Failed):
    """A task of an agent elsewhere has failed; what it said is in the message.

    ``agent`` and ``task_id`` tell which.
    """

    code = "remote_task_failed"
    outcome: ClassVar[str] = "has failed"

    def __init__(self, agent: str, task_id: str, said: str) -> None:
        told = f": {said}" if said else ", and did not say why."
        super().__init__(f"The task of the agent {agent!r} {self.outcome}{told}")
        self.agent = agent
        self.task_id = task_id
        self.said = said


class RemoteTaskRejected(RemoteTaskFailed):
    """An agent elsewhere has refused to do a task."""

    code = "remote_task_rejected"
    outcome = "was rejected"


class RemoteTaskCancelled(RemoteTaskFailed):
    """A task of an agent elsewhere was cancelled by somebody there."""

    code = "remote_task_cancelled"
    outcome = "was cancelled there"


class TooManyHops(LimitExceeded):
    """So many systems have called the next that one more call is taken for a circle."""

    code = "too_many_hops"

    def __init__(self, agent: str, hops: int, limit: int) -> None:
        super().__init__(
            f"The agent {agent!r} was not called: it would be call {hops} from one system to the "
            f"next, and {limit} are allowed.",
            hint="Look for agents that call each other in a circle; [a2a] hops_max is the limit.",
        )
        self.agent = agent
        self.hops = hops
        self.limit = limit


class LoginFailed(Conflict):
    """A login at a server of tools cannot be begun, or has not come to its end."""

    code = "login_failed"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The login of the connection {name!r} has failed: {reason.rstrip('.')}.",
            hint=f"Mend what it says, and begin anew: `agency mcp login {name}`.",
        )
        self.name = name
        self.reason = reason


class WorkspaceLost(Corrupt):
    """A kept state of a run's files is not in the store of files any more."""

    code = "workspace_lost"


class WorkspaceTooLarge(LimitExceeded):
    """The files of a run are too many or too large to be kept."""

    code = "workspace_too_large"
    hint = "Let the run delete what it does not need, or raise the limits in [tools]."


class RunFileNotFound(NotFound):
    """The files that a run has kept have none of that path."""

    code = "run_file_not_found"

    def __init__(self, run_id: str, path: str) -> None:
        super().__init__(
            f"The run {run_id!r} has kept no file {path!r}.",
            hint=f"List its files with `agency runs files {run_id}`.",
        )
        self.run_id = run_id
        self.path = path


class BlockNotFound(NotFound):
    """The core memory has no such block, or not in that version."""

    code = "block_not_found"
    hint = "See what there is with `agency memory show AGENT` and `agency memory history`."

    def __init__(self, name: str, version: int | None = None) -> None:
        which = "" if version is None else f" in version {version}"
        super().__init__(f"There is no block {name!r}{which} in the core memory.")
        self.name = name
        self.version = version


class BlockChanged(Conflict):
    """A block of core memory was changed by somebody else meanwhile."""

    code = "block_changed"
    hint = "Read it again, and change what it is now."

    def __init__(self, name: str, version: int, expected: int) -> None:
        super().__init__(f"The block {name!r} has version {version}, not {expected}.")
        self.name = name
        self.version = version
        self.expected = expected


class TooManyBlocks(LimitExceeded):
    """The core memory has as many blocks as it may."""

    code = "too_many_blocks"
    hint = "Put more into fewer blocks, or remember it as facts."

    def __init__(self, blocks_max: int) -> None:
        super().__init__(f"The core memory has {blocks_max} blocks, and more are not taken.")
        self.blocks_max = blocks_max


class FactNotFound(NotFound):
    """The memory has no fact of that id."""

    code = "fact_not_found"
    hint = "List them with `agency memory ls AGENT`."

    def __init__(self, fact_id: str) -> None:
        super().__init__(f"There is no fact {fact_id!r} in this memory.")
        self.fact_id = fact_id


class MemoryFull(LimitExceeded):
    """The memory has as many facts as it may."""

    code = "memory_full"
    hint = "Forget some with `agency memory rm`, or raise [memory] facts_max."

    def __init__(self, facts_max: int) -> None:
        super().__init__(f"This memory has {facts_max} facts, and more are not taken.")
        self.facts_max = facts_max


class EmbeddingsDiffer(Conflict):
    """Vectors of one model cannot be compared with those of another."""

    code = "embeddings_differ"
    hint = "Replace the old vectors with `agency memory reembed`."

    def __init__(self, model: str, dimension: int, *, other: str, other_dimension: int) -> None:
        super().__init__(
            f"The vectors are those of {model!r} with {dimension} numbers each; {other!r} gives "
            f"{other_dimension}."
        )
        self.model = model
        self.dimension = dimension


class CollectionChanged(Conflict):
    """The texts that vectors were made for are gone, or have others already."""

    code = "collection_changed"

    def __init__(self) -> None:
        super().__init__("What the vectors were made for has changed meanwhile.")


class NotebookNotFound(NotFound):
    """There is no notebook of that name."""

    code = "notebook_not_found"
    hint = "List them with `agency notebooks ls`."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no notebook {name!r}.")
        self.name = name


class NotebookExists(Conflict):
    """Another notebook has that name."""

    code = "notebook_exists"
    hint = "Choose another name."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already a notebook {name!r}.")
        self.name = name


class TooManyNotebooks(LimitExceeded):
    """There are as many notebooks as one store may have."""

    code = "too_many_notebooks"
    hint = "Delete some, or put documents that belong together into one."

    def __init__(self, notebooks_max: int) -> None:
        super().__init__(f"There are {notebooks_max} notebooks, and more are not taken.")
        self.notebooks_max = notebooks_max


class DocumentNotFound(NotFound):
    """The notebook has no document of that id."""

    code = "document_not_found"
    hint = "List them with `agency notebooks show NOTEBOOK`."

    def __init__(self, document_id: str) -> None:
        super().__init__(f"There is no document {document_id!r}.")
        self.document_id = document_id


class TooManyDocuments(LimitExceeded):
    """The notebook has as many documents as it may."""

    code = "too_many_documents"
    hint = "Make another notebook."

    def __init__(self, name: str, documents_max: int) -> None:
        super().__init__(f"The notebook {name!r} has {documents_max} documents.")
        self.name = name
        self.documents_max = documents_max


class DocumentTooLarge(LimitExceeded):
    """The document is larger than ``[memory] document_bytes_max``."""

    code = "document_too_large"
    hint = "Split it, or raise [memory] document_bytes_max."

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The document has more than the {bytes_max} bytes that are read.")
        self.bytes_max = bytes_max


class DocumentUnreadable(InvalidInput):
    """The document is not of a kind that is read, or not what it says."""

    code = "document_unreadable"
    hint = "Send text, Markdown or HTML in UTF-8; of a PDF, what `pdftotext` makes of it."


class SessionNotFound(NotFound):
    """There is no conversation of that id."""

    code = "session_not_found"
    hint = "List them with `agency sessions ls`; a session is there once something was said in it."

    def __init__(self, session_id: str) -> None:
        super().__init__(f"There is no session {session_id!r}.")
        self.session_id = session_id


class MessageNotFound(NotFound):
    """The conversation has no message at that position."""

    code = "message_not_found"
    hint = "See the positions with `agency sessions show SESSION`."

    def __init__(self, session_id: str, position: int) -> None:
        super().__init__(f"The session {session_id!r} has no message at position {position}.")
        self.session_id = session_id
        self.position = position


class SessionExists(Conflict):
    """Another conversation has that id."""

    code = "session_exists"
    hint = "Choose another id, or leave it out."

    def __init__(self, session_id: str) -> None:
        super().__init__(f"There is already a session {session_id!r}.")
        self.session_id = session_id


class SessionInUse(Conflict):
    """A run that has not ended belongs to the conversation."""

    code = "session_in_use"
    hint = "Cancel the run, or wait for its end."

    def __init__(self, session_id: str, run_id: str) -> None:
        super().__init__(f"The session {session_id!r} belongs to the live run {run_id}.")
        self.session_id = session_id
        self.run_id = run_id


class SessionTooDeep(LimitExceeded):
    """The conversation is a fork of a fork, and so on, as deep as that may go."""

    code = "session_too_deep"
    hint = "Fork it at an earlier message, or begin a new session."

    def __init__(self, session_id: str, depth_max: int) -> None:
        super().__init__(f"The session {session_id!r} is a fork of {depth_max} others already.")
        self.session_id = session_id
        self.depth_max = depth_max


class SecretNotFound(NotFound):
    """There is no secret of that name."""

    code = "secret_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no secret {name!r}.", hint=f"Make it with `agency secret set {name}`."
        )
        self.name = name


class VaultLocked(Unavailable):
    """The key of the secrets is missing, or not the one that they were encrypted with."""

    code = "vault_locked"


class PushNotFound(NotFound):
    """The task has no push notification of that id."""

    code = "push_not_found"

    def __init__(self, task_id: str, push_id: str) -> None:
        super().__init__(
            f"The task {task_id!r} has no push notification {push_id!r}.",
            hint=f"List them with `agency a2a push {task_id}`.",
        )
        self.task_id = task_id
        self.push_id = push_id


class TooManyPushes(LimitExceeded):
    """A task tells as many addresses of its changes as one may."""

    code = "too_many_pushes"
    hint = "Delete one of them first."

    def __init__(self, task_id: str, pushes_max: int) -> None:
        super().__init__(
            f"The task {task_id!r} has {pushes_max} push notifications, and more are not taken."
        )
        self.task_id = task_id
        self.pushes_max = pushes_max


class PeerNotFound(NotFound):
    """No peer of that id is registered."""

    code = "peer_not_found"
    hint = "List the peers with `agency a2a peers`; a peer registers itself at /api/v1/peers."

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"There is no peer {peer_id!r}.")
        self.peer_id = peer_id


class PeerForeign(Conflict):
    """A peer of that id was registered by somebody else, who alone may change it."""

    code = "peer_foreign"
    hint = "Choose another id, or show the token that it was registered with."

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"The peer {peer_id!r} was registered by another caller.")
        self.peer_id = peer_id


class PeerNotAllowed(Forbidden):
    """The peer is not among those that this daemon speaks with."""

    code = "peer_not_allowed"
    hint = "Name it in [a2a] allowed_peers."

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"The peer {peer_id!r} is not allowed here.")
        self.peer_id = peer_id


class TooManyPeers(LimitExceeded):
    """There are as many peers as one daemon may have."""

    code = "too_many_peers"
    hint = "Delete some that are offline: `agency a2a peers`."

    def __init__(self, peers_max: int) -> None:
        super().__init__(f"There are {peers_max} peers, and more are not taken.")
        self.peers_max = peers_max


class SecretsChanged(Conflict):
    """Secrets or their key were changed by somebody else at the same moment."""

    code = "secrets_changed"
    hint = "Do it again."

    def __init__(self) -> None:
        super().__init__("The secrets, or their key, have changed meanwhile; nothing was done.")


class TooManySecrets(LimitExceeded):
    """There are as many secrets as one store may have."""

    code = "too_many_secrets"
    hint = "Delete some that are not used any more: `agency secret ls`."

    def __init__(self, secrets_max: int) -> None:
        super().__init__(f"There are {secrets_max} secrets, and more are not taken.")
        self.secrets_max = secrets_max


class SecretBroken(Corrupt):
    """The stored value was changed by other means, or belongs to another secret."""

    code = "secret_broken"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The stored value of the secret {name!r} is not what was stored.",
            hint=f"Set it again with `agency secret set {name}`.",
        )
        self.name = name


class RekeyRefused(Conflict):
    """The key cannot be changed from here as things are."""

    code = "rekey_refused"
