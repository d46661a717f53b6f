"""``agency sessions``: conversations with agents."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.core.json import encode
from agency.documents import MessageDocument, SessionDocument

_SHOWN_CHARACTERS = 60


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.sessions:ls",
        "show": "agency.cli.sessions:show",
        "fork": "agency.cli.sessions:fork",
        "rename": "agency.cli.sessions:rename",
        "export": "agency.cli.sessions:export",
        "rm": "agency.cli.sessions:rm",
    },
    examples=(
        "agency sessions ls",
        "agency sessions show trip --last 4",
        "agency sessions fork trip --at 6",
        "agency sessions export trip --markdown -o trip.md",
    ),
)
@daemon_options
def sessions() -> None:
    """See conversations, go on from any message of one, take them along, delete them."""


@click.command(cls=Verb, examples=("agency sessions ls", "agency sessions ls --limit 100 --json"))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List sessions, those begun last first."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.sessions(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"sessions": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("session", "messages", "last", "run", "about"),
        [
            (
                one["session_id"],
                str(one["messages"]),
                one["last_at"],
                one["live_run_id"] or "-",
                _about(one),
            )
            for one in found
        ],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency sessions show trip", "agency sessions show trip --last 4")
)
@click.argument("session")
@click.option("--last", type=click.IntRange(min=1), help="Only so many of the newest messages.")
@daemon_options
@pass_invocation
def show(invocation: Invocation, session: str, last: int | None) -> ExitCode:
    """Show what was said, with the positions at which it can be forked."""
    client, output = invocation.client(), invocation.output
    found = client.session(session)
    after = 0 if last is None else max(0, found["messages"] - last)
    messages = list(client.messages(session, after=after, upto=found["messages"]))
    if output.is_json:
        output.document({**found, "newest": messages})
        return ExitCode.OK
    _describe(output, found)
    for message in messages:
        output.text("")
        output.text(f"[{message['position']}] {message['role']}")
        output.text(_text(message))
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency sessions fork trip --at 6",
        'agency ask --session "$(agency sessions fork trip)" "And by train?"',
    ),
)
@click.argument("session")
@click.option("--at", "position", type=click.IntRange(min=1), help="Newest message that it has.")
@click.option("--id", "new_id", help="Id of the fork; by default one is made.")
@click.option("--title", help="By default that of the session.")
@daemon_options
@pass_invocation
def fork(
    invocation: Invocation,
    session: str,
    position: int | None,
    new_id: str | None,
    title: str | None,
) -> ExitCode:
    """Go on from a message in another session, and print its id."""
    made = invocation.client().fork_session(session, position=position, new_id=new_id, title=title)
    output = invocation.output
    if output.is_json:
        output.document(made)
    else:
        output.text(made["session_id"])
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sessions rename trip 'Lisbon in May'",))
@click.argument("session")
@click.argument("title")
@daemon_options
@pass_invocation
def rename(invocation: Invocation, session: str, title: str) -> ExitCode:
    """Give a session a title; an empty one takes it away."""
    output = invocation.output
    renamed = invocation.client().rename_session(session, title)
    if output.is_json:
        output.document(renamed)
    else:
        output.note(f"The session {session!r} is called {title!r}." if title else "It has none.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency sessions export trip > trip.jsonl",
        "agency sessions export trip --markdown -o trip.md",
    ),
)
@click.argument("session")
@click.option("--markdown", is_flag=True, help="For people; else JSON lines.")
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path, dir_okay=False), help="Else stdout."
)
@daemon_options
@pass_invocation
def export(invocation: Invocation, session: str, *, markdown: bool, path: Path | None) -> ExitCode:
    """Write a session to a file, or to stdout."""
    output = invocation.output
    pieces = invocation.client().session_file(session, is_markdown=markdown)
    if path is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return ExitCode.OK
    # Written beside it first: a file that was cut off must not look like a whole one.
    fresh = path.with_name(f"{path.name}.part")
    digest = hashlib.sha256()
    try:
        with fresh.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
        fresh.replace(path)
    except OSError as error:
        raise click.UsageError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
    finally:
        fresh.unlink(missing_ok=True)
    if output.is_json:
        output.document({"path": str(path), "sha256": digest.hexdigest()})
    else:
        output.text(str(path))
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency sessions rm trip",))
@click.argument("session")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, session: str) -> ExitCode:
    """Delete a session that no live run has. Its runs stay."""
    output = invocation.output
    gone = invocation.client().delete_session(session)
    if output.is_json:
        output.document(gone)
        return ExitCode.OK
    output.note(f"The session {session!r} is deleted.")
    if gone["kept_for_forks"]:
        output.note("What forks of it read is kept until the last of them is deleted.")
    return ExitCode.OK


def _describe(output: Output, session: SessionDocument) -> None:
    rows = {
        "session": session["session_id"],
        "title": session["title"],
        "messages": session["messages"],
        "begun": session["created_at"],
        "last": session["last_at"],
        "run": session["live_run_id"],
        "forked from": session["parent_id"]
        and f"{session['parent_id']}, at message {session['forked_at']}",
        "forks": session["forks"] or None,
    }
    for name, value in rows.items():
        if value is not None:
            output.text(f"{name + ':':<13}{value}")


def _about(session: SessionDocument) -> str:
    text = " ".join((session["title"] or session["first_message"]).split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _text(message: MessageDocument) -> str:
    content = message["content"]
    if isinstance(content, dict) and isinstance(content.get("text"), str) and content["text"]:
        return str(content["text"])
    return encode(content).decode()
