"""What it takes to resume each kind of wait (design section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

from agency.core import json
from agency.core.limits import CHECKED_AT_ONCE_BYTES_MAX, FAULT_CHARACTERS_MAX, FAULTS_MAX
from agency.core.records import dataclass
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.engine.steps import DECISIONS
from agency.errors import (
    AnswerNeeded,
    Fault,
    InvalidInput,
    WaitAmbiguous,
    WaitNotAnswerable,
    WaitNotFound,
)

ACTIONS = ("continue", "accept")
"""Answers to a wait of kind version: replay on today's code, or accept that it differs."""


Checked = TypeVar("Checked")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is recorded of a wait that is resumed."""

    outcome: WaitOutcome
    payload: Any


def choose(snapshot: Snapshot, named: str | None) -> Wait:
    """Find the wait that a resume is for.

    An operator's hold comes before the others: it has to be lifted before anything goes on.

    Raises:
        WaitNotFound: none of the open waits has that key.
        WaitAmbiguous: none is named, and there are several.
    """
    waits = [wait for wait in snapshot.waits if wait.outcome is None]
    keys = [wait.key for wait in waits]
    if named is not None:
        for wait in waits:
            if wait.key == named:
                return wait
        same_name = [wait for wait in waits if wait.name == named]
        if len(same_name) == 1:
            return same_name[0]
        raise WaitNotFound(snapshot.run_id, named, keys)
    if len(waits) == 1:
        return waits[0]
    for wait in waits:
        if wait.kind is WaitKind.OPERATOR:
            return wait
    if not waits:
        raise WaitNotFound(snapshot.run_id, "any", keys)
    raise WaitAmbiguous(snapshot.run_id, keys)


def decide(run_id: str, wait: Wait, value: Any, *, has_value: bool) -> Answer:  # noqa: ANN401
    """Decide what is recorded when a wait is resumed with a value, or without one.

    Raises:
        AnswerNeeded: the wait needs a value.
        WaitNotAnswerable: it is answered in another way.
        InvalidInput: the value does not fit.
    """
    match wait.kind:
        case WaitKind.TIMER | WaitKind.RESOURCE:
            return Answer(WaitOutcome.FIRED, None)
        case WaitKind.OPERATOR:
            return Answer(WaitOutcome.ANSWERED, value)
        case WaitKind.EVENT | WaitKind.INPUT:
            if not has_value:
                raise AnswerNeeded(run_id, wait.key, _prompt(wait))
            check_value(wait, value)
            return Answer(WaitOutcome.ANSWERED, value)
        case WaitKind.DECISION:
            return Answer(WaitOutcome.ANSWERED, _choice(run_id, wait, value, "decision", DECISIONS))
        case WaitKind.VERSION:
            return Answer(WaitOutcome.ANSWERED, _choice(run_id, wait, value, "action", ACTIONS))
        case WaitKind.APPROVAL:
            raise _undecided(run_id, wait)
        case WaitKind.CHILD:
            raise WaitNotAnswerable(
                run_id, wait.key, wait.kind, f"It goes on when the run {wait.target} has ended."
            )


def _undecided(run_id: str, wait: Wait) -> WaitNotAnswerable:
    approval_id = wait.show.get("approval_id") if isinstance(wait.show, dict) else None
    command = f"Decide it: `agency approvals approve {approval_id}`." if approval_id else ""
    return WaitNotAnswerable(
        run_id, wait.key, wait.kind, command or "Decide the approval.", approval_id=approval_id
    )


def check_value(wait: Wait, value: Any) -> None:  # noqa: ANN401  JSON value
    """Check a value against the schema that the wait shows, if it shows one.

    Raises:
        InvalidInput: all faults, each with a JSON pointer.
    """
    schema = wait.show.get("schema") if isinstance(wait.show, dict) else None
    check_schema(schema, value, what=f"The input does not fit the wait {wait.key!r}", at="/input")


def check_schema(schema: Any, value: Any, *, what: str, at: str) -> None:  # noqa: ANN401  JSON
    """Check a value against a JSON Schema, if there is one.

    Args:
        schema: The schema; None and empty take everything.
        value: What was given.
        what: What is to be said when it does not fit, without a full stop.
        at: JSON pointer of the value.

    Raises:
        InvalidInput: the first faults, each with a JSON pointer.
    """
    if not schema:
        return
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    faults = [
        Fault(
            where=_said("/".join([at, *map(str, fault.absolute_path)])), what=_said(fault.message)
        )
        for fault in islice(validator.iter_errors(value), FAULTS_MAX)
    ]
    if faults:
        raise InvalidInput(f"{what}: {faults[0].what}.", faults=faults)


async def checked(value: Any, check: Callable[[], Checked]) -> Checked:  # noqa: ANN401  JSON value
    """Call what checks a value; in a thread, if the value is large."""
    if len(json.encode(value)) <= CHECKED_AT_ONCE_BYTES_MAX:
        return check()
    return await asyncio.to_thread(check)


def _said(text: str) -> str:
    """Bound what a fault says: names and values of the caller stand in it."""
    if len(text) <= FAULT_CHARACTERS_MAX:
        return text
    half = FAULT_CHARACTERS_MAX // 2
    return f"{text[:half]} … {text[-half:]}"


def _prompt(wait: Wait) -> str:
    prompt = wait.show.get("prompt") if isinstance(wait.show, dict) else None
    return f"the answer to {prompt!r}" if prompt else f"the payload of {wait.name!r}"


def _choice(run_id: str, wait: Wait, value: Any, word: str, choices: tuple[str, ...]) -> Any:  # noqa: ANN401
    expected = f'{{"{word}": {" | ".join(choices)}}}'
    if value is None:
        raise AnswerNeeded(run_id, wait.key, expected)
    if not isinstance(value, dict) or value.get(word) not in choices:
        raise InvalidInput(
            f"The answer to the wait {wait.key!r} must be {expected}.",
            faults=[Fault(where=f"/input/{word}", what=f"One of {', '.join(choices)} is needed.")],
        )
    unknown = set(value) - {word, "result"}
    if unknown:
        raise InvalidInput(
            f"The answer to the wait {wait.key!r} has unknown fields.",
            faults=[Fault(where=f"/input/{name}", what="Unknown field.") for name in unknown],
        )
    return value
