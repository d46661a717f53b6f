"""What the bridge tells in headers, held against what the SDK's server demands."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value, validate_mcp_param_headers

from agency.cli.mirrored import Mirror

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {
            "type": "object",
            "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}},
        },
        "plain": {"type": "string"},
    },
}


def call(arguments: dict[str, Any], name: str = "tool") -> dict[str, Any]:
    return {"method": "tools/call", "params": {"name": name, "arguments": arguments}}


@given(st.text(), st.integers(), st.booleans())
def test_server_takes_the_headers_that_are_written(text: str, count: int, is_there: bool) -> None:
    mirror = Mirror()
    mirror.learn({"tools": [{"name": "tool", "inputSchema": SCHEMA}]})
    arguments: dict[str, Any] = {"deep": {"count": count}, "plain": "p"}
    if is_there:
        arguments["region"] = text

    headers = mirror.headers(call(arguments))

    assert validate_mcp_param_headers(SCHEMA, arguments, headers) is None


def test_name_that_is_no_ascii_is_wrapped() -> None:
    headers = Mirror().headers(call({}, "Größe"))

    assert headers["Mcp-Name"].isascii()
    assert decode_header_value(headers["Mcp-Name"]) == "Größe"


def test_request_without_parameters_has_its_method_alone() -> None:
    assert Mirror().headers({"method": "tools/list"}) == {"Mcp-Method": "tools/list"}
