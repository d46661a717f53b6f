"""What callers are told when an operation did not succeed, on every transport.

Source: A2A 1.0.1, section 5.4 (codes of JSON-RPC, HTTP and gRPC) and 9.5, 10.6, 11.6 (their forms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from a2a.utils import errors as a2a

from agency import errors
from agency.core.records import dataclass
from agency.errors import AgencyError
from agency.web.problems import status_of

DOMAIN = "a2a-protocol.org"
"""Whose reasons the protocol's own are."""
OWN_DOMAIN = "agency"
"""Whose reasons ours are, which the protocol has no word for."""

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"

_TABLE: Mapping[type[a2a.A2AError], tuple[int, int, str, str]] = {
    a2a.TaskNotFoundError: (-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    a2a.TaskNotCancelableError: (-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    a2a.PushNotificationNotSupportedError: (
        -32003,
        400,
        "FAILED_PRECONDITION",
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    a2a.UnsupportedOperationError: (-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    a2a.ContentTypeNotSupportedError: (
        -32005,
        400,
        "INVALID_ARGUMENT",
        "CONTENT_TYPE_NOT_SUPPORTED",
    ),
    a2a.InvalidAgentResponseError: (-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    a2a.ExtendedAgentCardNotConfiguredError: (
        -32007,
        400,
        "FAILED_PRECONDITION",
        "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    ),
    a2a.ExtensionSupportRequiredError: (
        -32008,
        400,
        "FAILED_PRECONDITION",
        "EXTENSION_SUPPORT_REQUIRED",
    ),
    a2a.VersionNotSupportedError: (-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    a2a.InvalidRequestError: (-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    a2a.MethodNotFoundError: (-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    a2a.InvalidParamsError: (-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
    a2a.InternalError: (-32603, 500, "INTERNAL", "INTERNAL_ERROR"),
    a2a.JSONParseError: (-32700, 400, "INVALID_ARGUMENT", "PARSE_ERROR"),
}

_GRPC: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    507: "RESOURCE_EXHAUSTED",
}
"""Status of gRPC for one of HTTP; others are INTERNAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error as it is told.

    Attributes:
        code: Of JSON-RPC.
        status: Of HTTP.
        grpc: Name of the status of gRPC.
        reason: Of the ErrorInfo.
        metadata: Of the ErrorInfo.
        violations: Fields of the request and what is wrong with them.
        retry_after_s: When to try again; None when that is not known or would not help.
        domain: Whose the reason is.
    """

    code: int
    status: int
    grpc: str
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    retry_after_s: float | None = None
    domain: str = DOMAIN

    @property
    def rpc_status(self) -> int:
        """Status of the answer that carries it over JSON-RPC: 200, but for what is ours to mend.

        Proxies and clients look at 429 and 503, and try again.
        """
        return self.status if self.domain == OWN_DOMAIN and self.status >= 429 else 200

    @property
    def details(self) -> list[dict[str, Any]]:
        """Say it as typed details, for ``error.data`` and ``error.details``."""
        details: list[dict[str, Any]] = [
            {
                "@type": _ERROR_INFO,
                "reason": self.reason,
                "domain": self.domain,
                "metadata": dict(self.metadata),
            }
        ]
        if self.violations:
            told = [{"field": where, "description": what} for where, what in self.violations]
            details.append({"@type": _BAD_REQUEST, "fieldViolations": told})
        if self.retry_after_s is not None:
            details.append({"@type": _RETRY_INFO, "retryDelay": f"{self.retry_after_s:g}s"})
        return details

    def for_rpc(self) -> dict[str, Any]:
        """Say it as the ``error`` of a JSON-RPC response."""
        return {"code": self.code, "message": self.message, "data": self.details}

    def for_http(self) -> dict[str, Any]:
        """Say it as the body of an HTTP+JSON answer: a ``google.rpc.Status``."""
        told = {
            "code": self.status,
            "status": self.grpc,
            "message": self.message,
            "details": self.details,
        }
        return {"error": told}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of an HTTP answer that carries it."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after_s)))}


def refusal_of(error: a2a.A2AError | AgencyError) -> Refusal:
    """Turn an error into what is told about it."""
    if isinstance(error, a2a.A2AError):
        return _of_protocol(error)
    known = _as_protocol(error)
    if known is not None:
        return _of_protocol(known)
    status = status_of(type(error))
    has_delay = isinstance(error, errors.Unavailable | errors.QueueFull)
    return Refusal(
        code=-32603,
        status=status,
        grpc=_GRPC.get(status, "INTERNAL"),
        reason=error.code.upper(),
        message=_with_hint(error),
        metadata={name: str(value) for name, value in error.data.items() if value is not None},
        retry_after_s=getattr(error, "retry_after_s", None) if has_delay else None,
        domain=OWN_DOMAIN,
    )


def _of_protocol(error: a2a.A2AError) -> Refusal:
    row = next((_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE), None)
    code, status, grpc, reason = row or _TABLE[a2a.InternalError]
    data = error.data if isinstance(error.data, dict) else {}
    found = data.get("errors")
    return Refusal(
        code=code,
        status=status,
        grpc=grpc,
        reason=reason,
        message=_in_its_words(error),
        metadata={str(k): str(v) for k, v in data.items() if k != "errors"},
        violations=[(one["field"], one["message"]) for one in found] if found else (),
    )


def _in_its_words(error: a2a.A2AError) -> str:
    """Say that a task is not there as everybody says it, because clients look for the words."""
    words = a2a.TaskNotFoundError.message
    if not isinstance(error, a2a.TaskNotFoundError) or words in error.message:
        return error.message
    return f"{words}: {error.message[:1].lower()}{error.message[1:]}"


def _as_protocol(error: AgencyError) -> a2a.A2AError | None:
    """Find the protocol's own word for one of our errors, if it has one."""
    match error:
        case errors.RunNotFound() | errors.TaskNotFound():
            return a2a.TaskNotFoundError(error.message)
        case errors.ContentTypeRefused():
            return a2a.ContentTypeNotSupportedError(_with_hint(error))
        case errors.BodyMalformed():
            return a2a.JSONParseError(_with_hint(error))
        case errors.InvalidInput():
            faults = [{"field": fault.where, "message": fault.what} for fault in error.faults]
            data = {"errors": faults} if faults else None
            return a2a.InvalidParamsError(_with_hint(error), data=data)
        case errors.Conflict():
            return a2a.UnsupportedOperationError(_with_hint(error))
        case _:
            return None


def _with_hint(error: AgencyError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


def invalid(message: str, violations: Sequence[tuple[str, str]] = ()) -> a2a.InvalidParamsError:
    """Make the error about parameters that do not fit; each field with what is wrong with it."""
    faults = [{"field": where, "message": what} for where, what in violations]
    return a2a.InvalidParamsError(message, data={"errors": faults} if faults else None)
