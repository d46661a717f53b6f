"""The API's document and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from agency.api.application import all_routes
from agency.web.problems import STATUSES
from tests.integration.api.conftest import Daemon


@pytest.fixture
async def document(daemon: Daemon) -> dict[str, Any]:
    answer = await daemon.ask("GET", "/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


async def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)

    assert document["openapi"].startswith("3.1")


async def test_every_documented_route_is_in_the_document(document: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, item in document["paths"].items() for method in item}

    assert found == {
        (route.method, route.template) for route in all_routes() if route.is_documented
    }


async def test_every_code_is_explained(document: dict[str, Any]) -> None:
    explained = {problem["code"] for problem in document["x-problems"]}

    told = set()
    for item in document["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                told |= set(re.findall(r"\(`(\w+)`\)", answer["description"]))

    assert explained == {kind.code for kind in STATUSES}
    assert told <= explained


async def test_every_operation_tells_its_problems(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for method, operation in item.items():
            statuses = set(operation["responses"])
            assert {"400", "401", "403", "500"} <= statuses
            if method == "post" and "requestBody" in operation:
                assert {"408", "413", "415", "422", "503", "507"} <= statuses


async def test_answers_have_the_documented_shapes(daemon: Daemon, document: dict[str, Any]) -> None:
    run = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "asks"})
    await daemon.ask("POST", "/api/v1/workflows", json={"workflow_id": "w", "workflow": "asks"})
    detail = await daemon.ask("GET", "/api/v1/workflows/w", headers={"Prefer": "wait=5"})
    agent = await daemon.ask("POST", "/api/v1/agent/process", json={"message": "Hello"})
    paths = {
        "/health": "/health",
        "/health/live": "/health/live",
        "/api/v1/runs": "/api/v1/runs",
        "/api/v1/runs/{run_id}": f"/api/v1/runs/{run.json['id']}",
        "/api/v1/runs/{run_id}/steps": f"/api/v1/runs/{agent.json['run_id']}/steps",
        "/api/v1/workflows": "/api/v1/workflows",
        "/api/v1/workflows/{workflow_id}": "/api/v1/workflows/w",
        "/api/v1/workflows/snapshots": "/api/v1/workflows/snapshots",
        "/api/v1/workflows/snapshots/{snapshot_id}": (
            f"/api/v1/workflows/snapshots/{detail.json['snapshot_id']}"
        ),
        "/api/v1/definitions": "/api/v1/definitions",
        "/api/v1/tokens": "/api/v1/tokens",
    }
    for template, path in paths.items():
        answer = await daemon.ask("GET", path)
        media = document["paths"][template]["get"]["responses"][str(answer.status)]["content"]
        check(answer.json, media["application/json"]["schema"], document)
    media = document["paths"]["/api/v1/agent/process"]["post"]["responses"]["200"]["content"]
    check(agent.json, media["application/json"]["schema"], document)
    problem = await daemon.ask("POST", "/api/v1/runs", json={"input": 1})
    check(problem.json, {"$ref": "#/components/schemas/ProblemAnswer"}, document)


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Check a value, and that nothing of it is missing in the document, nor the other way round."""
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(
        value
    )
    name = schema["$ref"].rpartition("/")[2]
    if name != "ProblemAnswer":
        shape = document["components"]["schemas"][name]
        assert set(shape["required"]) <= set(value) <= set(shape["properties"])


async def test_the_page_stands_alone(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/docs")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", answer.text)
    assert "url(" not in answer.text
    assert "@import" not in answer.text


async def test_the_page_allows_nothing_but_its_own_script_and_style(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/docs")

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


async def test_documents_are_not_sent_twice(daemon: Daemon) -> None:
    for path in ("/docs", "/openapi.json"):
        first = await daemon.ask("GET", path)
        second = await daemon.ask("GET", path, headers={"If-None-Match": first.headers["ETag"]})
        assert (second.status, second.text) == (304, "")


async def test_the_root_shows_the_way(daemon: Daemon) -> None:
    page = await daemon.ask("GET", "/", headers={"Accept": "text/html,*/*"})
    program = await daemon.ask("GET", "/")

    assert (page.status, page.headers["Location"]) == (302, "/docs")
    assert program.json["links"]["openapi"] == "/openapi.json"
