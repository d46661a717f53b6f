"""``agency memory``: what agents remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_pipe_text
from agency.cli.results import report, tell_interrupted
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.documents import RecalledDocument, RecollectionDocument

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN_CHARACTERS = 70


@click.group(
    cls=Noun,
    places={
        "show": "agency.cli.memory:show",
        "edit": "agency.cli.memory:edit",
        "history": "agency.cli.memory:history",
        "revert": "agency.cli.memory:revert",
        "recall": "agency.cli.memory:recall",
        "ls": "agency.cli.memory:ls",
        "add": "agency.cli.memory:add",
        "rm": "agency.cli.memory:rm",
        "reembed": "agency.cli.memory:reembed",
    },
    examples=(
        "agency memory show default",
        "agency memory edit default user 'Ann. Likes short answers.'",
        "agency memory add default 'The invoices are in the blue folder.'",
        "agency memory recall default 'where are the invoices?'",
    ),
)
@daemon_options
def memory() -> None:
    """See and change what agents know in every conversation, and what they can find."""


def whose_options(command: Command) -> Command:
    """Add the options that say whose memory is meant."""
    options = (
        click.option("--principal", help="Of which caller, where they are kept apart."),
        click.option("--session", help="Of which session, where they are kept apart."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=Verb, examples=("agency memory show default",))
@click.argument("agent")
@whose_options
@daemon_options
@pass_invocation
def show(
    invocation: Invocation, agent: str, principal: str | None, session: str | None
) -> ExitCode:
    """Show an agent's core memory."""
    output = invocation.output
    found = invocation.client().memory(agent, principal=principal, session=session)
    if output.is_json:
        output.document(found)
        return ExitCode.OK
    for block in found["blocks"]:
        text = block["text"] or ""
        output.text(
            f"{block['name']}  (version {block['version']}, {block['changed_at']}, by "
            f"{block['changed_by']}{_run(block['run_id'])}, {len(text)} of "
            f"{found['characters_max']} characters)"
        )
        output.text("".join(f"  {line}\n" for line in text.splitlines()).rstrip("\n"))
    if not found["blocks"]:
        output.note(f"The agent {agent!r} has no core memory.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency memory edit default user 'Ann. Likes short answers.'",
        "agency memory edit default style < style.txt",
        "agency memory edit default user ''",
    ),
)
@click.argument("agent")
@click.argument("block")
@click.argument("text", required=False)
@click.option("--expected", type=click.IntRange(min=0), help="Refuse if there is a newer version.")
@click.option("--reason", default="", help="Why; it is kept with the version.")
@whose_options
@daemon_options
@pass_invocation
def edit(
    invocation: Invocation,
    agent: str,
    block: str,
    text: str | None,
    expected: int | None,
    reason: str,
    principal: str | None,
    session: str | None,
) -> ExitCode:
    """Write a block of core memory, from the command line or stdin; an empty text removes it."""
    output = invocation.output
    written = invocation.client().write_block(
        agent,
        block,
        read_pipe_text() if text is None else text,
        expected=expected,
        reason=reason,
        principal=principal,
        session=session,
    )
    if output.is_json:
        output.document(written)
    elif written["text"] is None:
        output.note(f"The block {block!r} is removed.")
    else:
        output.note(f"The block {block!r} has version {written['version']}.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency memory history default user",))
