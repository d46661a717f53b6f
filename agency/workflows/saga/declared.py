"""Sagas that are declared: from JSON to legs, with all that is wrong told at once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agency.core import json, yaml
from agency.core.records import dataclass
from agency.domain.remote import CALL_WORKFLOW
from agency.engine.codec import Codec
from agency.engine.registry import Registry
from agency.engine.retry import Retry
from agency.errors import Fault, InvalidInput
from agency.ports.tool import ToolCalls
from agency.workflows.saga.http import TIMEOUT_S, HttpCall, scope_of
from agency.workflows.saga.leg import UNDO_RETRY, Child, Leg, LegContext
from agency.workflows.saga.saga import LEGS_MAX, Saga
from agency.workflows.saga.schema import SchemaCodec
from agency.workflows.saga.spec import (
    A2aSpec,
    Action,
    AgentSpec,
    FunctionSpec,
    HttpSpec,
    LegSpec,
    ParallelSpec,
    RetrySpec,
    SagaSpec,
    ToolCallSpec,
    WorkflowSpec,
)
from agency.workflows.saga.templates import check_well_formed, references, render, root_of
from agency.workflows.saga.tool import ToolCallOfLeg

DEFINITION_BYTES_MAX = 256 * 1024
"""A declared saga as JSON."""

RESERVED = frozenset({"runs"})
"""Names that are part of the paths of the API."""

FindFunction = Callable[[str], Callable[..., Any] | None]
FindToolCalls = Callable[[], ToolCalls | None]
"""Finds who makes calls of tools, at the time of a call."""


def _no_tools() -> None:
    """Where there are no tools."""


_FORWARD = frozenset({"input", "results", "run_id", "idempotency_key", "action_key"})
_BACK = _FORWARD | {"result", "error"}


def parse(
    value: Any,  # noqa: ANN401  JSON value
    find_function: FindFunction,
    find_tool_calls: FindToolCalls = _no_tools,
) -> Saga:
    """Make a saga of its declaration.

    Args:
        value: JSON value.
        find_function: Finds ``module:function`` among what is loaded.

    Raises:
        InvalidInput: with everything that is wrong, each with its JSON pointer.
    """
    if len(json.encode(value)) > DEFINITION_BYTES_MAX:
        raise InvalidInput(f"The saga has more than {DEFINITION_BYTES_MAX} bytes as JSON.")
    try:
        spec = SagaSpec.model_validate(value)
    except ValidationError as error:
        faults = [
            Fault(_pointer(found["loc"], value), _sentence(found["msg"]))
            for found in error.errors(include_url=False, include_context=False)
        ]
        raise _refused(faults) from error
    faults = [*_faults(spec, find_function)]
    if faults:
        raise _refused(faults)
    saga = _make(spec, version_of(value), _Parts(find_function, find_tool_calls))
    saga.declaration = value
    return saga


def version_of(value: Mapping[str, Any]) -> str:
    """Derive the version of a declaration from its content, with the author's own in front."""
    content = hashlib.sha256(json.encode_canonical(value)).hexdigest()[:12]
    own = value.get("version")
    return f"{own}-{content}" if own else content


def read_file(path: Path, registry: Registry) -> Saga:
    """Read a saga from a file of JSON or YAML.

    Raises:
        InvalidInput: it is too large, neither of the two, or no valid saga.
    """
    saga = parse(read_text(path), registry.find_function, lambda: registry.tool_calls)
    saga.source = str(path)
    return saga


def read_text(path: Path) -> Any:  # noqa: ANN401  JSON value
    """Read JSON, or YAML by the suffix of the file's name.

    Raises:
        InvalidInput: it is too large or not well formed.
    """
    with path.open("rb") as file:
        raw = file.read(DEFINITION_BYTES_MAX + 1)
    if len(raw) > DEFINITION_BYTES_MAX:
        raise InvalidInput(f"The file {str(path)!r} has more than {DEFINITION_BYTES_MAX} bytes.")
    try:
        if path.suffix == ".json":
            return json.decode(raw)
        return yaml.decode(raw.decode())
    except (json.NotJson, yaml.NotYaml, UnicodeDecodeError) as error:
        raise InvalidInput(f"The file {str(path)!r} cannot be read: {error}") from error


# --- what is wrong -------------------------------------------------------------------------


