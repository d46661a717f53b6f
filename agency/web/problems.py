"""Problem documents: what a caller reads when a request did not succeed.

Source: RFC 9457. The members ``success``, ``error``, ``message``, ``correlationId`` and
``timestamp`` are those of the guides' own error bodies, as extension members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from aiohttp import web

from agency import errors
from agency.core import json
from agency.core.clock import to_text
from agency.core.context import CORRELATION_ID
from agency.core.records import dataclass
from agency.errors import AgencyError, Fault
from agency.web.addresses import approval_path, problem_type, run_path, snapshot_path
from agency.web.answers import SERVICES

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[type[AgencyError], int] = {
    errors.AgencyError: 500,
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Forbidden: 403,
    errors.LimitExceeded: 413,
    errors.Unavailable: 503,
    errors.Failed: 502,
    errors.Corrupt: 500,
    # configuration and start
    errors.ConfigurationInvalid: 500,
    errors.DataDirectoryLocked: 500,
    errors.NetworkFileSystem: 500,
    errors.SchemaNewer: 500,
    errors.MigrationChanged: 500,
    errors.StoreBroken: 500,
    errors.StoreFull: 507,
    errors.ReadTooLong: 503,
    errors.ShuttingDown: 503,
    errors.DaemonUnreachable: 503,
    errors.AnswerLost: 503,
    errors.AlreadyRunning: 500,
    errors.PortTaken: 500,
    errors.AddressUnusable: 500,
    errors.PlaceNotWritable: 500,
    errors.BindRefused: 500,
    errors.DatabaseForeign: 500,
    errors.DatabaseMissing: 500,
    errors.JournalKeyTaken: 500,
    # access
    errors.TokenMissing: 401,
    errors.TokenRefused: 401,
    errors.HostRefused: 403,
    errors.OriginRefused: 403,
    errors.TokenNotFound: 404,
    errors.TokenNameTaken: 409,
    # requests at the doors
    errors.BodyMalformed: 400,
    errors.BodyTooLarge: 413,
    errors.BodyLate: 408,
    errors.ContentTypeRefused: 415,
    errors.PathNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestRefused: 400,
    errors.TooManyConnections: 503,
    errors.TooManyStreams: 503,
    errors.InternalError: 500,
    # runs
    errors.WorkflowNotFound: 404,
    errors.NotPublished: 404,
    errors.WorkflowDisabled: 409,
    errors.QueueNotFound: 404,
    errors.QueueFull: 429,
    errors.RunNotFound: 404,
    errors.SnapshotNotFound: 404,
    errors.NameTaken: 409,
    errors.IdempotencyMismatch: 422,
    errors.SessionBusy: 409,
    errors.UpdatesAhead: 409,
    errors.HookNameTaken: 409,
    errors.OfferNameTaken: 409,
    errors.ClientCannot: 409,
    errors.ClientRefused: 409,
    errors.RunEnded: 409,
    errors.RunNotSuspended: 409,
    errors.SnapshotSpent: 409,
    errors.RunNotRetryable: 409,
    errors.RunChanged: 409,
    errors.RunHasParent: 409,
    errors.NotADeadLetter: 409,
    errors.ForkPointNotFound: 422,
    errors.ReceiptNotFound: 404,
    errors.ReceiptConfirmed: 409,
    errors.RunIdTaken: 409,
    errors.ExportTaken: 409,
    errors.ExportCorrupt: 422,
    errors.ExportFormatUnknown: 422,
    errors.ExportTooLarge: 413,
    errors.SnapshotLive: 409,
    errors.WaitNotFound: 422,
    errors.WaitAmbiguous: 422,
    errors.AnswerNeeded: 422,
    errors.WaitNotAnswerable: 409,
    errors.WaitTaken: 409,
    errors.Fenced: 409,
    errors.JournalFull: 422,
    errors.ValueTooLarge: 413,
    # tasks of A2A
    errors.TaskNotFound: 404,
    errors.MessageIdTaken: 422,
    errors.TooManyMessages: 409,
    errors.MessageUnwanted: 409,
    # approvals and topics
    errors.ApprovalNotFound: 404,
    errors.ApprovalDecided: 409,
    errors.RuleNotFound: 404,
    errors.TooManyRules: 409,
    errors.TopicNotFound: 404,
    errors.TopicFull: 429,
    # schedules
    errors.ScheduleNotFound: 404,
    errors.TooManySchedules: 409,
    # what authors of workflows meet: the request was right, the work behind it was not
    errors.StepFailed: 502,
    errors.WaitTimedOut: 504,
    errors.NotDone: 502,
    errors.Permanent: 502,
    errors.Rejected: 502,
    errors.OutcomeUnknown: 502,
    # sagas
    errors.DefinitionNotFound: 404,
    errors.SagaNotFound: 404,
    errors.DefinitionInUse: 409,
    errors.DefinitionNotStored: 409,
    errors.CompensationNotFailed: 409,
    errors.RunTakenBack: 409,
    errors.RunEndWanted: 409,
    errors.TooManyDefinitions: 409,
    errors.WorkflowNameTaken: 409,
    errors.ForeignTask: 502,
    errors.StepNameTaken: 502,
    errors.NotAwaited: 502,
    errors.WaitInsideTimeout: 502,
    # tools and secrets
    errors.SandboxTooWeak: 403,
    errors.SandboxFailed: 502,
    errors.AddressRefused: 403,
    errors.HostNotFound: 502,
    errors.ToolUnavailable: 503,
    errors.ToolInterrupted: 502,
    errors.UnknownTool: 404,
    errors.ToolNotAllowed: 403,
    errors.ToolNotFound: 404,
    errors.ConnectionNotFound: 404,
    errors.ConnectionNameTaken: 409,
    errors.ConnectionConfigured: 409,
    errors.ConnectionsFull: 409,
    errors.ConnectionFailed: 422,
    errors.LoginFailed: 422,
    errors.RemoteAgentNotFound: 404,
    errors.RemoteAgentRefused: 403,
    errors.RemoteAgentUnreachable: 502,
    errors.RemoteAgentAway: 502,
    errors.RemoteAgentSilent: 504,
    errors.RemoteAgentUnfit: 502,
    errors.RemoteAgentDenied: 502,
    errors.RemoteTaskNotFound: 404,
    errors.RemoteTaskFailed: 502,
    errors.RemoteTaskRejected: 502,
    errors.RemoteTaskCancelled: 502,
    errors.TooManyHops: 413,
    errors.WorkspaceLost: 500,
    errors.WorkspaceTooLarge: 413,
    errors.RunFileNotFound: 404,
    errors.BlockNotFound: 404,
    errors.BlockChanged: 409,
    errors.TooManyBlocks: 409,
    errors.FactNotFound: 404,
    errors.MemoryFull: 409,
    errors.EmbeddingsDiffer: 409,
    errors.CollectionChanged: 409,
    errors.NotebookNotFound: 404,
    errors.NotebookExists: 409,
    errors.TooManyNotebooks: 409,
    errors.DocumentNotFound: 404,
    errors.TooManyDocuments: 409,
    errors.DocumentTooLarge: 413,
    errors.DocumentUnreadable: 415,
    errors.SessionNotFound: 404,
    errors.MessageNotFound: 404,
    errors.SessionExists: 409,
    errors.SessionInUse: 409,
    errors.SessionTooDeep: 409,
    errors.PushNotFound: 404,
    errors.TooManyPushes: 409,
    errors.PeerNotFound: 404,
    errors.PeerForeign: 409,
    errors.PeerNotAllowed: 403,
    errors.TooManyPeers: 409,
    errors.SecretNotFound: 404,
    errors.VaultLocked: 503,
    errors.SecretsChanged: 409,
    errors.TooManySecrets: 409,
    errors.SecretBroken: 500,
    errors.RekeyRefused: 409,
    # models
    errors.ModelUnavailable: 503,
    errors.ModelInterrupted: 502,
    errors.ModelBusy: 503,
    errors.ModelCrashed: 502,
    errors.ModelTimedOut: 504,
    errors.ModelNotFound: 422,
    errors.ModelRefused: 502,
    errors.ContextTooLong: 422,
    errors.ModelPullFailed: 502,
    errors.ModelReplyBroken: 502,
    errors.ModelCallMalformed: 502,
    errors.ModelReplyEmpty: 502,
    errors.ModelReplyCut: 502,
    errors.ModelStutters: 502,
    errors.ModelLacks: 502,
    errors.AgentStopped: 502,
    errors.BudgetUsedUp: 504,
    errors.ModelAnswerUnfit: 502,
}
"""HTTP status of each class of error. A class that is missing has its parent's."""

