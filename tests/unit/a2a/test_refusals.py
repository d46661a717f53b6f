"""Errors as they are told: every one has its codes, and ours are said in the protocol's words."""

from __future__ import annotations

import pytest
from a2a.utils import errors as a2a

from agency import errors
from agency.a2a.refusals import DOMAIN, OWN_DOMAIN, refusal_of
from agency.errors import AgencyError, Fault

KINDS = [
    kind
    for kind in vars(a2a).values()
    if isinstance(kind, type) and issubclass(kind, a2a.A2AError) and kind is not a2a.A2AError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_protocol_is_told_with_its_own_codes(
    kind: type[a2a.A2AError],
) -> None:
    told = refusal_of(kind())

    assert a2a.JSON_RPC_ERROR_CODE_MAP[kind] == told.code
    if kind in a2a.A2A_ERROR_MAPPING:
        known = a2a.A2A_ERROR_MAPPING[kind]
        assert known.http_code == told.status
        assert (known.grpc_status, known.reason) == (told.grpc, told.reason)
    assert (DOMAIN, 200) == (told.domain, told.rpc_status)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.RunNotFound("r-1"), -32001, "TASK_NOT_FOUND"),
        (errors.TaskNotFound("r-1"), -32001, "TASK_NOT_FOUND"),
        (errors.InvalidInput("It does not fit."), -32602, "INVALID_PARAMS"),
        (errors.BodyMalformed("It is not JSON."), -32700, "PARSE_ERROR"),
        (errors.ContentTypeRefused("text/plain"), -32005, "CONTENT_TYPE_NOT_SUPPORTED"),
        (errors.Conflict("It has ended."), -32004, "UNSUPPORTED_OPERATION"),
    ],
    ids=["run", "task", "input", "body", "content_type", "conflict"],
)
def test_errors_of_ours_are_said_in_the_protocols_words(
    error: AgencyError, code: int, reason: str
) -> None:
    told = refusal_of(error)

    assert (code, reason, DOMAIN) == (told.code, told.reason, told.domain)


def test_what_the_protocol_has_no_word_for_is_told_as_ours_with_when_to_try_again() -> None:
    error = errors.ShuttingDown()
    error.retry_after_s = 2.0

    told = refusal_of(error)

    assert (503, 503, "UNAVAILABLE") == (told.status, told.rpc_status, told.grpc)
    assert (OWN_DOMAIN, "SHUTTING_DOWN") == (told.domain, told.reason)
    assert {"Retry-After": "2"} == told.headers
    assert "2s" == told.details[-1]["retryDelay"]


def test_faults_are_told_as_violations_of_fields() -> None:
    fault = Fault("/message/parts/0", "It is empty.")

    told = refusal_of(errors.InvalidInput("It does not fit.", faults=[fault]))

    violation = {"field": "/message/parts/0", "description": "It is empty."}
    assert [violation] == told.for_rpc()["data"][1]["fieldViolations"]
