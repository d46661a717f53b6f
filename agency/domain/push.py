"""A push: an address that is told of each change of a task, and how far that has come.

There is no outbox: the journal is one. A push remembers the number of the newest entry that it is
done with, and reads on from there.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from agency.core.records import dataclass

PUSHES_PER_TASK_MAX = 10
"""Pushes of one task: each of its changes is told to all of them."""

PUSH_URL_CHARACTERS_MAX = 2048
"""Longest address of a push: what servers commonly take."""

PUSH_ID_CHARACTERS_MAX = 256
"""Longest id of a push; callers choose it, and it is part of addresses."""

PUSH_SECRET_CHARACTERS_MAX = 8192
"""Longest token, scheme and credentials: servers commonly refuse longer headers."""


class PushState(StrEnum):
    """What is to be done for a push."""

    ACTIVE = "active"
    """There may be more to tell."""
    DONE = "done"
    """The task has ended, and its end was told."""
    GIVEN_UP = "given_up"
    """The task has ended, and its end could not be told."""


class PushProtocol(StrEnum):
    """In which version of A2A it is told."""

    V1_0 = "1.0"
    V0_3 = "0.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPush:
    """A push that is wanted.

    Attributes:
        id: Unique among those of the task.
        address: Where its creator reaches this daemon; links begin with it.
        scheme: Of the header ``Authorization``, or empty.
        sealed: Token and credentials, encrypted; None when there are none.
        whole_task: Everything is told from the task's start; otherwise it begins with the status
            that the task has now.
    """

    id: str
    task_id: str
    url: str
    protocol: PushProtocol
    created_at: datetime
    address: str = ""
    scheme: str = ""
    sealed: bytes | None = None
    whole_task: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push as it is kept.

    Attributes:
        number: Small integer that stands for it in the store; never comes twice.
        revision: Rises each time that the push is set anew.
        run_id: The run that is the task now.
        position: Number of the newest journal entry that it is done with.
        tries: Attempts that have failed for the entry after ``position``.
        due_at: The next attempt is not made before; None: at once.
        sent: Notifications that the other side has taken.
        skipped: Notifications that were given up.
        error: Why the last attempt failed; empty after one that did not.
    """

    number: int
    revision: int
    id: str
    task_id: str
    run_id: str
    url: str
    protocol: PushProtocol
    address: str
    scheme: str
    sealed: bytes | None
    state: PushState
    position: int
    tries: int
    due_at: datetime | None
    sent: int
    skipped: int
    error: str
    error_at: datetime | None
    sent_at: datetime | None
    created_at: datetime
