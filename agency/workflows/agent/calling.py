"""One call of a tool, as a recorded step: the workspace opened, the tool called, what came kept.

A call that broke off is made again over the workspace as it was before it, or asked about, as the
tool's effect says. Whatever the model can mend is recorded as an output with ``is_error``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from agency.core import json
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.domain.tool import Asks, Question, ToolEffect, ToolOutput
from agency.engine import foreign
from agency.engine.parts import current_step
from agency.engine.retry import Retry
from agency.errors import (
    AgencyError,
    Corrupt,
    ModelUnavailable,
    SandboxFailed,
    SandboxTooWeak,
    ShuttingDown,
    StoreBroken,
    StoreFull,
    ToolInterrupted,
    ToolUnavailable,
    Unavailable,
    WorkspaceTooLarge,
)
from agency.ports.model import ToolCall
from agency.ports.tool import Tool, ToolContext
from agency.ports.workspace import Workspace
from agency.workflows.agent.context.estimate import units_of_call, units_of_text
from agency.workflows.agent.cutoff import seconds_used

CONTENT_CHARACTERS_MAX = 200_000
"""Text of one result that is recorded; tools bound theirs lower, with a handle to the whole."""
STRUCTURED_BYTES_MAX = 1 << 20
FILES_NAMED_MAX = 200
TEXT_BYTES_MIN = 50
"""No text of a call's arguments is cut shorter."""
PATIENT = Retry(
    attempts=500,
    base_s=1.0,
    cap_s=300.0,
    retry_on=(ToolUnavailable, ToolInterrupted, SandboxFailed, StoreFull),
)
"""What is away is waited for: some 40 hours, then the model is told that it stays away."""
NOT_DONE = (ToolUnavailable, SandboxTooWeak, SandboxFailed)
"""After these nothing has happened, also for what must not happen twice."""

