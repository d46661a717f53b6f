"""``agency mcp``: servers of tools, how they are, and their tools called by hand."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.runs import collect
from agency.cli.tree import Noun, Verb
from agency.documents import (
    ConnectionDocument,
    ConnectionTestDocument,
    ToolOutcomeDocument,
    ToolQuestionDocument,
)
from agency.errors import ConnectionFailed

DESCRIPTION_SHOWN = 80


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.mcp:ls",
        "show": "agency.cli.mcp:show",
        "add": "agency.cli.mcp:add",
        "rm": "agency.cli.mcp:rm",
        "enable": "agency.cli.mcp:enable",
        "disable": "agency.cli.mcp:disable",
        "test": "agency.cli.mcp:test",
        "login": "agency.cli.mcp_login:login",
        "logout": "agency.cli.mcp_login:logout",
        "tools": "agency.cli.mcp:tools",
        "call": "agency.cli.mcp:call",
        "serve": "agency.cli.mcp_serve:serve",
    },
    examples=(
        "agency mcp ls",
        "agency mcp add files --cwd /data -- mcp-server-filesystem /data",
        "agency mcp add search --http https://mcp.example.org/mcp",
        "agency mcp tools files",
        'agency mcp call files list_directory \'{"path": "/data"}\'',
        "agency mcp serve",
    ),
)
@daemon_options
def mcp() -> None:
    """Connect to MCP servers, see how they are, call their tools; or be one."""


@click.command(cls=Verb, examples=("agency mcp ls", "agency mcp ls --json"))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List connections by name, with how they are."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.connections(limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"connections": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("name", "state", "tools", "reached by", "reason"),
        [
            (
                one["name"],
                one["state"],
                str(len(one["tools"])),
                _place_of(one),
                one["reason"] or "-",
            )
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


def _place_of(one: ConnectionDocument) -> str:
    config = one["config"]
    return str(config["url"] or " ".join([config["command"], *config["args"]]))


@click.command(cls=Verb, examples=("agency mcp show files",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one connection: how it is, and the end of what its server has written to stderr."""
    output = invocation.output
    one = invocation.client().connection(name)
    if output.is_json:
        output.document(one)
        return ExitCode.OK
    rows: Mapping[str, object] = {
        "name": one["name"],
        "id": one["id"],
        "state": f"{one['state']} since {one['since']}",
        "reason": one["reason"],
        "next try": one["retry_at"],
        "reached by": _place_of(one),
        "server": one["server"],
        "protocol": one["protocol"],
        "process": one["pid"],
        "sandbox": one["sandbox"],
        "origin": one["origin"],
        "tools": ", ".join(one["tools"]),
        "last error": f"{one['last_error']} ({one['last_error_at']})" if one["last_error"] else "",
    }
    for key, value in rows.items():
        if value not in {None, ""}:
            output.text(f"{key + ':':<12} {value}")
    if one["log"]:
        output.text("log:")
        for line in one["log"].splitlines():
            output.text(f"  {line}")
    return ExitCode.OK


def _pairs(texts: Sequence[str], mark: str, option: str) -> dict[str, str]:
    """Read ``KEY=value`` or ``Name: value``.

    Raises:
        click.UsageError: the mark is missing.
    """
    found = {}
    for text in texts:
        key, sign, value = text.partition(mark)
        if not sign or not key.strip():
            # Not repeated: it may be a secret.
            raise click.UsageError(f"{option} takes KEY{mark}VALUE.")
        found[key.strip()] = value.strip()
    return found


@click.command(
    cls=Verb,
    examples=(
        "agency mcp add files --cwd /data -- mcp-server-filesystem /data",
        "agency mcp add github --env GITHUB_TOKEN=secret://github-token -- github-mcp-server stdio",
        "agency mcp add search --http https://mcp.example.org/mcp "
        '--header "Authorization: Bearer secret://search-token"',
        "agency mcp add tracker --http https://mcp.example.org/mcp --scope issues:read",
    ),
)
@click.argument("name", metavar="NAME")
@click.argument("command", nargs=-1, metavar="[-- COMMAND ARGUMENT…]")
@click.option("--http", "address", metavar="URL", help="Address of a server to speak with.")
@click.option("--env", multiple=True, help="KEY=VALUE for the program; secrets as secret://NAME.")
@click.option("--header", multiple=True, help='"Name: value"; secrets as secret://NAME.')
@click.option("--client-id", default="", help="Client that is registered where one logs in.")
@click.option("--client-secret", default="", help="Its secret, as secret://NAME.")
@click.option("--client-key", default="", help="Its private key in PEM, as secret://NAME.")
@click.option("--own-login", is_flag=True, help="Let the daemon log in by itself, with these.")
@click.option("--issuer", default="", help="The one authorization server that will do.")
@click.option("--scope", multiple=True, help="What is asked for when one logs in.")
@click.option("--cwd", default="", help="Folder it starts in, and may write in the sandbox.")
@click.option("--readable", multiple=True, help="What else it may read in the sandbox.")
@click.option("--host", multiple=True, help="What it may connect to from the sandbox.")
@click.option("--no-sandbox", is_flag=True, help="Run the program outside of the sandbox.")
@click.option("--timeout", type=SPAN, help="Longest call (90s, 5m).")
@click.option("--trust-hints", is_flag=True, help="Believe it which of its tools only read.")
@click.option("--allow", multiple=True, help="Tools that need no approval (names, with * and ?).")
@click.option("--roots", is_flag=True, help="Tell it the folder of the run.")
@click.option("--no-test", is_flag=True, help="Add it without trying it.")
@daemon_options
@pass_invocation
def add(
    invocation: Invocation,
    /,
    name: str,
    command: tuple[str, ...],
    **given: Any,  # noqa: ANN401  click's own
) -> ExitCode:
    """Add a connection: it is tried, stored, and open at once.

    A program runs in the sandbox without any network, where it may read the system and its own
    installation and write --cwd. What it needs beside that is named with --readable and --host.
    """
    output = invocation.output
    if bool(command) == bool(given["address"]):
        raise click.UsageError("Name either a command, after --, or --http URL.")
    config = {
        "command": command[0] if command else "",
        "args": list(command[1:]),
        "url": given["address"] or "",
        "env": _pairs(given["env"], "=", "--env"),
        "headers": _pairs(given["header"], ":", "--header"),
        **_login_of(given),
        "cwd": given["cwd"],
        "readable": list(given["readable"]),
        "hosts": list(given["host"]),
        "sandbox": not given["no_sandbox"],
        "timeout_s": given["timeout"],
        "trust_hints": given["trust_hints"],
        "allow": list(given["allow"]),
        "roots": given["roots"],
    }
    try:
        with output.busy(f"trying {name}"):
            added = invocation.client().add_connection(name, config, is_tested=not given["no_test"])
    except ConnectionFailed as error:
        _tell_log(output, str(vars(error).get("log", "")))
        raise
    if output.is_json:
        output.document(added)
    elif given["no_test"]:
        output.note(f"The connection {name!r} is added. See how it is: agency mcp show {name}")
    elif not added["tools"] and invocation.client().connection_login(name)["state"] == "needed":
        output.note(f"The connection {name!r} is added. Its server demands a login:")
        output.note(f"  agency mcp login {name}")
    else:
        output.note(f"The connection {name!r} works: {_count(added['tools'])}.")
    return ExitCode.OK


def _login_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of the login."""
    return {
        "oauth": "client_credentials" if given["own_login"] else "login",
        "oauth_client_id": given["client_id"],
        "oauth_client_secret": given["client_secret"],
        "oauth_key": given["client_key"],
        "oauth_issuer": given["issuer"],
        "oauth_scopes": list(given["scope"]),
    }


def _count(tools: Sequence[str]) -> str:
    return f"{len(tools)} {'tool' if len(tools) == 1 else 'tools'}"


def _tell_log(output: Output, text: str) -> None:
    """Show what a server has said; people need it to mend what is wrong."""
    if text and not output.is_json:
        for line in text.splitlines()[-20:]:
            output.note(f"  {line}")


@click.command(cls=Verb, examples=("agency mcp rm files",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, name: str) -> ExitCode:
    """Forget a connection, and end its server."""
    output = invocation.output
    invocation.client().remove_connection(name)
    if output.is_json:
        output.document({"name": name, "deleted": True})
    else:
        output.note(f"The connection {name!r} is gone.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency mcp disable files",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def disable(invocation: Invocation, name: str) -> ExitCode:
    """Close a connection and keep it; it stays so over restarts."""
    return _switch(invocation, name, is_active=False)


@click.command(cls=Verb, examples=("agency mcp enable files",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def enable(invocation: Invocation, name: str) -> ExitCode:
    """Open a connection again."""
    return _switch(invocation, name, is_active=True)


def _switch(invocation: Invocation, name: str, *, is_active: bool) -> ExitCode:
    output = invocation.output
    changed = invocation.client().change_connection(name, is_active=is_active)
    if output.is_json:
        output.document(changed)
    else:
        output.note(f"The connection {name!r} is {changed['state']}.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency mcp test files",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def test(invocation: Invocation, name: str) -> ExitCode:
    """Open a connection once more, list its tools and close it. Ends with 1 if it does not work."""
    output = invocation.output
    with output.busy(f"trying {name}"):
        tested = invocation.client().test_connection(name)
    if output.is_json:
        output.document(tested)
    else:
        _tell_test(output, name, tested)
    return ExitCode.OK if tested["works"] else ExitCode.FAILED


def _tell_test(output: Output, name: str, tested: ConnectionTestDocument) -> None:
    if not tested["works"]:
        _tell_log(output, tested["log"])
        output.complaint(f"The connection {name!r} does not work: {tested['reason'].rstrip('.')}.")
        return
    server = tested["server"] or "a server without a name"
    output.text(
        f"{server}, MCP {tested['protocol']}, {_count(tested['tools'])}, "
        f"{tested['elapsed_s']:.2f} s"
    )


@click.command(cls=Verb, examples=("agency mcp tools files", "agency mcp tools files --json"))
@click.argument("name", metavar="NAME")
@click.option("--limit", type=click.IntRange(min=1), default=500, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def tools(invocation: Invocation, name: str, limit: int) -> ExitCode:
    """List the tools of a connection, and what holds for their calls."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.connection_tools(name, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"tools": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("name", "agents", "interrupted", "description"),
        [
            (one["name"], one["permission"], one["effect"], _first_line(one["description"]))
            for one in found
        ],
    )
    return ExitCode.OK


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= DESCRIPTION_SHOWN else f"{line[: DESCRIPTION_SHOWN - 1]}…"


