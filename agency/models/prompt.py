"""Words that are added to prompts, the same for all providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.core import json


def schema_prompt(schema: Mapping[str, Any]) -> str:
    """Say to the model which schema its answer must obey."""
    written = json.encode(schema).decode()
    return f"Answer with one JSON value that obeys this JSON Schema:\n{written}"
