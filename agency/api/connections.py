"""``/api/v1/connections``: servers of tools, how they are, and calls of their tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.connection_shape import connection_json, outcome_json, tested_json, tool_json
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit
from agency.domain.connection import CONNECTION_NAME, ConnectionSetup
from agency.domain.login import LoginFlow
from agency.domain.setups import ENTRIES_MAX, TEXT_CHARACTERS_MAX
from agency.ports.connection import Connections, DirectCall
from agency.web.addresses import connection_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, NoBody, read_body
from agency.web.paging import cut_page, parse_text_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "connections"
PATH = "/api/v1/connections"

Text = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]
Texts = Annotated[list[Text], Field(max_length=ENTRIES_MAX)]
Table = Annotated[dict[str, Text], Field(max_length=ENTRIES_MAX)]


class SetupBody(Body):
    """How a server is reached: a ``command`` or a ``url``."""

    command: Text = ""
    args: Texts = Field(default_factory=list)
    env: Table = Field(
        default_factory=dict, description="Secrets as `secret://NAME`; plain ones are refused."
    )
    cwd: Text = Field(
        default="", description="Where it starts, and the folder it may write in the sandbox."
    )
    readable: Texts = Field(
        default_factory=list, description="What else it may read in the sandbox."
    )
    hosts: Texts = Field(
        default_factory=list, description="What it may connect to from the sandbox."
    )
    sandbox: bool = True
    url: Text = ""
    headers: Table = Field(
        default_factory=dict, description="Secrets as `Bearer secret://NAME`; no plain ones."
    )
    oauth: Literal["login", "client_credentials", "off"] = Field(
        default="login", description="How a token is come by, if headers have none."
    )
    oauth_client_id: Text = Field(
        default="", description="A client that is registered; empty: one is registered."
    )
    oauth_client_secret: Text = Field(default="", description="Its secret, as `secret://NAME`.")
    oauth_key: Text = Field(default="", description="Its private key, as `secret://NAME`.")
    oauth_algorithm: Text = Field(default="", description="What is signed with the key by.")
    oauth_scopes: Texts = Field(
        default_factory=list, description="What is asked for; empty: what the server demands."
    )
    oauth_issuer: Text = Field(default="", description="The one authorization server that will do.")
    timeout_s: float | None = Field(default=None, description="Longest call.")
    timeouts_s: dict[str, float] = Field(
        default_factory=dict, description="The same for single tools.", max_length=ENTRIES_MAX
    )
    concurrency: int | None = Field(default=None, description="Calls at once.")
    trust_hints: bool = Field(
        default=False, description="Let what the server says of its tools loosen what holds."
    )
    allow: Texts = Field(default_factory=list, description="Tools that need no approval.")
    ask: Texts = Field(default_factory=list, description="Tools that wait for approval.")
    deny: Texts = Field(default_factory=list, description="Tools that are refused.")
    repeatable: Texts = Field(
        default_factory=list, description="Tools whose interrupted calls are made again."
    )
    once: Texts = Field(
        default_factory=list, description="Tools whose interrupted calls are asked about."
    )
    elicitation: bool = Field(default=True, description="It may ask people.")
    sampling: bool = Field(default=True, description="It may ask the run's model.")
    roots: bool = Field(default=False, description="It is told the run's folder.")

    def setup(self) -> ConnectionSetup:
        """Make the record."""
        return ConnectionSetup(**{**dict(self), "oauth": LoginFlow(self.oauth)})


class NewConnectionBody(Body):
    """A connection that is to be added."""

    # Checked with everything else, which says in words what a name is.
    name: Annotated[str, Field(json_schema_extra={"pattern": f"^{CONNECTION_NAME.pattern}$"})]
    config: SetupBody
    is_active: bool = True
    test: bool = Field(
        default=True,
        description="Try it first, and add it only if it works, or would after a login.",
    )


class ConnectionChangeBody(Body):
    """What is to be different; ``config`` takes the place of all that was."""

    config: SetupBody | None = None
    is_active: bool | None = None
    test: bool = Field(default=False, description="Try it first, and change it only if it works.")


class ToolCallBody(Body):
    """A call of a tool by a person."""

    tool: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    answers: dict[str, Any] = Field(
        default_factory=dict, description="Of the questions of an earlier answer, by key."
    )
    state: Any = Field(default=None, description="`state` of that answer, unchanged.")


class ConnectionQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


def _connections(request: web.Request) -> Connections:
    connections = request.app[SERVICES].connections
    assert connections is not None
    return connections


def _key(request: web.Request) -> str:
    return request.match_info["id"]


async def list_connections(request: web.Request) -> web.Response:
    """List connections by name."""
    query = read_query(request, ConnectionQuery)
    after = parse_text_cursor("connections", query.cursor) if query.cursor is not None else ""
    rows = [one for one in _connections(request).list() if one.connection.name > after]
    page, cursor = cut_page("connections", rows, query.limit, lambda one: one.connection.name)
    shown = [connection_json(one) for one in page]
    return json_answer({"connections": shown, "next_cursor": cursor})


async def add_connection(request: web.Request) -> web.Response:
    """Add a connection."""
    body = await read_body(request, NewConnectionBody)
    view = await _connections(request).add(
        body.name, body.config.setup(), is_active=body.is_active, is_tested=body.test
    )
    headers = {"Location": connection_path(view.connection.name)}
    return json_answer(connection_json(view), status=201, headers=headers)


async def show_connection(request: web.Request) -> web.Response:
    """Read one connection, with the end of what its server has written to stderr."""
    connections, key = _connections(request), _key(request)
    return json_answer({**connection_json(connections.get(key)), "log": connections.log(key)})


async def change_connection(request: web.Request) -> web.Response:
    """Change a connection."""
    body = await read_body(request, ConnectionChangeBody)
    view = await _connections(request).change(
        _key(request),
        setup=None if body.config is None else body.config.setup(),
        is_active=body.is_active,
        is_tested=body.test,
    )
    return json_answer(connection_json(view))


async def remove_connection(request: web.Request) -> web.Response:
    """Forget a connection."""
    connections, key = _connections(request), _key(request)
    name = connections.get(key).connection.name
    await connections.remove(key)
    return json_answer({"name": name, "deleted": True})


async def test_connection(request: web.Request) -> web.Response:
    """Try a connection."""
    await read_body(request, NoBody, may_be_empty=True)
    return json_answer(tested_json(await _connections(request).test(_key(request))))


async def list_tools(request: web.Request) -> web.Response:
    """List the tools of a connection by name."""
    query = read_query(request, ConnectionQuery)
    after = parse_text_cursor("tools", query.cursor) if query.cursor is not None else ""
    tools = await _connections(request).tools(_key(request))
    rows = sorted(
        (one for one in tools if one.tool.full_name > after), key=lambda one: one.tool.full_name
    )
    page, cursor = cut_page("tools", rows, query.limit, lambda one: one.tool.full_name)
    return json_answer({"tools": [tool_json(one) for one in page], "next_cursor": cursor})


async def call_tool(request: web.Request) -> web.Response:
    """Call a tool, or go on with a call that has asked."""
    body = await read_body(request, ToolCallBody)
    call = DirectCall(
        tool=body.tool, arguments=body.arguments, answers=body.answers, state=body.state
    )
    return json_answer(outcome_json(await _connections(request).call(_key(request), call)))


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{id}"
    unknown = (errors.ConnectionNotFound,)
    refused = (errors.ConnectionNameTaken, errors.ConnectionsFull, errors.ConnectionFailed)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_connections,
            operation="list_connections",
            summary="List connections to servers of tools by name, with how they are",
            tag=TAG,
            query=ConnectionQuery,
            answers={200: "ConnectionPageAnswer"},
        ),
        Route(
            method="POST",
            path=PATH,
            answer=add_connection,
            operation="add_connection",
            summary="Add a connection to a server of tools",
            description="It is tried first, unless `test` is false, and opened without a restart. "
            "`config` has a `command` or a `url`; an address must be public, or allowed by "
            "`[mcp] allow_private`. Secrets are references into the vault, `secret://NAME`.",
            tag=TAG,
            body=NewConnectionBody,
            answers={201: "ConnectionAnswer"},
            problems=refused,
            examples={
                "files": {
                    "name": "files",
                    "config": {"command": "mcp-server-filesystem", "args": ["/data"]},
                }
            },
        ),
        Route(
            method="GET",
            path=one,
            answer=show_connection,
            operation="show_connection",
            summary="Read one connection, by its name or id, with the end of its server's log",
            tag=TAG,
            answers={200: "ConnectionShownAnswer"},
            problems=unknown,
        ),
        Route(
            method="PATCH",
            path=one,
            answer=change_connection,
            operation="change_connection",
            summary="Change a stored connection, or switch it off or on",
            description="It is opened anew. Connections of the configuration are changed there.",
            tag=TAG,
            body=ConnectionChangeBody,
            answers={200: "ConnectionAnswer"},
            problems=(*unknown, errors.ConnectionConfigured, errors.ConnectionFailed),
            examples={"off": {"is_active": False}},
        ),
        Route(
            method="DELETE",
            path=one,
            answer=remove_connection,
            operation="remove_connection",
            summary="Forget a stored connection and end its server",
            tag=TAG,
            answers={200: "ConnectionDeletedAnswer"},
            problems=(*unknown, errors.ConnectionConfigured),
        ),
        Route(
            method="POST",
            path=f"{one}/test",
            answer=test_connection,
            operation="test_connection",
            summary="Open a connection once more, list its tools and close it",
            description="One that waits for its next try, or has given up, is then tried at once.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "ConnectionTestAnswer"},
            problems=unknown,
        ),
        Route(
            method="GET",
            path=f"{one}/tools",
            answer=list_tools,
            operation="list_connection_tools",
            summary="List the tools of a connection",
            tag=TAG,
            query=ConnectionQuery,
            answers={200: "ConnectionToolPageAnswer"},
            problems=(*unknown, errors.ToolUnavailable),
        ),
        Route(
            method="POST",
            path=f"{one}/call",
            answer=call_tool,
            operation="call_connection_tool",
            summary="Call a tool of a connection",
            description="For people: nobody is asked for approval. A server that asks answers "
            "with `input_required`; send the same call again with `answers` and `state`.",
            tag=TAG,
            body=ToolCallBody,
            answers={200: "ToolOutcomeAnswer"},
            problems=(
                *unknown,
                errors.ToolNotFound,
                errors.ToolUnavailable,
                errors.ToolInterrupted,
            ),
            examples={"echo": {"tool": "echo", "arguments": {"message": "hello"}}},
        ),
    )
