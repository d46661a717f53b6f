"""``agency mcp serve``: the daemon as an MCP server on stdin and stdout."""

from __future__ import annotations

import sys

import click

from agency.cli.address import Address, find_daemon
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.tree import Verb


@click.command(
    cls=Verb,
    examples=(
        "agency mcp serve",
        "agency mcp serve --url http://127.0.0.1:8080",
    ),
)
@daemon_options
@pass_invocation
def serve(invocation: Invocation) -> ExitCode:
    """Be an MCP server on stdin and stdout, for programs that start their servers themselves.

    What is asked goes on to the daemon, where the runs live: they outlast this program, and the
    client that started it. It ends when its input does.
    """
    from agency.cli.bridge import Bridge

    def find() -> Address:
        return find_daemon(invocation.url, invocation.token, invocation.environ, invocation.loaded)

    find()  # a configuration that cannot be read is told at once
    Bridge(find, sys.stdin.buffer, sys.stdout.fileno(), _say).run()
    return ExitCode.OK


def _say(sentence: str) -> None:
    sys.stderr.write(f"agency: {sentence}\n")
    sys.stderr.flush()
