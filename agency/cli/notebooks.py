"""``agency notebooks``: documents that agents can look into."""

from __future__ import annotations

from pathlib import Path

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.memory import shorten, show_found
from agency.cli.output import EXIT_BY_STATUS, ExitCode
from agency.cli.parameters import SPAN
from agency.cli.results import tell_interrupted
from agency.cli.runs import collect
from agency.cli.tree import Noun, Verb

_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
}
"""Media types by the endings of names; of others the daemon finds out."""


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.notebooks:ls",
        "new": "agency.cli.notebooks:new",
        "show": "agency.cli.notebooks:show",
        "add": "agency.cli.notebooks:add",
        "search": "agency.cli.notebooks:search",
        "share": "agency.cli.notebooks:share",
        "rm": "agency.cli.notebooks:rm",
    },
    examples=(
        "agency notebooks new manual --agent '*' --about 'How the pumps work'",
        "agency notebooks add manual docs/*.md",
        "agency notebooks search manual 'how often is the oil changed?'",
    ),
)
@daemon_options
def notebooks() -> None:
    """Give agents documents to look into: text, Markdown and HTML."""


@click.command(cls=Verb, examples=("agency notebooks ls",))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List notebooks by name."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.notebooks(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"notebooks": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("notebook", "documents", "agents", "about"),
        [
            (
                one["name"],
                str(one["documents"]),
                ", ".join(one["agents"]) or "-",
                shorten(one["description"]),
            )
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency notebooks new manual --agent support --agent sales",))
@click.argument("name")
@click.option("--agent", "agents", multiple=True, help="Who may look into it; '*' for all.")
@click.option("--about", default="", help="What it is about.")
@daemon_options
@pass_invocation
def new(invocation: Invocation, name: str, agents: tuple[str, ...], about: str) -> ExitCode:
    """Make a notebook."""
    output = invocation.output
    made = invocation.client().make_notebook(name, description=about, agents=agents)
    if output.is_json:
        output.document(made)
        return ExitCode.OK
    output.note(f"The notebook {name!r} is made.")
    if not agents:
        output.note(f"No agent sees it yet: agency notebooks share {name} --agent AGENT")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency notebooks show manual",))
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def show(invocation: Invocation, name: str, limit: int) -> ExitCode:
    """Show a notebook with its documents, the newest first."""
    client, output = invocation.client(), invocation.output
    notebook = client.notebook(name)
    found, cursor = collect(
        lambda cursor, rows: client.notebook_files(name, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({**notebook, "newest": found, "next_cursor": cursor})
        return ExitCode.OK
    output.text(f"notebook:   {notebook['name']}")
    if notebook["description"]:
        output.text(f"about:      {notebook['description']}")
    output.text(f"agents:     {', '.join(notebook['agents']) or 'none'}")
    output.text(f"documents:  {notebook['documents']}")
    output.text("")
    output.table(
        ("document", "title", "passages", "with meaning", "added"),
        [
            (
                one["id"],
                one["title"],
                "-" if one["passages"] is None else str(one["passages"]),
                str(one["embedded"]),
                one["created_at"],
            )
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the newest {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency notebooks add manual pumps.md",
        "agency notebooks add manual docs/*.html --timeout 10m",
        "agency notebooks add manual notes.txt --no-wait",
    ),
)
@click.argument("name")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
@click.option("--title", help="By default the name of the file.")
@click.option("--wait/--no-wait", "is_waiting", default=True, help="Until they are searchable.")
@click.option("--timeout", type=SPAN, help="Wait no longer for each; its run goes on.")
@daemon_options
@pass_invocation
def add(
    invocation: Invocation,
    name: str,
    files: tuple[Path, ...],
    title: str | None,
    *,
    is_waiting: bool,
    timeout: float | None,
) -> ExitCode:
    """Add documents, and wait until they are searchable. The same document twice is one."""
    client, output = invocation.client(), invocation.output
    if title is not None and len(files) > 1:
        raise click.UsageError("--title is for one file; several have the names of the files.")
    added = []
    for path in files:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise click.UsageError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
        document = client.add_notebook_file(
            name,
            data,
            title=title or path.name,
            source=str(path),
            media_type=_TYPES.get(path.suffix.lower(), ""),
        )
        added.append(document)
        if not output.is_json:
            output.text(f"{document['id']}\t{document['title']}")
    code = ExitCode.OK
    for document in added if is_waiting else []:
        run_id = document.get("run_id")
        if run_id is None:
            continue
        try:
            run = Follower(client, output, Limit(timeout)).until_stopped(run_id)
        except KeyboardInterrupt:
            tell_interrupted(output, run_id)
            raise
        if run["status"] != "completed":
            reason = run["error"]["message"] if run["error"] else run["status"]
            output.warn(f"{document['title']}: {reason}")
            output.note(f"What was split is found by its words. See agency runs show {run_id}")
            code = EXIT_BY_STATUS[run["status"]]
    if output.is_json:
        output.document({"documents": added})
    return code


@click.command(
    cls=Verb, examples=("agency notebooks search manual 'how often is the oil changed?'",)
)
@click.argument("name")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 50), help="Results.")
@daemon_options
@pass_invocation
def search(invocation: Invocation, name: str, query: str, limit: int | None) -> ExitCode:
    """Find what a notebook says, with where it says so."""
    found = invocation.client().search_notebook(name, query, limit=limit)
    return show_found(invocation.output, found)


@click.command(
    cls=Verb,
    examples=("agency notebooks share manual --agent support", "agency notebooks share manual"),
)
@click.argument("name")
@click.option("--agent", "agents", multiple=True, help="Who may look into it; '*' for all.")
@daemon_options
@pass_invocation
def share(invocation: Invocation, name: str, agents: tuple[str, ...]) -> ExitCode:
    """Say which agents may look into a notebook; all others may not any more."""
    output = invocation.output
    changed = invocation.client().change_notebook(name, agents=agents)
    if output.is_json:
        output.document(changed)
    else:
        output.note(f"{name!r} is seen by {', '.join(changed['agents']) or 'no agent'}.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=("agency notebooks rm manual --document DOCUMENT", "agency notebooks rm manual"),
)
@click.argument("name")
@click.option("--document", help="Only this document.")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, name: str, document: str | None) -> ExitCode:
    """Delete a notebook with its documents, or one document."""
    client, output = invocation.client(), invocation.output
    if document is None:
        client.delete_notebook(name)
    else:
        client.delete_notebook_file(name, document)
    if output.is_json:
        output.document({"name": name, "document": document, "deleted": True})
    else:
        output.note("It is deleted.")
    return ExitCode.OK
