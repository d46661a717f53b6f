"""A client for the MCP client suite: it drives the connections of the daemon, and is their person.

``python conformance/mcp_client.py URL``, started by the suite for each scenario, whose name is in
``MCP_CONFORMANCE_SCENARIO``; ``MCP_CONFORMANCE_CONTEXT`` has what a scenario hands over as JSON.

Everything is as it is in the daemon: a database and a vault in a folder of its own, the connection
in the configuration, private places allowed by ``[mcp] allow_private``. What stands here is only
what a person would do: log in where it is demanded, call tools, answer questions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from agency.config.schema import Settings
from agency.core.addresses import parse_rule
from agency.core.clock import SystemClock
from agency.core.json import decode
from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.login import LoginFlow
from agency.domain.tool import Asks, Question, ToolOutput
from agency.errors import AgencyError, LoginFailed, ToolUnavailable
from agency.ports.connection import DirectCall, ToolView
from agency.storage.sqlite.store import open_store
from agency.tools.mcp.connections import McpConnections
from agency.tools.mcp.means import Means
from agency.tools.toolsets import ToolsetRegistry
from agency.vault.opening import open_vault

NAME = "suite"
LOGINS_MAX = 3
READY_S = 150.0
CALLS_MAX = 8
CLIENT_DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""Address that the suite takes for the document of a client."""


class NoSandbox:
    """Stands where the sandbox would be, which no server over HTTP needs."""

    name = "none"

    async def ready(self) -> None:
        """Is ready."""


@dataclass(frozen=True)
class Suite:
    """What the suite says."""

    scenario: str
    url: str
    context: Mapping[str, Any]