_MEMBERS = frozenset(
    {
        "type", "title", "status", "detail", "instance", "success", "error", "message",
        "correlationId", "timestamp", "hint", "code", "errors", "links",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is to be told. ``data`` are further members, JSON types only."""

    status: int
    code: str
    detail: str
    hint: str = ""
    faults: Sequence[Fault] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def status_of(error: type[AgencyError]) -> int:
    """Find the HTTP status of a class of errors: its own, or its nearest parent's."""
    for known in error.__mro__:
        if known in STATUSES:
            return STATUSES[known]
    raise AssertionError(error)


def title_of(code: str) -> str:
    """Make the short title of a kind of problem, the same each time it occurs."""
    return code.replace("_", " ").capitalize()


def problem_of(error: AgencyError) -> Problem:
    """Turn an error into what is told about it."""
    return Problem(
        status=status_of(type(error)),
        code=error.code,
        detail=error.message,
        hint=error.hint,
        faults=error.faults if isinstance(error, errors.InvalidInput) else (),
        data=error.data,
        headers=_headers_of(error),
    )


def problem_answer(problem: Problem, request: web.Request) -> web.Response:
    """Answer a request with a problem document."""
    document = problem_document(
        problem,
        instance=request.rel_url.raw_path,
        timestamp=to_text(request.app[SERVICES].clock.now()),
    )
    headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **problem.headers}
    return web.Response(body=json.encode(document), status=problem.status, headers=headers)


def problem_document(problem: Problem, *, instance: str, timestamp: str) -> dict[str, Any]:
    """Make the document of a problem; its correlation id is that of the context."""
    document: dict[str, Any] = {
        "type": problem_type(problem.code),
        "title": title_of(problem.code),
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "success": False,
        "error": problem.code,
        "message": problem.detail,
        "correlationId": CORRELATION_ID.get(),
        "timestamp": timestamp,
    }
    if problem.hint:
        document["hint"] = problem.hint
    if problem.faults:
        document["errors"] = [
            {"pointer": fault.where, "detail": fault.what, "hint": fault.hint}
            for fault in problem.faults
        ]
    # The status of a run may not pass for the status of the answer.
    further = {"run_status" if name == "status" else name: v for name, v in problem.data.items()}
    document.update((name, v) for name, v in further.items() if name not in _MEMBERS)
    if links := _links(further):
        document["links"] = links
    return document


def _links(data: Mapping[str, Any]) -> dict[str, str]:
    links = {}
    if isinstance(run_id := data.get("run_id"), str):
        links["run"] = run_path(run_id)
    if isinstance(approval_id := data.get("approval_id"), str):
        links["approval"] = approval_path(approval_id)
    if isinstance(newest := data.get("newest"), str):
        links["newest"] = snapshot_path(newest)
    return links


def _headers_of(error: AgencyError) -> dict[str, str]:
    if isinstance(error, errors.Unavailable | errors.QueueFull) and error.retry_after_s is not None:
        return {"Retry-After": str(max(1, round(error.retry_after_s)))}
    if isinstance(error, errors.TokenMissing):
        return {"WWW-Authenticate": 'Bearer realm="agency"'}
    if isinstance(error, errors.TokenRefused):
        return {"WWW-Authenticate": 'Bearer realm="agency", error="invalid_token"'}
    if isinstance(error, errors.MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.ContentTypeRefused):
        return {"Accept": error.wanted}
    return {}


def codes_by_status(kinds: Iterable[type[AgencyError]]) -> dict[int, list[str]]:
    """Group kinds of errors by the status that they are answered with, for the API's document."""
    grouped: dict[int, list[str]] = {}
    for kind in kinds:
        codes = grouped.setdefault(status_of(kind), [])
        if kind.code not in codes:
            codes.append(kind.code)
    return dict(sorted(grouped.items()))
