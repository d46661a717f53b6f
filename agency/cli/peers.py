"""``agency a2a peers`` and ``agency a2a push``: who has registered, and who is told of a run."""

from __future__ import annotations

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.runs import collect
from agency.cli.tree import Verb


@click.command(
    cls=Verb,
    examples=(
        "agency a2a peers",
        "agency a2a peers --service search",
        "agency a2a peers --forget research:librarian:1",
    ),
)
@click.option("--service", help="Only those that have it.")
@click.option("--forget", metavar="ID", help="Forget this one instead.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def peers(invocation: Invocation, service: str | None, forget: str | None, limit: int) -> ExitCode:
    """List the programs that have registered as peers, and what each can do."""
    client, output = invocation.client(), invocation.output
    if forget is not None:
        gone = client.delete_peer(forget)
        if output.is_json:
            output.document(gone)
        else:
            output.note(f"The peer {forget} is forgotten.")
        return ExitCode.OK
    found, cursor = collect(
        lambda cursor, rows: client.peers(service=service, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"peers": found, "next_cursor": cursor})
    else:
        output.table(
            ("peer", "status", "seen", "services", "reached at"),
            [
                (
                    one["id"],
                    one["status"],
                    one["last_seen"],
                    ", ".join(one["capabilities"]["services"]) or "-",
                    " ".join(one["endpoints"]) or "-",
                )
                for one in found
            ],
        )
        if not found:
            has_it = f" has the service {service!r}" if service is not None else " has registered"
            output.note(f"No peer{has_it}. Peers register themselves at /api/v1/peers.")
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=("agency a2a push 01a1fab8-4a13-7850-89bf-635e95881c09",),
)
@click.argument("run_id", metavar="RUN")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def push(invocation: Invocation, run_id: str, limit: int) -> ExitCode:
    """List the addresses that are told of a run over A2A, and how far that has come."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.pushes(run_id, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({"pushes": found, "next_cursor": cursor})
    else:
        output.table(
            ("address", "state", "sent", "given up", "next try", "last error"),
            [
                (
                    one["url"],
                    one["state"],
                    str(one["sent"]),
                    str(one["skipped"]),
                    one["next_try_at"] or "-",
                    one["last_error"] or "-",
                )
                for one in found
            ],
        )
        if not found:
            output.note(f"Nobody is told of {run_id}. Callers over A2A name an address.")
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK
