"""``agency agents`` and ``agency tools``: who works here, and with what."""

from __future__ import annotations

from collections.abc import Iterable

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.runs import collect
from agency.cli.tree import Noun, Verb
from agency.core.names import DEFAULT_AGENT
from agency.core.suggestions import nearest


@click.group(
    cls=Noun,
    places={"ls": "agency.cli.agents:list_agents"},
    examples=("agency agents ls", "agency agents ls --json"),
)
@daemon_options
def agents() -> None:
    """See the agents that this daemon has."""


@click.command("ls", cls=Verb, examples=("agency agents ls", "agency agents ls --json"))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def list_agents(invocation: Invocation, limit: int) -> ExitCode:
    """List the agents by name, with their models and tools."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.agents(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"agents": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("agent", "model", "tools", "description"),
        [
            (one["name"], one["model"], ", ".join(one["tools"]) or "none", one["description"])
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


@click.group(
    cls=Noun,
    places={"ls": "agency.cli.agents:list_tools"},
    examples=("agency tools ls", "agency tools ls --agent writer"),
)
@daemon_options
def tools() -> None:
    """See the tools that agents may use."""


@click.command(
    "ls",
    cls=Verb,
    examples=("agency tools ls", "agency tools ls --agent writer", "agency tools ls --json"),
)
@click.option("--agent", help="For whom; the default agent without it.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=200, show_default=True, help="At most."
)
@daemon_options
@pass_invocation
def list_tools(invocation: Invocation, agent: str | None, limit: int) -> ExitCode:
    """List the tools by name, with what an agent may do with them."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.tools(agent=agent, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"tools": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("tool", "toolset", "permission", "effect", "sandbox", "description"),
        [
            (
                one["name"],
                one["toolset"],
                one["permission"],
                one["effect"],
                _weakest(one["levels"]),
                one["description"],
            )
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    if unknown := client.unknown_tools(agent):
        names = {name for one in found for name in (one["name"], one["toolset"])}
        told = "; ".join(_with_suggestion(one, names) for one in unknown)
        output.warn(f"[agents.{agent or DEFAULT_AGENT}] names what is no tool: {told}.")
    return ExitCode.OK


def _with_suggestion(name: str, known: Iterable[str]) -> str:
    likely = nearest(name, known)
    return f"{name!r} (did you mean {likely!r}?)" if likely else repr(name)


def _weakest(levels: dict[str, str]) -> str:
    """Say how far what a tool needs is in force, as a whole."""
    for level in ("absent", "partial"):
        lacking = [name for name, found in levels.items() if found == level]
        if lacking:
            return f"{level}: {', '.join(lacking)}"
    return "enforced" if levels else "-"
