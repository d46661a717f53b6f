"""What a run waits for, told to people, with what to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from agency.documents import RunDocument, WaitDocument

GOES_ON_BY_ITSELF = frozenset({"timer", "child", "resource"})
"""Kinds of waits that end without anybody doing something."""

ASKS = frozenset({"input", "approval", "decision", "operator", "version"})
"""Kinds of waits in which a person is asked."""


def needs_somebody(run: RunDocument) -> bool:
    """Tell whether a suspended run asks somebody, or stays as it is until something is sent.

    What it asks counts also beside a timer: a question to an agent elsewhere has one, which looks
    whether it was answered there.
    """
    if run["status"] != "suspended":
        return False
    kinds = {wait["kind"] for wait in run["waits"]}
    return run.get("hold") is not None or bool(kinds & ASKS) or not kinds & GOES_ON_BY_ITSELF


_SENTENCES: Mapping[str, str] = {
    "timer": "it goes on at {due_at}",
    "event": "it waits for the event {name!r}{until}",
    "input": "it asks: {prompt}{until}",
    "approval": "it waits for an approval: {prompt}{until}",
    "child": "it waits for its child run {name!r}",
    "resource": "it waits for {name!r} to come back{why}",
    "operator": "it is held by an operator: {name}",
    "decision": "whether {name!r} was done is not known, and somebody has to decide{why}",
    "version": "the code of {name!r} does not fit what is recorded{difference}, "
    "and somebody has to choose",
}


def describe(wait: WaitDocument) -> str:
    """Say in half a sentence what a wait is for."""
    shown, due_at = wait.get("show"), wait.get("due_at")
    show: Mapping[str, Any] = shown if isinstance(shown, dict) else {}
    sentence = _SENTENCES.get(wait["kind"], "it waits for {name!r}{until}")
    if wait["kind"] == "timer" and "retry" in show:
        sentence = "it tries {name!r} again at {due_at}"
    if wait["kind"] == "version" and show.get("version_now", "") is None:
        sentence = "its workflow {name!r} is not loaded, and somebody has to go on when it is"
    return sentence.format(
        name=wait["name"],
        prompt=show.get("prompt") or wait["name"],
        why=f" ({show['reason']})" if show.get("reason") else "",
        difference=_difference(show),
        due_at=due_at,
        until=f" until {due_at}" if due_at else "",
    )


def _difference(show: Mapping[str, Any]) -> str:
    """Say where code and journal part, if the wait shows it."""
    recorded, asked = show.get("recorded"), show.get("asked")
    return f" (it has {recorded!r}, the code asks for {asked!r})" if recorded and asked else ""


def how_to_answer(run: RunDocument, wait: WaitDocument) -> str:
    """Give the command that answers a wait, or an empty string when none is needed."""
    match wait["kind"]:
        case "event":
            return _command("agency", "runs", "send", run["id"], wait["name"], "--payload", "JSON")
        case "input":
            return _resume(run, wait, "JSON")
        case "approval":
            shown = wait.get("show")
            approval_id = shown.get("approval_id") if isinstance(shown, dict) else None
            return _command("agency", "approvals", "approve", approval_id or "APPROVAL_ID")
        case "decision":
            return _resume(run, wait, '{"decision": "done"}')
        case "version":
            return _resume(run, wait, '{"action": "continue"}')
        case "operator":
            return _resume(run, wait, None)
        case _:
            return ""


def tell(run: RunDocument) -> Sequence[str]:
    """Say what a suspended run waits for, a line for each wait and each command."""
    waits = run["waits"]
    head = f"The run {run['id']} is suspended"
    lines = [_sentence(f"{head}: {describe(wait)}") for wait in waits] or [f"{head}."]
    commands = [how_to_answer(run, wait) for wait in waits]
    return [*lines, *(f"  {command}" for command in commands if command)]


def _sentence(text: str) -> str:
    """End a sentence, unless a question does so already."""
    return text if text.endswith(("?", ".", "!")) else f"{text}."


def _resume(run: RunDocument, wait: WaitDocument, input_text: str | None) -> str:
    words = ["agency", "snapshots", "resume", run.get("snapshot_id") or "SNAPSHOT_ID"]
    if any(one["kind"] in GOES_ON_BY_ITSELF for one in run["waits"]):
        # It may have gone on when this is typed, and the snapshot is spent then.
        words = ["agency", "runs", "resume", run["id"]]
    if len(run["waits"]) > 1:
        words += ["--wait", wait["key"]]
    if input_text is not None:
        words += ["--input", input_text]
    return _command(*words)


def _command(*words: str) -> str:
    return shlex.join(words)
