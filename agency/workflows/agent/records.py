"""What an agent's run is given, and what it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.core.records import dataclass

MESSAGE_CHARACTERS_MAX = 1_000_000
"""Longest message; whether it fits the model's context is found out with the model."""
MAX_STEPS_MAX = 10_000
TOKENS_MAX = 1_000_000_000
SECONDS_MAX = 30 * 86_400.0
TOOL_CALLS_MAX = 100_000
PROMPT_CHARACTERS_MAX = 64 * 1024
"""Longest addition to the system prompt: a longer one would fill the context."""
PATTERNS_MAX = 256
FILES_MAX = 256
FILE_CHARACTERS_MAX = 8 << 20
"""One file of the input, in characters; larger ones are fetched or written by the run."""
FILES_BYTES_MAX = 12 << 20
"""All files of an input or output: they are part of one journal entry, and of one request."""
DEPTH_MAX = 8

Pattern = Annotated[str, Field(min_length=1, max_length=256)]
FilePath = Annotated[str, Field(min_length=1, max_length=1024)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How much a run may use; None leaves it to the agent, and to no limit where that has none.

    Attributes:
        turns: Replies of the model.
        tokens: Of prompts and replies, as the server counts them.
        seconds: Of calls to models and tools; time spent waiting is free.
        tool_calls: Calls that were made or refused.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    turns: Annotated[int, Field(ge=1, le=MAX_STEPS_MAX)] | None = None
    tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    seconds: Annotated[float, Field(gt=0, le=SECONDS_MAX)] | None = None
    tool_calls: Annotated[int, Field(ge=0, le=TOOL_CALLS_MAX)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFile:
    """A file that is not text."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    base64: Annotated[str, Field(max_length=FILE_CHARACTERS_MAX * 2)]


FileContent = Annotated[str, Field(max_length=FILE_CHARACTERS_MAX)] | EncodedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInput:
    """What an agent's run is given.

    Attributes:
        message: What the user says.
        max_steps: Model turns at most; the same as ``budgets.turns``, which goes before it.
        model: Model to ask; None for the agent's own.
        agent: Name of the agent; None for the default one.
        tools: Tools that may be used, of those that the agent may: names, toolsets, patterns. None
            for all of them, empty for none.
        schema: JSON Schema that the answer must obey.
        files: What is in its workspace at the beginning: path to text, or to ``{"base64": …}``.
        system_prompt: Is added to the agent's own.
        return_files: Patterns of files that the output holds; see `AgentOutput`.
        depth: How deep it is nested below other agents.
    """

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    message: Annotated[str, Field(min_length=1, max_length=MESSAGE_CHARACTERS_MAX)]
    max_steps: Annotated[int, Field(ge=1, le=MAX_STEPS_MAX)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    agent: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    tools: Annotated[Sequence[Pattern], Field(max_length=PATTERNS_MAX)] | None = None
    budgets: Budgets | None = None
    schema: Mapping[str, Any] | None = None
    files: Annotated[Mapping[FilePath, FileContent], Field(max_length=FILES_MAX)] | None = None
    system_prompt: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)] = ""
    return_files: Annotated[Sequence[FilePath], Field(max_length=FILES_MAX)] = ()
    depth: Annotated[int, Field(ge=0, le=DEPTH_MAX)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run has used; of sub-agents, too.

    Attributes:
        rungs: How many replies each way of reading calls has served.
    """

    turns: int = 0
    tokens: int = 0
    tool_calls: int = 0
    seconds: float = 0.0
    rungs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput:
    """What an agent's run ends with.

    Attributes:
        model: Model that answered.
        rehearsal: The answer was made up by the stand-in.
        completed: False when a limit was reached before the answer was whole.
        answer: The answer as a JSON value, if a schema was asked for.
        limit: Which budget was used up: ``turns``, ``tokens``, ``seconds``, ``tool_calls``.
        todos: The list of what was planned, as it was last.
        files: Paths that tools have made or changed, the newest last.
        returned: Contents of the files that were asked for: text, or ``{"base64": …}``.
        left_out: Files that were asked for and are too many or too large, or are not there.
    """

    response: str
    model: str
    rehearsal: bool
    completed: bool
    answer: Any = None
    limit: str | None = None
    usage: Usage = field(default_factory=Usage)
    todos: Sequence[Mapping[str, str]] = ()
    files: Sequence[str] = ()
    returned: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()
