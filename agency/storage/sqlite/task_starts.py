"""Tasks inside a transaction that starts a run, or continues it as another."""

from __future__ import annotations

from agency.errors import MessageIdTaken
from agency.storage.sqlite.forms import StartForm, TaskMessageForm
from agency.storage.sqlite.rows import RUN_COLUMNS
from agency.storage.sqlite.transaction import Row, Transaction


def find_said(tx: Transaction, form: TaskMessageForm) -> Row | None:
    """Find the run that began the task that a message was stored for, as ``run_columns``.

    Raises:
        MessageIdTaken: another message was stored under the id, or that run was deleted.
    """
    if form.once is None:
        return None
    row = tx.one("find_task_message", (form.once,))
    if row is None:
        return None
    digest, task_id = row
    run = tx.one("find_run_by_id", (task_id,))
    if digest != form.new.digest or run is None:
        raise MessageIdTaken(form.new.id, task_id)
    return run[:RUN_COLUMNS]


def add(tx: Transaction, form: StartForm, number: int) -> None:
    """Make a run that was just stored a task, if it is to be one."""
    task, message = form.new.task, form.message
    if task is None or message is None:
        return
    created_at = form.columns["created_at"]
    tx.change(
        "insert_task",
        {
            "run": number,
            "at": created_at,
            "asker": form.new.principal,
            "target": task.target,
            "context_id": task.context_id,
            "task_id": form.new.id,
        },
    )
    add_message(tx, message, number, now=created_at)


def add_message(tx: Transaction, form: TaskMessageForm, task: int, *, now: int) -> None:
    """Store a message of a task."""
    tx.change(
        "insert_task_message",
        {
            "task": task,
            "at": now,
            "id": form.new.id,
            "once": form.once,
            "digest": form.new.digest,
            "content": tx.keep(form.content),
        },
    )


def hand_over(tx: Transaction, run: int, successor: int, *, now: int) -> None:
    """Let the task of a run that continues as another go on with that one."""
    tx.change("hand_over_task", {"run": run, "successor": successor, "now": now})
