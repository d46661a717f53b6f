"""Write the reference pages of the REST interface and of errors, from the routes themselves.

Run by ``make docs`` in a checkout; a test compares the pages with what this would write.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agency.api import answers
from agency.api.application import all_routes
from agency.version import VERSION
from agency.web.openapi import make_document

_HTTP_HEAD = """\
# HTTP interface

This page is generated from the routes by `make docs`.
A running daemon serves the same as OpenAPI 3.1 at `/openapi.json`, and as a page with a form to \
try it at `/docs`; both work without a network.

## Habits

- Bodies and answers are JSON in UTF-8 with names in snake_case; moments are RFC 3339 in UTC; ids \
are UUIDs.
- Work is durable once it is accepted.
  A request that waits for it is answered with 202 and `Location` when its time is over; the work \
goes on, also when the caller hangs up.
- `Prefer: wait=N` (RFC 7240) chooses how long a request waits, up to `[server] sync_wait_s`; \
`Preference-Applied` says what was honoured.
- `Idempotency-Key` makes a request that starts something safe to repeat.
  The same key with the same request answers with the same run and `Idempotency-Replayed: true`; \
with another request it is refused.
- Lists are newest first (journals oldest first) and have a `next_cursor`, which is sent as \
`cursor` to get the next page.
- A run has an `ETag`; `If-None-Match` gives 304 while nothing has changed, and together with \
`Prefer: wait=N` holds the answer until something does.
- Unknown members and parameters are refused, with a suggestion.
- Every answer carries `X-Correlation-ID`, which is also on the daemon's log lines and on the runs \
that the request started; a caller's own `X-Correlation-ID` or `X-Request-ID` is taken over.
- What goes wrong is a problem document (RFC 9457); see [errors](errors.md).

## Access

A daemon on loopback needs no token, but a wrong one is refused.
Its `Host` must be `localhost`, a loopback address or one of `[server] allowed_hosts`.
Pages of other sites (`Origin`, `Sec-Fetch-Site`) change nothing.
Every other daemon wants `Authorization: Bearer TOKEN` with each request but those to \
`/health/live`, `/health/ready`, `/docs` and `/openapi.json`.
"""

_ERRORS_HEAD = """\
# Errors

This page is generated from `agency/errors.py` by `make docs`.

A request that does not succeed is answered with `application/problem+json`:

```json
{
  "type": "/docs#problem-run_not_found",
  "title": "Run not found",
  "status": 404,
  "detail": "There is no run '550e8400-e29b-41d4-a716-446655440000'.",
  "instance": "/api/v1/runs/550e8400-e29b-41d4-a716-446655440000",
  "code": "run_not_found",
  "hint": "List the runs with `agency runs ls`.",
  "run_id": "550e8400-e29b-41d4-a716-446655440000",
  "success": false,
  "error": "run_not_found",
  "message": "There is no run '550e8400-e29b-41d4-a716-446655440000'.",
  "correlationId": "5b0f6c2d9a3e-1f",
  "timestamp": "2026-01-01T00:00:00.000000Z"
}
```

`code` never changes its meaning, and `hint` says what to do.
`errors` lists all faults of an input as `{pointer, detail, hint}`.
Members such as `run_id` belong to the code; `links` has the addresses of what is named.

A failed run of the agent is told by the same codes to whoever waits for its answer.
The status is 422 when another request could have succeeded, 504 when a time limit was reached, \
409 when it was cancelled, else 502.

| code | status | what | hint |
| --- | --- | --- | --- |
"""


def generated() -> Mapping[str, str]:
    """Give each generated file's path in the checkout with its text."""
    document = make_document(all_routes(), shapes=vars(answers), version=VERSION)
    return {
        "docs/reference/http.md": "\n".join(_http(document)) + "\n",
        "docs/reference/errors.md": _ERRORS_HEAD + "".join(_problem_rows(document)),
    }


def write(root: Path) -> list[str]:
    """Write the files that differ, and name them."""
    written = []
    for name, text in generated().items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(name)
    return written


def _http(document: Mapping[str, Any]) -> Iterator[str]:
    yield _HTTP_HEAD
    schemas = document["components"]["schemas"]
    for tag in document["tags"]:
        yield f"## {tag['name'].capitalize()}\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation["tags"] == [tag["name"]]:
                    yield from _operation(f"{method.upper()} {path}", operation, schemas)


def _operation(
    name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{operation['summary']}."
    if "description" in operation:
        yield operation["description"]
    yield ""
    parameters = [
        (each["name"], each["in"], each["schema"], each["required"], each.get("description", ""))
        for each in operation["parameters"]
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        shape = schemas[_name(body["schema"])]
        needed = shape.get("required", ())
        parameters += [
            (member, "body", schema, member in needed, schema.get("description", ""))
            for member, schema in shape.get("properties", {}).items()
        ]
    if parameters:
        yield "| name | in | kind | |"
        yield "| --- | --- | --- | --- |"
        for member, place, schema, is_needed, text in parameters:
            mark = " (needed)" if is_needed else ""
            yield f"| `{member}`{mark} | {place} | {_cell(_kind(schema))} | {_cell(text)} |"
        yield ""
    for example in (body or {}).get("examples", {}).values():
        yield "```json"
        yield json.dumps(example["value"], indent=2, ensure_ascii=False)
        yield "```\n"
    yield "| status | answer |"
    yield "| --- | --- |"
    for status, answer in operation["responses"].items():
        yield f"| {status} | {_cell(_answer(answer, schemas))} |"
    yield ""


def _answer(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    content = answer.get("content", {}).get("application/json")
    if content is None:
        return str(answer["description"])
    shape = schemas[_name(content["schema"])]
    members = ", ".join(f"`{member}`" for member in shape.get("properties", {}))
    return f"{shape.get('description', '').partition(chr(10))[0]} {members}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(str(each) for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = str(schema.get("format") or schema.get("type") or "any JSON")
    bounds = [
        f"{word} {schema[key]:g}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("maxLength", "characters up to"),
        )
        if key in schema
    ]
    return ", ".join([kind, *bounds])


def _problem_rows(document: Mapping[str, Any]) -> Iterator[str]:
    for problem in document["x-problems"]:
        cells = (f"`{problem['code']}`", problem["status"], problem["description"], problem["hint"])
        yield "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |\n"


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for written_name in write(Path.cwd()):
        sys.stdout.write(f"{written_name}\n")