_FATAL = (Corrupt, StoreBroken, ShuttingDown, StoreFull, ModelUnavailable)
_LATER = (ToolUnavailable, ToolInterrupted, SandboxFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A call that may be made now.

    Attributes:
        is_edited: A person has changed the arguments.
        version: State of the workspace before it; None is the empty folder.
        result_bytes_max: A longer result is cut, in UTF-8, and the whole is kept in the workspace.
        redact: Takes secrets out of texts, before they are recorded.
        left_s: Of the run's budget, at which it is cut off; None for none.
    """

    tool: Tool
    name: str
    arguments: Mapping[str, Any]
    is_edited: bool
    run_id: str
    agent: str
    session_id: str | None
    principal: str
    workspace: Workspace | None
    version: str | None
    progress: Callable[[str], None]
    redact: Callable[[str], str]
    result_bytes_max: int
    answers: Mapping[str, Any]
    state: Any = None
    left_s: float | None = None

    async def do(self) -> Any:  # noqa: ANN401  JSON value
        """Make the call; the function of a step.

        Raises:
            ToolUnavailable, ToolInterrupted: the step is tried again, or asks.
            TimeoutError: a tool that must not act twice did not answer in time.
            WorkspaceLost, StoreFull: nothing can be recorded.
        """
        began_s = monotonic_s()
        if self.workspace is not None:
            await self.workspace.open(self.version)
        outcome = await foreign.attempt(self._timed())
        if isinstance(outcome, foreign.Raised):
            output: ToolOutput | Asks = self._excused(outcome.error)
        else:
            output = outcome.value
        has_files = False
        if isinstance(output, ToolOutput):
            output, is_long = await self._shortened(output)
            # Also a tool that may be repeated can bring files, such as pictures.
            has_files = is_long or bool(output.files)
        version, remarks = await self._keep(is_changed=has_files)
        record: dict[str, Any] = {"tool": self.name, "arguments": self.clean(dict(self.arguments))}
        if self.is_edited:
            record["is_edited"] = True
        if version is not None:
            record["version"] = version
        if isinstance(output, Asks):
            record["asks"] = self.clean(write_asks(output))
        else:
            record |= self.clean(write_output(output, remarks))
        record["seconds"] = seconds_used(monotonic_s() - began_s, self.left_s)
        return record

    async def _timed(self) -> ToolOutput | Asks:
        context = ToolContext(
            run_id=self.run_id,
            agent=self.agent,
            session_id=self.session_id,
            principal=self.principal,
            call_key=current_step().idempotency_key,
            workspace=self.workspace if self.workspace is not None else NO_WORKSPACE,
            progress=self.progress,
            answers=self.answers,
            state=self.state,
        )
        async with asyncio.timeout(self._limit_s):
            return await self.tool.call(self.arguments, context)

    @property
    def _limit_s(self) -> float:
        return self.tool.timeout_s if self.left_s is None else min(self.tool.timeout_s, self.left_s)

    def _excused(self, error: Exception) -> ToolOutput:
        """Turn what the model can mend into an output; raise everything else.

        Raises:
            the error.
        """
        if isinstance(error, TimeoutError):
            if self.tool.effect is ToolEffect.ONCE:
                raise error  # whether it has happened is not known
            said = f"{self.name} did not end within {self._limit_s:g} s and was stopped."
            if self._limit_s < self.tool.timeout_s:
                said += " The run's budget of seconds is used up."
            return ToolOutput(content=said, is_error=True)
        if isinstance(error, (*_FATAL, *_LATER)):
            raise error
        if isinstance(error, AgencyError):
            hint = f" {error.hint}" if error.hint else ""
            return ToolOutput(content=f"{error.message}{hint}", is_error=True)
        if self.tool.effect is ToolEffect.ONCE:
            raise error
        said = f"{self.name} failed with {type(error).__name__}: {foreign.text_of(error)[:1000]}"
        return ToolOutput(content=said, is_error=True)

    async def _shortened(self, output: ToolOutput) -> tuple[ToolOutput, bool]:
        """Bound a result by what the context can take; the whole goes to a file of the run."""
        if units_of_text(output.content) <= self.result_bytes_max:
            return output, False
        text = cut_bytes(output.content, self.result_bytes_max)
        if self.workspace is None:
            return replace(output, content=text), False
        handle = await self.workspace.keep_text(f"{self.name}.txt", self.redact(output.content))
        text += f"\n[The whole is in the file {handle}.]"
        return replace(output, content=text), True

    async def _keep(self, *, is_changed: bool) -> tuple[str | None, list[str]]:
        """Keep what the call has changed; None when nothing could have."""
        is_read = self.tool.effect is ToolEffect.REPEATABLE and not is_changed
        if self.workspace is None or is_read:
            return None, []
        try:
            version = await self.workspace.keep()
        except WorkspaceTooLarge as error:
            said = f"What this call has changed was taken back: {error.message} {error.hint}"
            return None, [said.strip()]
        return version, list(self.workspace.left_out)

    def clean(self, value: Any) -> Any:  # noqa: ANN401  JSON value
        """Take secrets out of a JSON value."""
        return redacted(value, self.redact)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:  # noqa: ANN401  JSON value
    """Take secrets out of all texts of a JSON value, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): redacted(one, redact) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one, redact) for one in value]
    return value


def write_output(output: ToolOutput, remarks: list[str] | None = None) -> dict[str, Any]:
    """Turn an output into its bounded record."""
    text = "\n".join([output.content, *(remarks or [])]) if remarks else output.content
    record: dict[str, Any] = {"content": cut(text, CONTENT_CHARACTERS_MAX)}
    if output.is_error or (remarks and remarks[0].startswith("What this call has changed")):
        record["is_error"] = True
    if output.structured is not None:
        record |= _structured(output.structured)
    if output.sandbox is not None:
        record["sandbox"] = {str(one): str(level) for one, level in output.sandbox.items()}
    if output.is_untrusted:
        record["is_untrusted"] = True
    if output.files:
        record["files"] = [str(path) for path in output.files[:FILES_NAMED_MAX]]
    return record


