"""``agency token``: who may talk to the daemon.

A daemon that answers is asked. When none runs, the store is opened directly, which a live daemon
would refuse: so the first token can be made before there is anybody to ask.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.tree import Noun, Verb
from agency.client import Client
from agency.config.schema import Settings
from agency.core.clock import to_text
from agency.documents import NewTokenDocument, TokenDocument
from agency.domain.principal import Token


@click.group(
    cls=Noun,
    places={
        "new": "agency.cli.token:new",
        "ls": "agency.cli.token:ls",
        "revoke": "agency.cli.token:revoke",
    },
    examples=(
        "agency token new laptop",
        "export AGENCY_TOKEN=$(agency token new ci)",
        "agency token revoke laptop",
    ),
)
@daemon_options
def token() -> None:
    """Make, list and revoke API tokens. Works with a daemon, and without one."""


@click.command(
    cls=Verb, examples=("agency token new laptop --save", "TOKEN=$(agency token new ci)")
)
@click.argument("name")
@click.option(
    "--save", is_flag=True, help="Keep it in the data directory for this command line, too."
)
@daemon_options
@pass_invocation
def new(invocation: Invocation, name: str, *, save: bool) -> ExitCode:
    """Make a token and print it. It is shown only now; what is kept is its hash."""

    async def add(settings: Settings) -> NewTokenDocument:
        from agency.daemon.local.tokens import add_token

        made, secret = await add_token(settings, name)
        return {**_document(made), "token": secret}

    output = invocation.output
    if save and invocation.address().is_named:
        raise click.UsageError("--save is for the daemon of the data directory, without --url.")
    made = invocation.ask_or_open(lambda client: client.make_token(name), add)
    if save:
        from agency.cli.address import TOKEN_FILE, data_dir_of

        _save(data_dir_of(invocation.loaded()) / TOKEN_FILE, made["token"])
    if output.is_json:
        output.document(made)
    else:
        output.text(made["token"])
        output.note(f"This is the token {name!r}. It is not shown again.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency token ls",))
@daemon_options
@pass_invocation
def ls(invocation: Invocation) -> ExitCode:
    """List the tokens that work, oldest first."""

    async def read(settings: Settings) -> list[TokenDocument]:
        from agency.daemon.local.tokens import list_tokens

        return [_document(one) for one in await list_tokens(settings)]

    output = invocation.output
    found = invocation.ask_or_open(Client.tokens, read)
    if output.is_json:
        output.document({"tokens": found})
    else:
        output.table(
            ("name", "begins with", "created"),
            [(one["name"], f"{one['prefix']}…", one["created_at"]) for one in found],
        )
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency token revoke laptop",))
@click.argument("name")
@daemon_options
@pass_invocation
def revoke(invocation: Invocation, name: str) -> ExitCode:
    """Revoke a token. It stops working at once."""

    async def take(settings: Settings) -> None:
        from agency.daemon.local.tokens import revoke_token

        await revoke_token(settings, name)

    output = invocation.output
    invocation.ask_or_open(lambda client: client.revoke_token(name), take)
    if output.is_json:
        output.document({"name": name, "revoked": True})
    else:
        output.note(f"The token {name!r} is revoked.")
    return ExitCode.OK


def _document(token: Token) -> TokenDocument:
    return {
        "name": token.name,
        "prefix": token.prefix,
        "created_at": to_text(token.created_at),
    }


def _save(path: Path, secret: str) -> None:
    """Write the token whole or not at all, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    fresh.replace(path)
