"""The shape of a declared saga, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from agency.workflows.saga.leg import ID, NAME, UndoFailed

FUNCTION = r"^[A-Za-z0-9_.-]{1,128}:[A-Za-z]\w{0,127}$"
"""How a function of an author is named."""

SPAN_S_MAX = 10 * 365 * 86_400.0
"""Longest time limit."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


Span = Annotated[float, Field(gt=0, le=SPAN_S_MAX, strict=False)]
Id = Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]
Text = Annotated[str, StringConstraints(max_length=100_000)]
Header = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$")]


class RetrySpec(_Spec):
    """When and how often a failed try is repeated."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    base_s: Annotated[float, Field(ge=0, le=86_400, strict=False)] = 1.0
    factor: Annotated[float, Field(ge=1, le=100, strict=False)] = 2.0
    cap_s: Annotated[float, Field(ge=0, le=86_400, strict=False)] = 300.0
    jitter: bool = True


class HttpSpec(_Spec):
    """A request. The leg's result is ``{"status", "body"}``."""

    kind: Literal["http"]
    url: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: Annotated[dict[Header, Text], Field(max_length=64)] = {}
    body: Any = None
    expected: Annotated[list[Annotated[int, Field(ge=100, le=599)]], Field(max_length=32)] = []
    timeout_s: Span | None = None


class AgentSpec(_Spec):
    """A prompt to the agent. The leg's result is the agent's output."""

    kind: Literal["agent"]
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=10_000)] | None = None


class WorkflowSpec(_Spec):
    """A run of another workflow. The leg's result is its output."""

    kind: Literal["workflow"]
    workflow: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: Any = None


class A2aSpec(_Spec):
    """A message to an agent of another system. The result has ``text``, ``data``, ``content``.

    An agent is a name of the settings, or an address that they allow.
    """

    kind: Literal["a2a"]
    agent: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    message: Annotated[str, StringConstraints(max_length=100_000)] = ""
    data: Any = None
    context_id: Annotated[str, StringConstraints(max_length=256)] = ""


class FunctionSpec(_Spec):
    """A function of an author's file: ``module:function``, the module being the file's stem."""

    kind: Literal["function"]
    function: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}:[A-Za-z]\w{0,127}$")
    ]


class ToolCallSpec(_Spec):
    """A call of a tool over the files of the run. The leg's result is ``{"content", …}``."""

    kind: Literal["tool"]
    tool: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    arguments: dict[str, Any] = {}


Action = Annotated[
    HttpSpec | AgentSpec | WorkflowSpec | A2aSpec | FunctionSpec | ToolCallSpec,
    Field(discriminator="kind"),
]


class LegSpec(_Spec):
    """One leg: what is done, and what takes it back."""

    id: Id
    name: Annotated[str, StringConstraints(max_length=256)] = ""
    action: Action
    compensation: Action | None = None
    retry: RetrySpec = RetrySpec()
    compensation_retry: RetrySpec | None = None
    timeout_s: Span | None = None
    compensation_timeout_s: Span | None = None
    effect: Literal["repeatable", "once"] = "repeatable"
    compensate_failed: UndoFailed = "unknown"


class ParallelSpec(_Spec):
    """Legs that are done beside each other."""

    parallel: Annotated[list[LegSpec], Field(min_length=2, max_length=50)]


def _sort_of(value: Any) -> str:  # noqa: ANN401  JSON value
    is_parallel = isinstance(value, ParallelSpec) or (
        isinstance(value, dict) and "parallel" in value
    )
    return "parallel" if is_parallel else "leg"


Entry = Annotated[
    Annotated[LegSpec, Tag("leg")] | Annotated[ParallelSpec, Tag("parallel")],
    Discriminator(_sort_of),
]


class SagaSpec(_Spec):
    """A saga."""

    name: Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    description: Annotated[str, StringConstraints(max_length=4096)] = ""
    timeout_s: Span | None = None
    input: dict[str, Any] | None = None
    legs: Annotated[list[Entry], Field(min_length=1, max_length=100)]
    output: Any = None
