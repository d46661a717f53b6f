"""What of a request over HTTP stands in its headers as well, for those in between who route it.

Source: MCP 2026-07-28, transports, sections "Standard Headers" and "Custom Headers".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

METHOD, NAME, PARAM = "Mcp-Method", "Mcp-Name", "Mcp-Param-"
ANNOTATION = "x-mcp-header"

TOOLS_MAX = 10_000
"""Tools whose headers are remembered."""

_NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    # Source: SEP-2663, section "Routing Headers".
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_SAFE = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WRAPPED = re.compile(r"=\?base64\?.*\?=")


class Mirror:
    """Knows which arguments of which tool are told in headers."""

    def __init__(self) -> None:
        self._tools: dict[str, Mapping[tuple[str, ...], str]] = {}

    def learn(self, listed: Mapping[str, Any]) -> None:
        """Take note of a list of tools that the client was given."""
        tools = listed.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and len(self._tools) < TOOLS_MAX:
                found = dict(_annotated(tool.get("inputSchema"), ()))
                self._tools[str(tool.get("name"))] = found

    def headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Give the headers of a request of the protocol 2026-07-28."""
        method, params = str(message.get("method", "")), message.get("params")
        headers = {METHOD: method}
        if not isinstance(params, dict):
            return headers
        name = params.get(_NAMED_BY.get(method, ""))
        if isinstance(name, str):
            headers[NAME] = _encode(name)
        if method == "tools/call":
            for path, token in self._tools.get(str(name), {}).items():
                written = _write(_at(params.get("arguments"), path))
                if written is not None:
                    headers[PARAM + token] = _encode(written)
        return headers


def _annotated(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: ANN401
    if not isinstance(schema, dict):
        return
    token = schema.get(ANNOTATION)
    if path and isinstance(token, str) and _TOKEN.fullmatch(token):
        yield path, token
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield from _annotated(inner, (*path, name))


def _at(value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401  JSON value
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _write(value: Any) -> str | None:  # noqa: ANN401  JSON value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None


def _encode(text: str) -> str:
    is_plain = _SAFE.fullmatch(text) and text == text.strip() and not _WRAPPED.fullmatch(text)
    return text if is_plain else f"=?base64?{base64.b64encode(text.encode()).decode()}?="
