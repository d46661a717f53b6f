"""Tools: what they do to the world, who may call them, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass


class ToolEffect(StrEnum):
    """What becomes of a call that was interrupted, when its run goes on."""

    REPEATABLE = "repeatable"
    """It is called again."""
    RESTORE = "restore"
    """The workspace is put back to its state before the call, and the call is repeated."""
    ONCE = "once"
    """Somebody is asked whether it has happened."""


class Permission(StrEnum):
    """Whether an agent may call a tool."""

    ALLOW = "allow"
    ASK = "ask"
    """Each call waits for somebody's approval."""
    DENY = "deny"


class Capability(StrEnum):
    """What a sandbox can bound."""

    FILE_READ = "file_read"
    FILE_WRITE = "file_write"
    NETWORK = "network"
    PROCESSES = "processes"
    MEMORY = "memory"
    SYSTEM_CALLS = "system_calls"


class Level(StrEnum):
    """How far a bound is in force."""

    ENFORCED = "enforced"
    PARTIAL = "partial"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """What a call came to; recorded, so that it must be JSON and bounded.

    Attributes:
        content: Text for the model. Whoever calls the tool bounds it: a long one is cut to head
            and tail with a handle to the whole.
        is_error: The tool says that it has failed; the model is told and may try otherwise.
        structured: The same as a JSON value, where the tool has one.
        sandbox: Levels that were in force, for a call that ran in a sandbox.
        is_untrusted: The text comes from outside (a page, a server) and may try to instruct.
        files: Paths in the workspace that the call made or changed.
    """

    content: str
    is_error: bool = False
    structured: Any = None
    sandbox: Mapping[Capability, Level] | None = None
    is_untrusted: bool = False
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a tool has to know before its call can go on.

    Attributes:
        key: Of the question within the call.
        kind: ``input`` asks a person (MCP: elicitation), ``model`` asks the run's own model
            (MCP: sampling).
        prompt: One sentence for a person; for the model the last user message.
        schema: JSON Schema of the answer, or None for any text.
        messages: For the model: the conversation, as ``{"role", "content"}``.
        options: For the model: ``tokens_max``, ``temperature``, ``system``.
    """

    key: str
    kind: str
    prompt: str
    schema: Mapping[str, Any] | None = None
    messages: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """A call that goes on only when its questions are answered; it is then made again.

    Attributes:
        state: JSON value that is handed back with the answers; recorded with the run.
        is_begun: The work goes on elsewhere, by the state: made again the call only looks, or
            answers, and may be repeated whatever the tool's effect is.
        again_s: Where nothing is asked: seconds until it is worth looking again.
    """

    questions: Sequence[Question]
    state: Any = None
    is_begun: bool = False
    again_s: float = 0.0
