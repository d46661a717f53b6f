"""``agency doctor``: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.tree import Verb
from agency.documents import FindingDocument
from agency.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from agency.daemon.local.doctor import Report

_MARKS = {"good": "ok", "warning": "warning", "bad": "BAD"}


@click.command(cls=Verb, examples=("agency doctor", "agency doctor --json | jq .sandbox"))
@daemon_options
@pass_invocation
def doctor(invocation: Invocation) -> ExitCode:
    """Look at all that the daemon stands on: configuration, disk, model server, sandbox, ports.

    Works with a daemon and without one; nothing is changed. Ends with 1 when something is bad.
    """
    output = invocation.output
    try:
        loaded = invocation.loaded()
    except ConfigurationInvalid as error:
        _show_invalid(output, error)
        return ExitCode.FAILED
    import asyncio
    import logging

    from agency.client import Client
    from agency.daemon.local.doctor import DAEMON_S, examine

    # What rooms log on the way is for a daemon's log; all of it is told below.
    logging.getLogger("agency").addHandler(logging.NullHandler())
    with output.busy("Looking"):
        address = invocation.address()
        client = Client(address.url, address.token, timeout_s=DAEMON_S)
        report = asyncio.run(examine(loaded, client, is_named=address.is_named))
    _show(output, report)
    return ExitCode.OK if report.is_good else ExitCode.FAILED


def _show_invalid(output: Output, error: ConfigurationInvalid) -> None:
    findings = [
        FindingDocument(
            name="configuration", state="bad", what=f"{fault.where}: {fault.what}", fix=fault.hint
        )
        for fault in error.faults
    ]
    if output.is_json:
        output.document({"good": False, "findings": findings, "sandbox": None})
        return
    for one in findings:
        _line(output, one)


def _show(output: Output, report: Report) -> None:
    findings = [
        FindingDocument(name=one.name, state=str(one.state), what=one.what, fix=one.fix)
        for one in report.findings
    ]
    if output.is_json:
        document = {"good": report.is_good, "findings": findings, "sandbox": report.sandbox}
        output.document(document)
        return
    for one in findings:
        _line(output, one)
        if one["name"] == "sandbox":
            for capability, level in report.sandbox["levels"].items():
                output.text(f"{'':<9}{'':<16}{capability:<14}{level}")


def _line(output: Output, one: FindingDocument) -> None:
    output.text(f"{_MARKS[one['state']]:<9}{one['name']:<16}{one['what']}")
    if one["fix"] and one["state"] != "good":
        output.text(f"{'':<9}{'':<16}→ {one['fix']}")
