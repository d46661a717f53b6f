"""How a run is to end, judged from what its code has ended with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core import ids, json
from agency.core.records import dataclass
from agency.domain.run import NewRun, Run, RunError, RunStatus
from agency.engine.definition import Definition
from agency.engine.failure import run_error
from agency.engine.foreign import Raised, Returned
from agency.engine.retry import is_run_worth_retrying
from agency.engine.suspension import ContinuedAs, LimitReached, RunEnding
from agency.errors import ValueTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a run is to end, before the work registered for its end has run."""

    status: RunStatus
    output: Any = None
    error: RunError | None = None
    successor: NewRun | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The run has failed, and has tries left."""

    error: Exception


def judge(
    outcome: Returned | Raised | RunEnding | LimitReached | ContinuedAs,
    *,
    run: Run,
    definition: Definition,
    ending_error: RunError | None,
    now: datetime,
) -> Verdict | TryAgain:
    """Decide how the run ends."""
    match outcome:
        case RunEnding(status=status):
            return Verdict(status=status, error=ending_error)
        case LimitReached(output=output):
            return Verdict(status=RunStatus.LIMIT_REACHED, output=output)
        case ContinuedAs(successor_input=successor_input):
            successor = make_successor(run, definition, successor_input, now=now)
            output = {"continued_as": successor.id}
            return Verdict(status=RunStatus.COMPLETED, output=output, successor=successor)
        case Returned(value=value):
            try:
                output = json.decode(definition.output_codec.encode(value))
            except (json.NotJson, ValueTooLarge) as error:
                return judge_failure(error, run=run, definition=definition)
            return Verdict(status=RunStatus.COMPLETED, output=output)
        case Raised(error=error):
            return judge_failure(error, run=run, definition=definition)


def judge_failure(error: Exception, *, run: Run, definition: Definition) -> Verdict | TryAgain:
    """Decide between another try, a dead letter (tries used up) and a failure."""
    is_worth = is_run_worth_retrying(error, definition.retry)
    if is_worth and run.attempt < run.max_attempts:
        return TryAgain(error)
    has_tried_again = is_worth and run.max_attempts > 1
    status = RunStatus.DEAD_LETTER if has_tried_again else RunStatus.FAILED
    return Verdict(status=status, error=run_error(error))


def make_successor(
    run: Run,
    definition: Definition,
    successor_input: Any,  # noqa: ANN401  JSON value
    *,
    now: datetime,
) -> NewRun:
    """Make the run that goes on in the place of ``run``; always with the same id."""
    return NewRun(
        id=ids.derive_id(run.id, "continue_as"),
        workflow=run.workflow,
        version=definition.version,
        kind=run.kind,
        input=successor_input,
        created_at=now,
        available_at=now,
        seed=run.seed,
        name=run.name,
        session_id=run.session_id,
        queue=run.queue,
        priority=run.priority,
        max_attempts=run.max_attempts,
        deadline_at=run.deadline_at,
        correlation_id=run.correlation_id,
        principal=run.principal,
        tags=run.tags,
        provider=run.provider,
        concurrency_key=run.concurrency_key,
        # It is the schedule's live run as much as the one that it follows.
        schedule=run.schedule,
    )