def read_suite() -> Suite:
    context = decode(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    return Suite(os.environ.get("MCP_CONFORMANCE_SCENARIO", ""), sys.argv[-1], context)


async def make_setup(
    suite: Suite, keep: Callable[[str, str], Awaitable[object]]
) -> ConnectionSetup:
    """Make the section ``[mcp.servers.suite]`` that a person would write for the scenario."""
    setup = ConnectionSetup(url=suite.url, timeout_s=30.0)
    context = suite.context
    if suite.scenario == "auth/basic-cimd":
        return replace(setup, oauth_client_id=CLIENT_DOCUMENT)
    if "client_id" not in context:
        return setup
    own = {"oauth_client_id": context["client_id"], "oauth_issuer": context.get("issuer", "")}
    if suite.scenario.startswith("auth/client-credentials"):
        own |= {"oauth": LoginFlow.CLIENT_CREDENTIALS}
    if "private_key_pem" in context:
        await keep("suite-key", context["private_key_pem"])
        own |= {
            "oauth_key": "secret://suite-key",
            "oauth_algorithm": context.get("signing_algorithm", ""),
        }
    if "client_secret" in context:
        await keep("suite-secret", context["client_secret"])
        own |= {"oauth_client_secret": "secret://suite-secret"}
    return replace(setup, **own)


@asynccontextmanager
async def opened(suite: Suite, folder: Path) -> AsyncIterator[McpConnections]:
    """Open the connections of a daemon that has this one."""
    clock = SystemClock()
    settings = Settings()
    settings = replace(settings, server=replace(settings.server, data_dir=str(folder)))
    stored = replace(settings.store, free_bytes_min=0)
    sandbox: Any = NoSandbox()
    async with open_store(folder / "agency.db", settings=stored, clock=clock) as store:
        vault = await open_vault(settings, clock, store=store.secrets)

        async def keep(name: str, value: str) -> None:
            await vault.set(name, value, principal="owner")

        setup = await make_setup(suite, keep)
        means = Means(
            clock=clock,
            store=store.connections,
            vault=vault,
            sandbox=sandbox,
            environ=dict(os.environ),
            folder=folder / "mcp",
            private=[parse_rule("localhost"), parse_rule("127.0.0.1")],
            own_port=7400,
            own_hosts=frozenset(),
            timeout_s=30.0,
            connect_timeout_s=120.0,
            concurrency=8,
        )
        connections = McpConnections(means, {NAME: (setup, True)}, ToolsetRegistry())
        async with connections.opened():
            connections.begin()
            yield connections


class Person:
    """Somebody in front of the daemon."""

    def __init__(self, connections: McpConnections) -> None:
        self._connections = connections
        self._logins = 0

    async def ready(self) -> None:
        """Wait for the connection, and log in where that is demanded."""
        async with asyncio.timeout(READY_S):
            while True:
                status = self._connections.get(NAME).status
                match status.state:
                    case ConnectionState.READY:
                        return
                    case ConnectionState.LOGIN:
                        await self.log_in()
                    case ConnectionState.BROKEN:
                        raise ToolUnavailable(status.reason)
                await asyncio.sleep(0.02)

    async def log_in(self) -> None:
        """Open the address in a browser that needs no password, and come back."""
        self._logins += 1
        if self._logins > LOGINS_MAX:
            raise LoginFailed(NAME, "this was often enough")
        started = await self._connections.begin_login(NAME)
        async with httpx2.AsyncClient(trust_env=False, timeout=60.0) as browser:
            answer = await browser.get(started.url, follow_redirects=False)
        await self._connections.finish_login(NAME, answer.headers["location"])
        while self._connections.get(NAME).status.state is ConnectionState.LOGIN:  # noqa: ASYNC110  as people look
            await asyncio.sleep(0.02)

    async def tools(self) -> list[ToolView]:
        await self.ready()
        return list(await self._connections.tools(NAME))

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutput:
        """Call a tool, and answer what is asked; a login that is demanded is done."""
        answers: Mapping[str, Any] = {}
        state: Any = None
        for _ in range(CALLS_MAX):
            await self.ready()
            call = DirectCall(tool=tool, arguments=arguments, answers=answers, state=state)
            try:
                outcome = await self._connections.call(NAME, call)
            except ToolUnavailable as error:
                if "login" not in error.message:
                    raise
                await self.log_in()
                continue
            if not isinstance(outcome, Asks):
                return outcome
            answers = {one.key: answer_of(one) for one in outcome.questions}
            state = outcome.state
        raise ToolUnavailable("It has asked often enough.")


def answer_of(question: Question) -> Any:  # noqa: ANN401  JSON
    """Answer as somebody who takes what is proposed and says yes to the rest."""
    if question.kind == "model":
        return {"content": "four", "model": "suite"}
    properties = (question.schema or {}).get("properties")
    if properties is None:
        return True
    required = set((question.schema or {}).get("required", ()))
    return {
        name: _value_of(part)
        for name, part in properties.items()
        if "default" not in part and (name in required or part.get("type") == "boolean")
    }


def _value_of(part: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
    if "enum" in part:
        return part["enum"][0]
    return {"boolean": True, "integer": 1, "number": 1.0}.get(part.get("type", ""), "text")


async def play(suite: Suite, person: Person) -> None:
    """Do what the scenario wants to see."""
    tools = await person.tools()
    names = {one.tool.name: one.tool for one in tools}
    for planned in suite.context.get("toolCalls", ()):
        # Null is no value of the tool's schema; a person leaves such a field empty.
        given = {key: one for key, one in planned["arguments"].items() if one is not None}
        await person.call(planned["name"], given)
    if suite.context.get("toolCalls"):
        return
    if "json_schema_echo" in names:
        focal = names["json_schema_2020_12_tool"]
        await person.call("json_schema_echo", {"schema": focal.parameters})
        return
    for name, tool in names.items():
        if suite.scenario != "json-schema-ref-no-deref":
            await person.call(name, arguments_of(tool.parameters))


def arguments_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in what a tool needs."""
    numbers = {"a": 5, "b": 3}
    properties = schema.get("properties", {})
    return {
        name: numbers.get(name, _value_of(properties.get(name, {})))
        for name in schema.get("required", properties)
    }


async def main() -> int:
    suite = read_suite()
    with tempfile.TemporaryDirectory(prefix="mcp-client-") as folder:
        async with opened(suite, Path(folder)) as connections:
            try:
                await play(suite, Person(connections))
            except AgencyError as error:
                sys.stderr.write(f"{error.message}\n")
                return 1
    return 0


if __name__ == "__main__":
    level = logging.DEBUG if os.environ.get("MCP_CLIENT_DEBUG") else logging.WARNING
    logging.basicConfig(level=level)
    sys.exit(asyncio.run(main()))
