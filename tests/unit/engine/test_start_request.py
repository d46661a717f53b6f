"""What is asked for stays the same on whose behalf it is asked for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from agency.engine.runs import StartRequest


def test_request_on_somebodys_behalf_differs_in_nothing_else() -> None:
    distinct: dict[str, Any] = {field.name: f"its {field.name}" for field in fields(StartRequest)}
    request = StartRequest(**distinct)
    caller: dict[str, Any] = {
        "idempotency_key": "k",
        "request_hash": "h",
        "correlation_id": "c",
        "principal": "ann",
    }

    assert replace(request, **caller) == request.asked_for(**caller)