def _structured(value: Any) -> dict[str, Any]:  # noqa: ANN401  JSON value
    try:
        size_bytes = len(json.encode(value))
    except json.NotJson:
        return {}
    return {"structured": value} if size_bytes <= STRUCTURED_BYTES_MAX else {}


def write_asks(asks: Asks) -> dict[str, Any]:
    """Turn questions into JSON; `read_asks` reads it."""
    return {
        "questions": [
            {
                "key": one.key,
                "kind": one.kind,
                "prompt": one.prompt,
                "schema": None if one.schema is None else dict(one.schema),
                "messages": [dict(message) for message in one.messages],
                "options": dict(one.options),
            }
            for one in asks.questions
        ],
        "state": asks.state,
        **({"is_begun": True, "again_s": asks.again_s} if asks.is_begun else {}),
    }


def read_asks(found: Mapping[str, Any]) -> Asks:
    """Read what `write_asks` wrote."""
    return Asks(
        questions=[Question(**one) for one in found["questions"]],
        state=found["state"],
        is_begun=bool(found.get("is_begun")),
        again_s=float(found.get("again_s", 0.0)),
    )


def cut(text: str, characters_max: int) -> str:
    """Bound a text by its head and tail; what is left out is said."""
    if len(text) <= characters_max:
        return text
    half = characters_max // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def cut_bytes(text: str, bytes_max: int) -> str:
    """Bound a text by its head and tail, measured in UTF-8, as tokens go with bytes."""
    if units_of_text(text) <= bytes_max:
        return text
    written = text.encode("utf-8", "replace")
    half = bytes_max // 2
    head = written[:half].decode("utf-8", "ignore")
    tail = written[-half:].decode("utf-8", "ignore")
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n[… {left_out} characters left out …]\n{tail}"


def shortened_call(call: ToolCall, bytes_max: int) -> ToolCall:
    """Cut the long texts among a call's arguments, until it is as short as wanted or can be."""
    shorter, text_bytes_max = call, bytes_max
    while units_of_call(shorter) > bytes_max and text_bytes_max >= TEXT_BYTES_MIN:
        shorter = replace(call, arguments=_with_short_texts(call.arguments, text_bytes_max))
        text_bytes_max //= 2
    return shorter


def _with_short_texts(value: Any, bytes_max: int) -> Any:  # noqa: ANN401  JSON value
    match value:
        case str():
            return cut_bytes(value, bytes_max)
        case Mapping():
            return {key: _with_short_texts(one, bytes_max) for key, one in value.items()}
        case list():
            return [_with_short_texts(one, bytes_max) for one in value]
        case _:
            return value


class _NoWorkspace:
    """Stands where a daemon keeps no files; tools that need some are told so."""

    left_out: tuple[str, ...] = ()

    @property
    def path(self) -> Any:  # noqa: ANN401  never returns
        raise Unavailable("There are no workspaces here.") from None

    async def open(self, version: str | None) -> Any:  # noqa: ANN401  never returns
        raise Unavailable("There are no workspaces here.") from None

    async def folder(self) -> Any:  # noqa: ANN401  never returns
        raise Unavailable("There are no workspaces here.") from None

    async def keep(self) -> str:
        raise Unavailable("There are no workspaces here.") from None

    async def keep_text(self, name: str, text: str) -> str:
        raise Unavailable("There are no workspaces here.") from None

    async def put(self, path: str, content: bytes) -> None:
        raise Unavailable("There are no workspaces here.") from None

    async def undo(self) -> Any:  # noqa: ANN401  never returns
        raise Unavailable("There are no workspaces here.") from None


NO_WORKSPACE: Workspace = _NoWorkspace()
