"""``agency config``: what the settings are, and where they come from. Needs no daemon."""

from __future__ import annotations

from pathlib import Path

import click

from agency.cli.invocation import Invocation, config_option, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.tree import Noun, Verb
from agency.config.load import load


@click.group(
    cls=Noun,
    places={
        "show": "agency.cli.config:show",
        "check": "agency.cli.config:check",
        "path": "agency.cli.config:path",
    },
    examples=(
        "agency config show --origin",
        "agency config check /etc/agency/config.toml",
        "agency config path",
    ),
)
@config_option
def config() -> None:
    """See and check the settings. This works without a daemon."""


@click.command(cls=Verb, examples=("agency config show --origin", "agency config show llm"))
@click.argument("section", required=False)
@click.option("--origin", "has_origin", is_flag=True, help="Show where each value comes from.")
@config_option
@pass_invocation
def show(invocation: Invocation, section: str | None, *, has_origin: bool) -> ExitCode:
    """Show the settings in force, all or those of one section or name."""
    from agency.config.explain import explain

    output = invocation.output
    found = [
        one
        for one in explain(load(invocation.config, environ=invocation.environ))
        if section is None or one.name == section or one.name.startswith(f"{section}.")
    ]
    if not found:
        raise click.UsageError(f"There is no setting or section {section!r}.")
    if output.is_json:
        output.document(
            {one.name: {"value": one.value, "origin": one.origin} for one in found}
            if has_origin
            else {one.name: one.value for one in found}
        )
    elif has_origin:
        output.table(
            ("setting", "value", "origin"), [(one.name, one.literal, one.origin) for one in found]
        )
    else:
        for one in found:
            output.text(f"{one.name} = {one.literal}")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency config check", "agency config check new.toml"))
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@pass_invocation
def check(invocation: Invocation, file: Path | None) -> ExitCode:
    """Check the configuration, and report all that is wrong with it. Ends with 2 if anything is."""
    output = invocation.output
    loaded = load(file or invocation.config, environ=invocation.environ)
    source = str(loaded.path) if loaded.path is not None else None
    if output.is_json:
        output.document({"path": source, "valid": True})
    else:
        output.note(f"{source or 'The defaults'}: nothing is wrong.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("$EDITOR $(agency config path)",))
@config_option
@pass_invocation
def path(invocation: Invocation) -> ExitCode:
    """Print which configuration file is used. Ends with 3 when there is none."""
    output = invocation.output
    loaded = load(invocation.config, environ=invocation.environ)
    if output.is_json:
        output.document({"path": str(loaded.path) if loaded.path is not None else None})
    elif loaded.path is not None:
        output.text(str(loaded.path))
    if loaded.path is None:
        output.complaint("There is no configuration file; the defaults are in force.")
        return ExitCode.NOT_FOUND
    return ExitCode.OK
