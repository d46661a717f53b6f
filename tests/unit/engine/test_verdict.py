from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agency.domain.run import Phase, Run, RunError, RunKind, RunStatus
from agency.engine.codec import codec_for
from agency.engine.definition import Definition
from agency.engine.foreign import Raised, Returned
from agency.engine.retry import Retry
from agency.engine.suspension import ContinuedAs, LimitReached, RunEnding
from agency.engine.verdict import TryAgain, Verdict, judge
from agency.errors import Permanent, StepFailed

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def work(ctx: object) -> None: ...


DEFINITION = Definition(
    name="w",
    kind=RunKind.FUNCTION,
    version="1",
    description="",
    run=work,
    takes_input=False,
    input_codec=codec_for(Any),
    output_codec=codec_for(Any),
    retry=Retry(attempts=3),
)
RUN = Run(
    number=1,
    id="r",
    name="n",
    workflow="w",
    version="1",
    kind=RunKind.FUNCTION,
    status=RunStatus.RUNNING,
    phase=Phase.FORWARD,
    input=None,
    output=None,
    error=None,
    session_id="s",
    parent_id=None,
    forked_from=None,
    queue="default",
    priority=0,
    attempt=1,
    max_attempts=1,
    epoch=1,
    owner="b",
    available_at=AT,
    deadline_at=None,
    seed=1,
    idempotency_key=None,
    correlation_id="",
    principal="",
    tags={},
    created_at=AT,
    started_at=AT,
    ended_at=None,
    ending=None,
    hold=None,
    crashes=0,
    provider=None,
    progress=None,
)


def verdict(outcome: Any, run: Run = RUN, ending: RunError | None = None) -> Verdict | TryAgain:
    return judge(outcome, run=run, definition=DEFINITION, ending_error=ending, now=AT)


def status(judged: Verdict | TryAgain) -> RunStatus:
    assert isinstance(judged, Verdict)
    return judged.status


def test_returned_value_completes_the_run() -> None:
    judged = verdict(Returned({"a": 1}))

    assert isinstance(judged, Verdict)
    assert (RunStatus.COMPLETED, {"a": 1}) == (judged.status, judged.output)


def test_returned_value_that_is_not_json_fails_it() -> None:
    assert RunStatus.FAILED is status(verdict(Returned({1, 2})))


def test_failure_is_tried_again_while_there_are_tries() -> None:
    twice = replace(RUN, max_attempts=2)

    assert isinstance(verdict(Raised(ValueError()), twice), TryAgain)
    assert RunStatus.DEAD_LETTER is status(verdict(Raised(ValueError()), replace(twice, attempt=2)))
    assert RunStatus.FAILED is status(verdict(Raised(ValueError())))


def test_permanent_failure_is_never_tried_again() -> None:
    often = replace(RUN, max_attempts=9)
    failed = StepFailed("no")
    failed.is_permanent = True

    assert RunStatus.FAILED is status(verdict(Raised(Permanent("no")), often))
    assert RunStatus.FAILED is status(verdict(Raised(failed), often))
    assert isinstance(verdict(Raised(StepFailed("maybe")), often), TryAgain)


def test_asked_end_keeps_its_status_and_reason() -> None:
    reason = RunError(code="cancelled", message="enough")

    judged = verdict(RunEnding(RunStatus.CANCELLED), ending=reason)

    assert isinstance(judged, Verdict)
    assert (RunStatus.CANCELLED, reason) == (judged.status, judged.error)


def test_used_up_budget_is_not_a_success() -> None:
    judged = verdict(LimitReached("half"))

    assert isinstance(judged, Verdict)
    assert (RunStatus.LIMIT_REACHED, "half") == (judged.status, judged.output)


def test_successor_takes_over_and_always_has_the_same_id() -> None:
    first, second = verdict(ContinuedAs(7)), verdict(ContinuedAs(7))

    assert isinstance(first, Verdict)
    assert isinstance(second, Verdict)
    assert first.successor is not None
    assert second.successor is not None
    assert first.successor.id == second.successor.id == first.output["continued_as"]
    assert ("n", "s", 7) == (
        first.successor.name,
        first.successor.session_id,
        first.successor.input,
    )