@click.argument("agent")
@click.argument("block")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@whose_options
@daemon_options
@pass_invocation
def history(
    invocation: Invocation,
    agent: str,
    block: str,
    limit: int,
    principal: str | None,
    session: str | None,
) -> ExitCode:
    """List the versions of a block: who has changed it, in which run, when and why."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.block_versions(
            agent, block, limit=rows, cursor=cursor, principal=principal, session=session
        ),
        limit,
    )
    if output.is_json:
        output.document({"versions": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("version", "changed", "by", "run", "reason", "text"),
        [
            (
                str(one["version"]),
                one["changed_at"],
                one["changed_by"],
                one["run_id"] or "-",
                one["reason"] or "-",
                "(removed)" if one["text"] is None else shorten(one["text"]),
            )
            for one in found
        ],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency memory revert default user 3",))
@click.argument("agent")
@click.argument("block")
@click.argument("version", type=click.IntRange(min=1))
@whose_options
@daemon_options
@pass_invocation
def revert(
    invocation: Invocation,
    agent: str,
    block: str,
    version: int,
    principal: str | None,
    session: str | None,
) -> ExitCode:
    """Bring an older version of a block back, as a new one."""
    output = invocation.output
    reverted = invocation.client().revert_block(
        agent, block, version, principal=principal, session=session
    )
    if output.is_json:
        output.document(reverted)
    else:
        output.note(f"Version {version} is back as version {reverted['version']}.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency memory recall default 'where are the invoices?'",
        "agency memory recall default invoices --limit 3 --json",
    ),
)
@click.argument("agent")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 50), help="Results.")
@whose_options
@daemon_options
@pass_invocation
def recall(
    invocation: Invocation,
    agent: str,
    query: str,
    limit: int | None,
    principal: str | None,
    session: str | None,
) -> ExitCode:
    """Find what an agent knows: its facts, and what its notebooks say."""
    found = invocation.client().recall(
        agent, query, limit=limit, principal=principal, session=session
    )
    return show_found(invocation.output, found)


@click.command(cls=Verb, examples=("agency memory ls default",))
@click.argument("agent")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@whose_options
@daemon_options
@pass_invocation
def ls(
    invocation: Invocation, agent: str, limit: int, principal: str | None, session: str | None
) -> ExitCode:
    """List the facts that an agent has remembered, the newest first."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.facts(
            agent, limit=rows, cursor=cursor, principal=principal, session=session
        ),
        limit,
    )
    if output.is_json:
        output.document({"facts": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("id", "remembered", "source", "fact"),
        [(one["id"], one["created_at"], one["source"], shorten(one["text"])) for one in found],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency memory add default 'The invoices are in the blue folder.'",)
)
@click.argument("agent")
@click.argument("fact")
@click.option("--source", default="", help="Where it is from.")
@whose_options
@daemon_options
@pass_invocation
def add(
    invocation: Invocation,
    agent: str,
    fact: str,
    source: str,
    principal: str | None,
    session: str | None,
) -> ExitCode:
    """Let an agent know something. The same twice is once."""
    output = invocation.output
    added = invocation.client().add_fact(
        agent, fact, source=source, principal=principal, session=session
    )
    if output.is_json:
        output.document(added)
        return ExitCode.OK
    output.text(added["id"])
    if added.get("note"):
        output.warn(f"It is found by its words only for now: {added['note']}")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency memory rm default FACT",))
@click.argument("agent")
@click.argument("fact_id", metavar="FACT")
@whose_options
@daemon_options
@pass_invocation
def rm(
    invocation: Invocation, agent: str, fact_id: str, principal: str | None, session: str | None
) -> ExitCode:
    """Let an agent forget a fact."""
    output = invocation.output
    invocation.client().delete_fact(agent, fact_id, principal=principal, session=session)
    if output.is_json:
        output.document({"id": fact_id, "deleted": True})
    else:
        output.note("It is forgotten.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=("agency memory reembed", "agency memory reembed --model mxbai-embed-large"),
)
@click.option("--model", help="Else [memory] embedding_model.")
@click.option("--timeout", type=SPAN, help="Wait no longer; the run goes on.")
@daemon_options
@pass_invocation
def reembed(invocation: Invocation, model: str | None, timeout: float | None) -> ExitCode:
    """Give all memories and notebooks vectors of one model, and wait for it."""
    client, output = invocation.client(), invocation.output
    started = client.reembed(model)
    try:
        run = Follower(client, output, Limit(timeout)).until_stopped(started["run_id"])
    except KeyboardInterrupt:
        tell_interrupted(output, started["run_id"])
        raise
    return report(output, run)


def show_found(output: Output, found: RecollectionDocument) -> ExitCode:
    """Show what was found, and what was not searched."""
    if output.is_json:
        output.document(found)
        return ExitCode.OK
    for place, one in enumerate(found["results"], start=1):
        output.text(f"[{place}] {_place(one)}  ({' and '.join(one['found_by'])})")
        output.text("".join(f"  {line}\n" for line in one["text"].splitlines()).rstrip("\n"))
    if not found["results"]:
        output.note("Nothing was found.")
    for note in found["notes"]:
        output.warn(note)
    return ExitCode.OK


def _place(found: RecalledDocument) -> str:
    if found["kind"] == "fact":
        return f"fact {found['id']}, from {found['source']}"
    heading = f" > {found['heading']}" if found["heading"] else ""
    return (
        f"{found['notebook']}: {found['title']}{heading}, characters {found['start']} to "
        f"{found['stop']}"
    )


def _run(run_id: str | None) -> str:
    return f", run {run_id}" if run_id else ""


def shorten(text: str) -> str:
    """Put the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"
