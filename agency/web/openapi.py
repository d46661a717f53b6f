"""The API's document, made from the models that check and the routes that serve.

Source: OpenAPI 3.1.0; its schemas are JSON Schema 2020-12, which is what pydantic writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agency import errors
from agency.errors import AgencyError
from agency.web.correlation import HEADER
from agency.web.problem_model import ProblemAnswer
from agency.web.problems import MEDIA_TYPE, STATUSES, codes_by_status, status_of, title_of
from agency.web.routes import Route

_REF = "#/components/schemas/{model}"

_ALWAYS: tuple[type[AgencyError], ...] = (
    errors.TokenMissing,
    errors.TokenRefused,
    errors.HostRefused,
    errors.RequestRefused,
    errors.InternalError,
    errors.StoreBroken,
)
_WRITING: tuple[type[AgencyError], ...] = (
    errors.OriginRefused,
    errors.StoreFull,
    errors.ShuttingDown,
)
_WITH_BODY: tuple[type[AgencyError], ...] = (
    errors.BodyMalformed,
    errors.BodyTooLarge,
    errors.BodyLate,
    errors.ContentTypeRefused,
    errors.InvalidInput,
)

_ID = {"type": "string", "description": "UUID in the usual spelling."}
_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_PLACES = {
    "workflow_id": _NAME,
    "name": _NAME,
    "path": {"type": "string", "minLength": 1},
    "rule_id": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999_999_999},
}
"""What stands in a path, by its name; what is not here is an id."""


def make_document(
    routes: Sequence[Route], *, shapes: Mapping[str, Any], version: str
) -> dict[str, Any]:
    """Make the OpenAPI document of all documented routes.

    Args:
        shapes: Models of the bodies of answers, by the names that the routes use.
    """
    documented = [route for route in routes if route.is_documented]
    paths: dict[str, dict[str, Any]] = {}
    for route in documented:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agency",
            "version": version,
            "summary": "Runs agents and durable workflows, and never loses their work.",
            "description": (
                "Every request for work starts a *run*. Moments are RFC 3339 in UTC, ids are "
                "UUIDs, names are snake_case. What goes wrong is told as a problem document "
                "(RFC 9457) with a stable `code`, a `hint`, and all faults of an input."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in documented)],
        "paths": paths,
        "components": {
            "schemas": _schemas(documented, shapes),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed unless the daemon listens on loopback only.",
                }
            },
        },
        "security": [{}, {"token": []}],
        "x-problems": _all_problems(),
    }


def _all_problems() -> list[dict[str, Any]]:
    """Explain every code that a problem may have, for the page that problems point to."""
    found = {
        kind.code: {
            "code": kind.code,
            "status": status_of(kind),
            "description": _description(kind),
            "hint": kind.hint,
        }
        for kind in STATUSES
    }
    return [found[code] for code in sorted(found)]


def _description(kind: type[AgencyError]) -> str:
    text = kind.__doc__ or f"{title_of(kind.code)}."
    return " ".join(text.partition("\n\n")[0].replace("``", "`").split())


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.description:
        operation["description"] = route.description
    if route.body is not None:
        content: dict[str, Any] = {"schema": _reference(route.body.__name__)}
        if route.examples:
            content["examples"] = {n: {"value": value} for n, value in route.examples.items()}
        operation["requestBody"] = {
            "required": not route.body_may_be_empty,
            "content": {"application/json": content},
        }
    if route.takes:
        file = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": {route.takes: file}}
    if route.is_public:
        operation["security"] = [{}]
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _PLACES.get(name, _ID),
        }
        for name in re.findall(r"{(\w+)", route.path)
    ]
    if route.query is not None:
        parameters.extend(_query_parameters(route.query))
    if route.waits:
        parameters.append(
            _header("Prefer", "Seconds to wait for the result: `wait=30` (RFC 7240).")
        )
    if route.is_idempotent:
        text = "The same key with the same request starts one run only."
        pattern = {"minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$"}
        parameters.append(_header("Idempotency-Key", text, **pattern))
    if route.is_stream:
        text = "Id of the update that came last; those after it are sent. It goes before `after`."
        parameters.append(_header("Last-Event-ID", text, pattern="^[0-9]{1,19}$"))
    if route.is_conditional:
        text = "Entity tag that the caller has. With `Prefer: wait=N` changes are waited for."
        parameters.append(_header("If-None-Match", text))
    return parameters


def _query_parameters(query: type[BaseModel]) -> Iterable[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    for name, found in schema.get("properties", {}).items():
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _without_null(_inlined(found, definitions)),
        }
        if "description" in found:
            parameter["description"] = found["description"]
        yield parameter


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON schema
    """Put definitions in the places of references to them; those of queries are small."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return definitions[schema["$ref"].rpartition("/")[2]]
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inlined(value, definitions) for value in schema]
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop ``null``: a parameter that is not given is not there."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
        return {**rest, **kinds[0]}
    return schema


def _header(name: str, description: str, **limits: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **limits},
    }


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, shape in route.answers.items():
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": _answer_headers(route, status),
        }
        if shape is not None:
            content = {"application/json": {"schema": _reference(shape)}}
            responses[str(status)]["content"] = content
        elif route.is_stream and status == 200:
            responses["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        elif route.gives and status == 200:
            responses["200"]["content"] = {route.gives: {"schema": {"type": "string"}}}
    if route.is_conditional:
        responses["304"] = {
            "description": "Nothing has changed.",
            "headers": {**_answer_headers(route, 304)},
        }
    for status, codes in codes_by_status(_problems(route)).items():
        if status in route.answers:
            # A status that has a shape of its own, as that of /health when it is not well.
            continue
        responses[str(status)] = {
            "description": "; ".join(f"{title_of(code)} (`{code}`)" for code in codes),
            "content": {MEDIA_TYPE: {"schema": _reference(ProblemAnswer.__name__)}},
        }
    return dict(sorted(responses.items()))


def _answer_headers(route: Route, status: int) -> dict[str, Any]:
    text = {"type": "string"}
    headers: dict[str, Any] = {HEADER: {"description": "Finds its log lines.", "schema": text}}
    if route.is_conditional:
        headers["ETag"] = {"description": "Tag of this state.", "schema": text}
    if status in {201, 202}:
        headers["Location"] = {"description": "Address of what was started.", "schema": text}
    if route.waits:
        headers["Preference-Applied"] = {"description": "What was honoured.", "schema": text}
    return headers


def _problems(route: Route) -> list[type[AgencyError]]:
    kinds = [*_ALWAYS, *route.problems]
    if route.is_public:
        kinds.remove(errors.TokenMissing)
    if route.method != "GET":
        kinds.extend(_WRITING)
    if route.body is not None:
        kinds.extend(_WITH_BODY)
    if route.query is not None or route.is_idempotent or route.is_stream:
        kinds.append(errors.InvalidInput)
    return kinds


def _schemas(routes: Sequence[Route], shapes: Mapping[str, Any]) -> dict[str, Any]:
    models: dict[str, type[BaseModel]] = {ProblemAnswer.__name__: ProblemAnswer}
    for route in routes:
        if route.body is not None:
            models[route.body.__name__] = route.body
        for name in route.answers.values():
            if name is not None:
                models[name] = shapes[name]
    _, schema = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template=_REF
    )
    definitions: dict[str, Any] = schema["$defs"]
    return dict(sorted(definitions.items()))


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}
