"""What the suite for MCP servers wants is there, also where the suite is not."""

from __future__ import annotations

from pathlib import Path

from agency.engine.registry import load_registry

FILE = Path(__file__).parents[3] / "examples" / "conformance" / "mcp_fixtures.py"


def test_fixtures_of_the_suite_load_as_any_file_does() -> None:
    registry = load_registry([FILE])

    assert [] == registry.failures
    tools = {offer.name for offer in registry.offers.list("tool")}
    workflows = {definition.name for definition in registry}
    assert {"test_simple_text", "test_reconnection", "failing_job", "test_tool_with_task"} <= tools
    assert {"slow_compute", "confirm_delete", "multi_input"} <= workflows
    assert 5 == len(registry.offers.list("prompt"))
    assert ["test://template/{id}/data"] == [
        offer.name for offer in registry.offers.list("resource") if offer.is_template
    ]
