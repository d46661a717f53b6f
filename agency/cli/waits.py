"""What a run waits for, told to people, with what to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from agency.documents import RunDocument, WaitDocument

GOES_ON_BY_ITSELF = frozenset({"timer", "child", "resource"})
"""Kinds of waits that end without anybody doing something."""


def needs_somebody(run: RunDocument) -> bool:
    """Tell whether a run is suspended on something that somebody has to send or decide."""
    waits = run.get("waits") or ()
    return run["status"] == "suspended" and any(
        wait["kind"] not in GOES_ON_BY_ITSELF for wait in waits
    )


_SENTENCES: Mapping[str, str] = {
    "timer": "it goes on at {due_at}",
    "event": "it waits for the event {name!r}{until}",
    "input": "it asks: {prompt}{until}",
    "approval": "it waits for an approval: {prompt}{until}",
    "child": "it waits for its child run {name!r}",
    "resource": "it waits for {name} to come back",
    "operator": "it is held by an operator: {name}",
    "decision": "whether {name!r} was done is not known, and somebody has to decide",
    "version": "its code has changed at {name!r}, and somebody has to choose",
}


def describe(wait: WaitDocument) -> str:
    """Say in half a sentence what a wait is for."""
    due_at = wait.get("due_at")
    sentence = _SENTENCES.get(wait["kind"], "it waits for {name!r}{until}")
    return sentence.format(
        name=wait["name"],
        prompt=_prompt(wait),
        due_at=due_at,
        until=f" until {due_at}" if due_at else "",
    )


def how_to_answer(run: RunDocument, wait: WaitDocument) -> str:
    """Give the command that answers a wait, or an empty string when none is needed."""
    match wait["kind"]:
        case "event":
            return _command("agency", "runs", "send", run["id"], wait["name"], "--payload", "JSON")
        case "input":
            return _resume(run, wait, "JSON")
        case "decision":
            return _resume(run, wait, '{"decision": "done"}')
        case "version":
            return _resume(run, wait, "JSON")
        case "operator":
            return _resume(run, wait, None)
        case _:
            return ""


def tell(run: RunDocument) -> Sequence[str]:
    """Say what a suspended run waits for, a line for each wait and each command."""
    waits = run.get("waits") or []
    head = f"The run {run['id']} is suspended"
    lines = [f"{head}: {describe(wait)}." for wait in waits] or [f"{head}."]
    commands = [how_to_answer(run, wait) for wait in waits]
    return [*lines, *(f"  {command}" for command in commands if command)]


def _resume(run: RunDocument, wait: WaitDocument, input_text: str | None) -> str:
    words = ["agency", "snapshots", "resume", run.get("snapshot_id") or "SNAPSHOT_ID"]
    if len(run.get("waits") or ()) > 1:
        words += ["--wait", wait["key"]]
    if input_text is not None:
        words += ["--input", input_text]
    return _command(*words)


def _command(*words: str) -> str:
    return shlex.join(words)


def _prompt(wait: WaitDocument) -> str:
    show: Any = wait.get("show")
    if isinstance(show, dict) and isinstance(show.get("prompt"), str):
        return str(show["prompt"])
    return wait["name"]
