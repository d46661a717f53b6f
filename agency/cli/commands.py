"""The root of the command tree, and what becomes of what a command raises."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from agency.cli.invocation import Invocation, daemon_options
from agency.cli.output import ExitCode, exit_code_of
from agency.cli.tree import Noun
from agency.errors import AgencyError
from agency.version import VERSION


@click.group(
    cls=Noun,
    places={
        "chat": "agency.cli.chat:chat",
        "task": "agency.cli.task:task",
        "ask": "agency.cli.ask:ask",
        "run": "agency.cli.run:run",
        "runs": "agency.cli.runs:runs",
        "dead": "agency.cli.dead:dead",
        "queue": "agency.cli.queue:queue",
        "snapshots": "agency.cli.snapshots:snapshots",
        "schedules": "agency.cli.schedules:schedules",
        "db": "agency.cli.db:db",
        "approvals": "agency.cli.approvals:approvals",
        "topics": "agency.cli.topics:topics",
        "agents": "agency.cli.agents:agents",
        "tools": "agency.cli.agents:tools",
        "sagas": "agency.cli.sagas:sagas",
        "status": "agency.cli.status:status",
        "updates": "agency.cli.updates:updates",
        "doctor": "agency.cli.doctor:doctor",
        "config": "agency.cli.config:config",
        "token": "agency.cli.token:token",
        "mcp": "agency.cli.mcp:mcp",
        "a2a": "agency.cli.a2a:a2a",
        "secret": "agency.cli.secret:secret",
        "model": "agency.cli.model:model",
        "sessions": "agency.cli.sessions:sessions",
        "memory": "agency.cli.memory:memory",
        "notebooks": "agency.cli.notebooks:notebooks",
    },
    examples=(
        "agency chat",
        'agency task "Find the slowest test and say why."',
        'git diff | agency ask "Write a commit message."',
        'agency run order --input \'{"sku": "A-1"}\' --watch',
        "agency runs ls --status suspended",
        "agency status",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 ok, 1 the run failed, 2 usage, 3 not found, 4 not allowed, 5 daemon "
        "unreachable, 6 waits for somebody, 7 time limit, 8 conflict, 130 interrupted."
    ),
)
@click.version_option(VERSION, "-V", "--version", message="agency %(version)s")
@daemon_options
def root() -> None:
    """Talk to the Agency daemon: give it work, watch it, answer what it waits for."""


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; nothing is raised but bugs."""
    _set_encoding()
    invocation = Invocation(os.environ)
    output = invocation.output
    try:
        # Commands return their code; click returns it, as well as the one of ctx.exit().
        code = root.main(list(arguments), prog_name="agency", standalone_mode=False, obj=invocation)
    except click.UsageError as error:
        hint = f"See `{error.ctx.command_path} --help`." if error.ctx is not None else ""
        output.complaint(error.format_message(), hint)
        return ExitCode.USAGE
    except click.ClickException as error:
        output.complaint(error.format_message())
        return ExitCode.FAILED
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except AgencyError as error:
        output.error(error)
        return exit_code_of(error)
    return int(code or 0)


def _set_encoding() -> None:
    """Write what can be written: a terminal without UTF-8 must not turn an answer into an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