@click.command(
    cls=Verb,
    examples=(
        'agency mcp call files list_directory \'{"path": "/data"}\'',
        "agency mcp call files read_text_file @arguments.json",
    ),
)
@click.argument("name", metavar="NAME")
@click.argument("tool", metavar="TOOL")
@click.argument("arguments", metavar="[ARGUMENTS]", default="{}")
@click.option("--timeout", type=SPAN, default=120.0, help="Longest wait (90s, 5m).")
@daemon_options
@pass_invocation
def call(invocation: Invocation, name: str, tool: str, arguments: str, timeout: float) -> ExitCode:
    """Call a tool by hand, with its ARGUMENTS as JSON. Ends with 1 if the tool says it failed.

    What the server asks in the middle of the call is asked here, on a terminal; elsewhere the
    command ends with 6.
    """
    client, output = invocation.client(), invocation.output
    given = read_json(arguments, "ARGUMENTS")
    if not isinstance(given, dict):
        raise click.UsageError("ARGUMENTS must be a JSON object.")
    outcome = client.call_tool(name, tool, given, timeout_s=timeout)
    until_s = time.monotonic() + timeout
    while _goes_on(output, outcome, until_s):
        answers = {one["key"]: _ask(output, one) for one in outcome["questions"]}
        outcome = client.call_tool(
            name, tool, given, answers=answers, state=outcome.get("state"), timeout_s=timeout
        )
    return _tell_outcome(output, outcome)


def _goes_on(output: Output, outcome: ToolOutcomeDocument, until_s: float) -> bool:
    """Tell whether a call is to be made again: with answers, or to look at its task."""
    if outcome["status"] == "working":
        return time.monotonic() < until_s
    return outcome["status"] == "input_required" and _can_ask(output)


def _can_ask(output: Output) -> bool:
    return not output.is_json and sys.stdin is not None and sys.stdin.isatty()


def _ask(output: Output, question: ToolQuestionDocument) -> Any:  # noqa: ANN401  JSON value
    """Put a question on the terminal; an empty answer declines."""
    output.note(question["prompt"])
    if question["kind"] == "model":
        for message in question["messages"]:
            output.note(f"  {message['role']}: {message['content']}")
        return {"content": click.prompt("Answer for the model", err=True)}
    properties = (question["schema"] or {}).get("properties") or {}
    if not properties:
        return click.confirm("Done?", err=True)
    answers = {}
    for key, part in properties.items():
        told = part.get("description") or part.get("title") or key
        text = click.prompt(told, default="", show_default=False, err=True)
        if text:
            answers[key] = _typed(text, part.get("type", "string"))
    return answers or None


def _typed(text: str, kind: str) -> Any:  # noqa: ANN401  JSON value
    """Read what was typed as the form wants it; the server judges what does not fit."""
    if kind == "boolean":
        return text.strip().lower() in {"y", "yes", "true", "1"}
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    return text


def _tell_outcome(output: Output, outcome: ToolOutcomeDocument) -> ExitCode:
    status = outcome["status"]
    if output.is_json:
        output.document(outcome)
    elif status == "working":
        output.complaint("The server has not ended the task that it has made of the call.")
    elif status == "input_required":
        for one in outcome["questions"]:
            output.complaint(f"The server asks: {one['prompt']}")
    elif status == "failed":
        output.complaint(outcome["content"])
    else:
        output.text(outcome["content"])
    if status in {"input_required", "working"}:
        return ExitCode.WAITING
    return ExitCode.FAILED if status == "failed" else ExitCode.OK