def _refused(faults: Sequence[Fault]) -> InvalidInput:
    first = faults[0]
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    return InvalidInput(
        f"The saga is not valid: {first.where or '/'}: {first.what}{more}",
        faults=faults,
        hint=first.hint or None,
    )


def _sentence(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text if text.endswith(".") else f"{text}."


def _pointer(path: Sequence[str | int], value: Any) -> str:  # noqa: ANN401  JSON value
    """Make a JSON pointer of where a fault is; names of alternatives are left out."""
    pointer = ""
    for place, part in enumerate(path):
        is_last = place == len(path) - 1
        if isinstance(value, dict) and (part in value or is_last):
            value = value.get(part) if isinstance(part, str) else None
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif not is_last or isinstance(value, dict | list):
            continue
        pointer += "/" + str(part)[:128].replace("~", "~0").replace("/", "~1")
    return pointer


def _faults(spec: SagaSpec, find_function: FindFunction) -> list[Fault]:
    faults = []
    if spec.name in RESERVED:
        faults.append(Fault("/name", f"{spec.name!r} is part of the paths of the API."))
    if spec.input is not None:
        faults += _schema_faults(spec.input)
    known: list[str] = []
    for position, entry in enumerate(spec.legs):
        where = f"/legs/{position}"
        before = list(known)
        if isinstance(entry, LegSpec):
            faults += _leg_faults(entry, where, before, known, find_function)
            continue
        for place, leg in enumerate(entry.parallel):
            below = f"{where}/parallel/{place}"
            faults += _leg_faults(leg, below, before, known, find_function)
    if len(known) > LEGS_MAX:
        faults.append(Fault("/legs", f"There are {len(known)} legs; {LEGS_MAX} are possible."))
    faults += _reference_faults(spec.output, "/output", known, _FORWARD)
    return faults


def _schema_faults(schema: dict[str, Any]) -> list[Fault]:
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/input" + "".join(f"/{part}" for part in error.absolute_path)
        return [Fault(where, _sentence(error.message[:500]))]
    return [
        Fault("/input", f"The schema refers to {ref!r}; only parts of itself are possible.")
        for ref in _foreign_refs(schema)
    ]


def _foreign_refs(value: Any) -> list[str]:  # noqa: ANN401  JSON value
    if isinstance(value, list):
        return [ref for item in value for ref in _foreign_refs(item)]
    if not isinstance(value, dict):
        return []
    own = value.get("$ref")
    found = [own] if isinstance(own, str) and not own.startswith("#") else []
    return found + [ref for item in value.values() for ref in _foreign_refs(item)]


def _leg_faults(
    leg: LegSpec,
    where: str,
    before: Sequence[str],
    known: list[str],
    find_function: FindFunction,
) -> list[Fault]:
    faults = []
    if leg.id in known:
        faults.append(Fault(f"{where}/id", f"Another leg has the id {leg.id!r}."))
    if leg.id == "parallel":
        faults.append(Fault(f"{where}/id", "A leg cannot be called 'parallel'."))
    if leg.effect == "once" and not isinstance(leg.action, HttpSpec | FunctionSpec | ToolCallSpec):
        faults.append(Fault(f"{where}/effect", "A run of another workflow is started once anyway."))
    known.append(leg.id)
    faults += _action_faults(leg.action, f"{where}/action", before, _FORWARD, find_function)
    if leg.compensation is not None:
        own = [*before, leg.id]
        below = f"{where}/compensation"
        faults += _action_faults(leg.compensation, below, own, _BACK, find_function)
    return faults


def _action_faults(
    action: Action,
    where: str,
    known: Sequence[str],
    roots: frozenset[str],
    find_function: FindFunction,
) -> list[Fault]:
    match action:
        case FunctionSpec():
            if find_function(action.function) is not None:
                return []
            what = f"There is no function {action.function!r} in the loaded files."
            hint = "Name it as module:function; the module is the stem of a file in [workflows]."
            return [Fault(f"{where}/function", what, hint)]
        case HttpSpec():
            templates: dict[str, Any] = {
                "url": action.url, "headers": action.headers, "body": action.body
            }  # fmt: skip
        case AgentSpec():
            templates = {"prompt": action.prompt}
        case WorkflowSpec():
            templates = {"input": action.input}
        case A2aSpec():
            templates = {
                "agent": action.agent, "message": action.message, "data": action.data,
                "context_id": action.context_id,
            }  # fmt: skip
        case ToolCallSpec():
            templates = {"arguments": action.arguments}
    return [
        fault
        for name, value in templates.items()
        for fault in _reference_faults(value, f"{where}/{name}", known, roots)
    ]


def _reference_faults(
    value: Any,  # noqa: ANN401  JSON value
    where: str,
    known: Sequence[str],
    roots: frozenset[str],
) -> list[Fault]:
    faults = []
    for place, reference in references(value, where):
        if not reference:
            faults.append(check_well_formed(place))
            continue
        root, first = root_of(reference)
        if root not in roots:
            hint = f"References begin with {', '.join(sorted(roots))}."
            faults.append(Fault(place, f"${{{reference}}} begins with nothing known.", hint))
        elif root == "results" and first not in known:
            what = f"${{{reference}}} names {first!r}, which is no leg that is done before."
            hint = f"Those are: {', '.join(known)}." if known else "No leg is done before this one."
            faults.append(Fault(place, what, hint))
    return faults


# --- what it becomes -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    """What legs are made of that lies outside of the declaration."""

    find_function: FindFunction
    find_tool_calls: FindToolCalls


def _make(spec: SagaSpec, version: str, parts: _Parts) -> Saga:
    output = spec.output
    saga = Saga(
        spec.name,
        version=version,
        timeout_s=spec.timeout_s,
        description=spec.description,
        output=None if output is None else functools.partial(_output, output),
    )
    if spec.input is not None:
        codec: Codec = SchemaCodec(spec.input)
        saga.input_codec = codec
    for entry in spec.legs:
        if isinstance(entry, ParallelSpec):
            saga.parallel(*(_leg(leg, parts) for leg in entry.parallel))
        else:
            saga.add(_leg(entry, parts))
    return saga


def _output(template: Any, context: LegContext) -> Any:  # noqa: ANN401  JSON value
    return render(template, scope_of(context))


def _leg(spec: LegSpec, parts: _Parts) -> Leg:
    back_s = spec.compensation_timeout_s or spec.timeout_s
    back = None
    if spec.compensation is not None:
        back = _part(spec.compensation, back_s, parts)
    return Leg(
        id=spec.id,
        name=spec.name,
        do=_part(spec.action, spec.timeout_s, parts),
        undo=back,
        retry=_retry(spec.retry),
        undo_retry=_retry(spec.compensation_retry) if spec.compensation_retry else UNDO_RETRY,
        timeout_s=spec.timeout_s,
        undo_timeout_s=back_s,
        effect=spec.effect,
        undo_failed=spec.compensate_failed,
    )


def _part(action: Action, timeout_s: float | None, parts: _Parts) -> Any:  # noqa: ANN401
    match action:
        case HttpSpec():
            return HttpCall(
                method=action.method,
                url=action.url,
                headers=action.headers,
                body=action.body,
                expected=tuple(action.expected),
                timeout_s=action.timeout_s or timeout_s or TIMEOUT_S,
            )
        case AgentSpec():
            wanted: dict[str, Any] = {"message": action.prompt}
            if action.model is not None:
                wanted["model"] = action.model
            if action.max_steps is not None:
                wanted["max_steps"] = action.max_steps
            return Child(workflow="agent", kind="agent", input=functools.partial(_output, wanted))
        case WorkflowSpec():
            return Child(workflow=action.workflow, input=functools.partial(_output, action.input))
        case A2aSpec():
            called: dict[str, Any] = {
                "agent": action.agent,
                "message": action.message,
                "data": action.data,
                "context_id": action.context_id,
            }
            return Child(
                workflow=CALL_WORKFLOW, kind="a2a", input=functools.partial(_output, called)
            )
        case FunctionSpec():
            found = parts.find_function(action.function)
            assert found is not None, action.function
            return found
        case ToolCallSpec():
            return ToolCallOfLeg(
                tool=action.tool, arguments=action.arguments, calls=parts.find_tool_calls
            )


def _retry(spec: RetrySpec) -> Retry:
    return Retry(
        attempts=spec.attempts,
        base_s=spec.base_s,
        factor=spec.factor,
        cap_s=spec.cap_s,
        jitter=spec.jitter,
    )
