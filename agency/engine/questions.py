"""Questions of workflows to people: how they are asked, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from agency.core import ids, json
from agency.core.limits import APPROVAL_SHOW_BYTES_MAX, QUESTION_CHARACTERS_MAX
from agency.core.records import dataclass
from agency.domain.approval import ApprovalDecision, ApprovalKind, NewApproval, OnExpiry, Risk
from agency.domain.run import Run
from agency.domain.task import AUTHORIZATION
from agency.domain.wait import NewWait, Wait, WaitKind, WaitOutcome
from agency.engine.codec import Codec, codec_for
from agency.engine.failure import wait_timed_out
from agency.errors import InvalidInput, StepFailed, ValueTooLarge

_PLAIN_SCHEMAS = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalCall:
    """An approval as it was asked for.

    Attributes:
        subject: What is shown with the question, an author's value.
        schema: Type of the value that may be edited, or None: nothing may.
    """

    question: str
    subject: Any
    risk: str
    on_expiry: str
    schema: Any
    name: str


def schema_of(annotation: Any) -> Any:  # noqa: ANN401  a type; JSON Schema
    """Give the JSON Schema of what may be answered; None: anything."""
    if annotation is None:
        return None
    if annotation in _PLAIN_SCHEMAS:
        return {"type": _PLAIN_SCHEMAS[annotation]}
    return codec_for(annotation).schema()


def approval_id(run: Run, key: str) -> str:
    """Make the id of what is asked under a key; the same until a retry asks anew."""
    return ids.derive_id(run.id, "approval", str(run.generation), key)


def input_wait(
    run: Run,
    key: str,
    name: str,
    prompt: str,
    schema: Any,  # noqa: ANN401  a type
    due_at: datetime | None,
) -> NewWait:
    """Make the wait that asks for a value."""
    return NewWait(
        key=key,
        kind=WaitKind.INPUT,
        name=name,
        due_at=due_at,
        show=json.decode(json.encode({"prompt": prompt, "schema": schema_of(schema)})),
        approval=NewApproval(
            id=approval_id(run, key),
            kind=ApprovalKind.INPUT,
            question=prompt,
            risk=Risk.LOW,
            on_expiry=OnExpiry.FAIL,
        ),
    )


def authorization_wait(
    run: Run, key: str, name: str, prompt: str, url: str, due_at: datetime | None
) -> NewWait:
    """Make the wait for somebody who authorizes something elsewhere.

    Raises:
        InvalidInput: it cannot be asked like that.
    """
    if not isinstance(url, str) or len(url) > QUESTION_CHARACTERS_MAX:
        raise InvalidInput(f"The url is a text of up to {QUESTION_CHARACTERS_MAX} characters.")
    wait = input_wait(run, key, name, _checked_question(prompt), None, due_at)
    return replace(wait, show={**wait.show, AUTHORIZATION: {"url": url}})


def approval_wait(run: Run, key: str, call: ApprovalCall, due_at: datetime | None) -> NewWait:
    """Make the wait that asks whether something may be done.

    Raises:
        InvalidInput: it cannot be asked like that.
        ValueTooLarge: more is to be shown than may be.
        NotJson: what is to be shown is not JSON.
    """
    question = _checked_question(call.question)
    risk = _one_of(Risk, call.risk, "risk")
    on_expiry = _one_of(OnExpiry, call.on_expiry, "on_expiry")
    subject = json.decode(codec_for(type(call.subject)).encode(call.subject))
    found_id = approval_id(run, key)
    show = {
        "prompt": question,
        "show": subject,
        "risk": risk.value,
        "schema": schema_of(call.schema),
        "on_expiry": on_expiry.value,
        "approval_id": found_id,
    }
    size_bytes = len(json.encode(show))
    if size_bytes > APPROVAL_SHOW_BYTES_MAX:
        raise ValueTooLarge("What the approval shows", size_bytes, APPROVAL_SHOW_BYTES_MAX)
    return NewWait(
        key=key,
        kind=WaitKind.APPROVAL,
        name=call.name,
        due_at=due_at,
        show=show,
        approval=NewApproval(
            id=found_id,
            kind=ApprovalKind.QUESTION,
            question=question,
            subject=subject,
            risk=risk,
            on_expiry=on_expiry,
        ),
    )


def _checked_question(question: str) -> str:
    if (
        not isinstance(question, str)
        or not question.strip()
        or len(question) > QUESTION_CHARACTERS_MAX
        or "\x00" in question
    ):
        raise InvalidInput(
            f"What is asked is a text of 1 to {QUESTION_CHARACTERS_MAX} characters.",
            hint="Hand over what it is about as `show`.",
        )
    return question


def _one_of(words: Any, given: str, name: str) -> Any:  # noqa: ANN401  an enum and its member
    try:
        return words(given)
    except ValueError:
        known = ", ".join(words)
        raise InvalidInput(f"{name} is one of {known}, and not {given!r}.") from None


def payload_of(wait: Wait, codec: Codec | None) -> Any:  # noqa: ANN401  author's value
    """Give what a wait was answered with, typed.

    Raises:
        WaitTimedOut: nothing came in time.
        StepFailed: it does not fit the type.
    """
    if wait.outcome is WaitOutcome.TIMED_OUT:
        raise wait_timed_out(wait.name, wait.key)
    return _typed(wait, wait.payload, codec)


def decision_of(wait: Wait, codec: Codec | None) -> ApprovalDecision:
    """Give what an approval came to.

    Raises:
        WaitTimedOut: nobody has decided in time, and it was asked for with ``on_expiry="fail"``.
        StepFailed: the edited value does not fit its type.
    """
    if wait.outcome is WaitOutcome.TIMED_OUT:
        on_expiry = OnExpiry(wait.show["on_expiry"])
        if on_expiry is OnExpiry.FAIL:
            raise wait_timed_out(wait.name, wait.key)
        return ApprovalDecision(
            approved=on_expiry is OnExpiry.APPROVE, decided_at=wait.resolved_at, expired=True
        )
    found = wait.payload
    value = found["value"]
    return ApprovalDecision(
        approved=found["approved"],
        value=None if value is None else _typed(wait, value, codec),
        comment=found["comment"],
        decided_by=found["decided_by"],
        decided_at=wait.resolved_at,
    )


def _typed(wait: Wait, value: Any, codec: Codec | None) -> Any:  # noqa: ANN401  JSON; typed
    if codec is None:
        return value
    try:
        return codec.decode(json.encode(value))
    except InvalidInput as error:
        raise StepFailed(
            f"What came for {wait.name!r} does not fit: {error.message}",
            error_code=error.code,
            error_class="InvalidInput",
            step=wait.key,
        ) from error
