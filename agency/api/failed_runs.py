"""Runs that did not succeed, told as problems to whoever waited for their result."""

from __future__ import annotations

from collections.abc import Iterator

from agency.domain.run import Run, RunStatus
from agency.errors import AgencyError, InvalidInput, LimitExceeded, NotFound
from agency.web.problems import Problem, status_of

_BAD_GATEWAY = 502
_GATEWAY_TIMEOUT = 504
_UNPROCESSABLE = 422


def problem_of_run(run: Run) -> Problem:
    """Say why a run did not succeed.

    422 when another request could have succeeded, 504 when a time limit was reached, 409 when
    somebody cancelled it, and 502 when what is behind us failed.
    """
    error = run.error
    code = error.code if error is not None else f"run_{run.status}"
    data = {"run_id": run.id, "run_status": str(run.status), "session_id": run.session_id}
    if error is not None and error.step:
        data["step"] = error.step
    return Problem(
        status=status_of_failure(run.status, code),
        code=code,
        detail=error.message if error is not None else f"The run {run.id!r} is {run.status}.",
        hint=error.hint if error is not None else "",
        data=data,
    )


def status_of_failure(status: RunStatus, code: str) -> int:
    """Decide the HTTP status for a run that ended as ``status`` with the error ``code``."""
    if status is RunStatus.TIMED_OUT or code == "timed_out":
        return _GATEWAY_TIMEOUT
    if status is RunStatus.CANCELLED:
        return 409
    kind = _BY_CODE.get(code)
    if kind is None:
        return _BAD_GATEWAY
    if status_of(kind) == _GATEWAY_TIMEOUT:
        return _GATEWAY_TIMEOUT
    if issubclass(kind, (InvalidInput, NotFound, LimitExceeded)) and status_of(kind) < 500:
        return _UNPROCESSABLE
    return _BAD_GATEWAY


def _tree(root: type[AgencyError]) -> Iterator[type[AgencyError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


_BY_CODE = {kind.code: kind for kind in _tree(AgencyError)}
