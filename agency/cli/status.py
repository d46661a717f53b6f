"""``agency status``: how the daemon is."""

from __future__ import annotations

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.tree import Verb
from agency.documents import HealthDocument

_WHOLE = "enforced"


@click.command(cls=Verb, examples=("agency status", "agency status --json | jq .runs"))
@daemon_options
@pass_invocation
def status(invocation: Invocation) -> ExitCode:
    """Tell how the daemon is. Ends with 1 when it is unhealthy, 5 when it does not answer."""
    client, output = invocation.client(), invocation.output
    health = client.health()
    if output.is_json:
        output.document(health)
    else:
        _describe(output, client.url, health)
    return ExitCode.FAILED if health["status"] == "unhealthy" else ExitCode.OK


def _describe(output: Output, url: str, health: HealthDocument) -> None:
    model = health["llm"]
    reachable = "" if model["reachable"] else f", away: {model.get('reason') or 'no answer'}"
    counts = (f"{number} {name}" for name, number in health["runs"].items() if number)
    output.text(f"daemon:    {health['status']}, version {health['version']}, at {url}")
    output.text(f"uptime:    {health['uptime']}")
    output.text(f"database:  {health['database']}")
    output.text(f"model:     {model['model']} by {model['provider']}{reachable}")
    output.text(f"runs:      {', '.join(counts) or 'none'}")
    sandbox = health.get("sandbox", {})
    if sandbox.get("driver"):
        weak = [f"{name} {level}" for name, level in sandbox["levels"].items() if level != _WHOLE]
        output.text(f"sandbox:   {sandbox['driver']}{', but ' * bool(weak)}{', '.join(weak)}")
    dead = health.get("dead_letters", 0)
    if dead:
        output.warn(f"{dead} runs have used up their attempts: see `agency dead ls`.")
    if model["rehearsal"]:
        output.warn("Answers are rehearsals: no language model is asked.")
    for failure in health.get("workflows", {}).get("failed") or ():
        output.warn(f"{failure['path']} could not be loaded: {failure['reason']}")
