"""The list of what is to be done: state of the run, and never part of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TODOS_MAX = 50
TODO_CHARACTERS_MAX = 300
"""One entry; the list is in every prompt."""

PENDING, IN_PROGRESS, DONE = "pending", "in_progress", "done"
STATUSES = (PENDING, IN_PROGRESS, DONE)
_MARKS = {PENDING: "[ ]", IN_PROGRESS: "[>]", DONE: "[x]"}

Todos = Sequence[Mapping[str, str]]


def read_todos(given: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, str]], str]:
    """Bring a list that fits the tool's schema into its stored form; and say what was changed."""
    remarks = []
    todos = []
    for one in given[:TODOS_MAX]:
        text = " ".join(str(one["text"]).split())
        if not text:
            continue
        if len(text) > TODO_CHARACTERS_MAX:
            text = text[: TODO_CHARACTERS_MAX - 1] + "…"
            remarks.append("Long entries were shortened.")
        todos.append({"text": text, "status": str(one.get("status") or PENDING)})
    if len(given) > TODOS_MAX:
        remarks.append(f"Only the first {TODOS_MAX} entries were kept.")
    return todos, " ".join(dict.fromkeys(remarks))


def render_todos(todos: Todos) -> str:
    """Write the list for a prompt; empty when there is none."""
    if not todos:
        return ""
    lines = [f"{_MARKS[one['status']]} {one['text']}" for one in todos]
    return "\n".join(["Your todo list as it is now (keep it up to date with `todo`):", *lines])


def progress_of(todos: Todos) -> tuple[int, int, str]:
    """Tell how many are done, of how many, and what is being done."""
    done = sum(one["status"] == DONE for one in todos)
    now = next((one["text"] for one in todos if one["status"] == IN_PROGRESS), "")
    return done, len(todos), now
