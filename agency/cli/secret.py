"""``agency secret``: what models, servers and tools need and nobody else may know."""

from __future__ import annotations

import sys

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.parameters import read_pipe_text
from agency.cli.runs import collect
from agency.cli.tree import Noun, Verb


@click.group(
    cls=Noun,
    places={
        "set": "agency.cli.secret:set_",
        "ls": "agency.cli.secret:ls",
        "rm": "agency.cli.secret:rm",
        "rekey": "agency.cli.secret:rekey",
    },
    examples=(
        "agency secret set github-token",
        "pass show github | agency secret set github-token",
        "agency secret ls",
    ),
)
@daemon_options
def secret() -> None:
    """Store secrets, encrypted, and refer to them as secret://NAME. Values are never shown."""


@click.command(
    "set",
    cls=Verb,
    examples=(
        "agency secret set github-token",
        "agency secret set github-token < token.txt",
    ),
)
@click.argument("name")
@click.argument("value", nargs=-1, metavar="")
@daemon_options
@pass_invocation
def set_(invocation: Invocation, name: str, value: tuple[str, ...]) -> ExitCode:
    """Store a secret, or another value of it: asked for, or read from stdin.

    One line feed at the end of stdin is left out.
    """
    if value:
        # It is not repeated, and has been seen by whoever looks at processes already.
        raise click.UsageError(
            "A value is not taken from the command line, where others on this machine see it. "
            "Type it when it is asked for, or pipe it in; and think of changing this one."
        )
    output = invocation.output
    stored = invocation.client().put_secret(name, _read_value())
    if output.is_json:
        output.document(stored)
        return ExitCode.OK
    output.note(f"The secret is stored; refer to it as {stored['reference']}")
    if not stored["redacted"]:
        output.warn(
            "It has less than 8 characters, so that logs and prompts are not searched for it."
        )
    return ExitCode.OK


def _read_value() -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        typed: str = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    text = read_pipe_text()
    if text.endswith("\n"):
        text = text[:-1].removesuffix("\r")
    if not text:
        raise click.UsageError("There is nothing on stdin; the value is read from there.")
    return text


@click.command(cls=Verb, examples=("agency secret ls", "agency secret ls --json"))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List secrets by name, with who refers to them."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.secrets(limit=rows, cursor=cursor), limit)
    vault = client.vault()
    if output.is_json:
        output.document({"secrets": found, "next_cursor": cursor, "vault": vault})
    else:
        output.table(
            ("name", "changed", "by", "used by", ""),
            [
                (
                    one["name"],
                    one["updated_at"],
                    one["updated_by"],
                    ", ".join(one["used_by"]) or "-",
                    "" if one["readable"] else "cannot be read",
                )
                for one in found
            ],
        )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    if vault["locked"]:
        output.warn(f"The vault is locked. {vault['reason']} {vault['hint']}")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency secret rm github-token",))
@click.argument("name")
@daemon_options
@pass_invocation
def rm(invocation: Invocation, name: str) -> ExitCode:
    """Forget a secret."""
    output = invocation.output
    gone = invocation.client().delete_secret(name)
    if output.is_json:
        output.document(gone)
        return ExitCode.OK
    output.note(f"The secret {name!r} is forgotten.")
    if gone["used_by"]:
        output.warn(f"It is still referred to by {', '.join(gone['used_by'])}.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency secret rekey",))
@daemon_options
@pass_invocation
def rekey(invocation: Invocation) -> ExitCode:
    """Encrypt all secrets with a new key; the old key is kept for copies of the database."""
    output = invocation.output
    done = invocation.client().rekey()
    if output.is_json:
        output.document(done)
        return ExitCode.OK
    count = done["secrets"]
    told = "1 secret is" if count == 1 else f"{count} secrets are"
    output.note(f"{told} encrypted with the key {done['key_id']}.")
    output.note(f"It is in {done['key_source']}; keep a copy of it apart from the database.")
    if done["old_key_kept_in"]:
        output.note(
            f"The old key is in {done['old_key_kept_in']}: older copies of the database need it. "
            "Delete it when there are none."
        )
    return ExitCode.OK
