"""``agency mcp login`` and ``logout``: logins at servers of tools that demand one."""

from __future__ import annotations

import os
import select
import sys
import time
import webbrowser

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output, is_terminal
from agency.cli.parameters import SPAN
from agency.cli.tree import Verb
from agency.client import Client
from agency.documents import ConnectionLoginDocument

LOOK_S = 1.0
"""How often the daemon is asked whether the browser has come back."""

LINE_BYTES_MAX = 16 * 1024
"""Longest address that can be pasted."""


@click.command(
    cls=Verb,
    examples=(
        "agency mcp login search",
        "agency mcp login search --no-browser",
        "agency mcp login search --json",
    ),
)
@click.argument("name", metavar="NAME")
@click.option(
    "--browser/--no-browser",
    default=None,
    help="Open the address in a browser here, or only show it; without either, as it fits.",
)
@click.option("--timeout", type=SPAN, default=900.0, help="Longest wait for the login (90s, 5m).")
@daemon_options
@pass_invocation
def login(invocation: Invocation, name: str, *, browser: bool | None, timeout: float) -> ExitCode:
    """Log in at the server of a connection, in a browser.

    The browser is sent back to the daemon. Where it cannot get there, as over ssh, paste the
    address that it has ended up at here. With --json the login is begun, and not waited for. Ends
    with 7 when nobody has logged in in time.
    """
    client, output = invocation.client(), invocation.output
    with output.busy(f"asking where to log in for {name}"):
        started = client.begin_login(name)
    if output.is_json:
        output.document(started)
        return ExitCode.OK
    output.note(f"Log in at {started['issuer']}:")
    output.text(started["url"])
    if browser or (browser is None and _has_browser()):
        webbrowser.open(started["url"])
    output.note(f"If the browser cannot open {started['redirect_uri']}, paste its address here.")
    return _await_login(client, output, name, time.monotonic() + timeout)


def _has_browser() -> bool:
    """Tell whether a browser opened here would be seen by whoever types."""
    if not is_terminal(sys.stdout) or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _await_login(client: Client, output: Output, name: str, until_s: float) -> ExitCode:
    """Wait for the browser to come back to the daemon, or for a pasted address."""
    can_read = sys.stdin is not None
    while time.monotonic() < until_s:
        if can_read:
            line = _read_line()
            can_read = line != ""
            if line is not None and line.strip():
                return _tell(output, name, client.finish_login(name, line.strip()))
        else:
            time.sleep(LOOK_S)
        view = client.connection_login(name)
        if view["state"] != "waiting":
            return _tell(output, name, view)
    output.complaint(
        f"Nobody has logged in for {name!r} in time.", f"Begin anew: agency mcp login {name}"
    )
    return ExitCode.TIMED_OUT


def _read_line() -> str | None:
    """Read a line if there is one within a second; empty at the end of the input, None without."""
    try:
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_S)
    except (OSError, ValueError):
        # It is closed, or nothing that can be waited for.
        return ""
    return sys.stdin.readline(LINE_BYTES_MAX) if ready else None


def _tell(output: Output, name: str, view: ConnectionLoginDocument) -> ExitCode:
    if view["state"] == "done":
        output.note(f"Logged in for {name!r}. See how it is: agency mcp show {name}")
        return ExitCode.OK
    reason = view["reason"] or "the login was taken away"
    output.complaint(f"Not logged in for {name!r}: {reason.rstrip('.')}.")
    return ExitCode.FAILED


@click.command(cls=Verb, examples=("agency mcp logout search",))
@click.argument("name", metavar="NAME")
@daemon_options
@pass_invocation
def logout(invocation: Invocation, name: str) -> ExitCode:
    """Forget the login at the server of a connection; the server is told, if it wants to be."""
    output = invocation.output
    view = invocation.client().forget_login(name)
    if output.is_json:
        output.document(view)
    else:
        output.note(f"Logged out for {name!r}.")
    return ExitCode.OK
