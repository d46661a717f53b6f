"""Write ``docs/reference/cli.md`` from the commands themselves.

Run by ``make docs`` in a checkout; a test compares the page with what this would write.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from agency.cli.commands import root
from agency.cli.output import ExitCode
from agency.cli.tree import Noun, Verb

PAGE = "docs/reference/cli.md"

EXIT_MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.OK: "It is done; of a run that was waited for: it has completed.",
    ExitCode.FAILED: "The run did not succeed or reached its limit of steps; the command failed.",
    ExitCode.USAGE: "The command line, the input or the configuration is wrong.",
    ExitCode.NOT_FOUND: "There is no such run, workflow, snapshot, token or file.",
    ExitCode.FORBIDDEN: "A token is missing or refused.",
    ExitCode.UNREACHABLE: "No daemon answers, or it takes no work now.",
    ExitCode.WAITING: "The run waits for an input, event, approval, decision or operator.",
    ExitCode.TIMED_OUT: "The time limit came first: `--timeout`, or the run's own deadline.",
    ExitCode.CONFLICT: "The state forbids it: a name is taken, a snapshot spent, a run ended.",
    ExitCode.INTERRUPTED: "Ctrl-C. Runs that were started go on.",
}

_HEAD = """\
# Command line

This page is generated from the commands by `make docs`.

`agency` talks to a running daemon over its REST interface.
Only `agency config` needs none, and `agency token` does without one when none runs.

## Habits

- Data goes to stdout; everything that is said to people goes to stderr.
- With `--json` stdout is one JSON document, also when the command fails (`{"error": {"code", \
"message", "hint", …}}`).
  `agency runs watch --json` and `agency run --watch --json` write one document per line, each \
with `update`: `step`, `run` or, at last, `end`.
- On a terminal lists are tables; elsewhere they are lines with tabs and without a heading.
- `NO_COLOR` and `TERM=dumb` are respected, and nothing is coloured that is not a terminal.
- JSON values are typed (`'{"sku": 1}'`), read from a file (`@order.json`) or from stdin (`-`).
- Spans of time are `90`, `90s`, `5m`, `2h` or `1d`.
- A run is named by its id, or by the name that it was given.
- Runs are durable. Ctrl-C and `--timeout` end the command, not the run.
  Commands that wait outlast a restart of the daemon: they ask again for 30 seconds.
- Requests that start something carry an idempotency key, and are sent again when their answer \
was lost.

## Finding the daemon

1. `--url` and `--token`.
2. `AGENCY_URL` and `AGENCY_TOKEN`.
3. `daemon.json` in the data directory, which a running daemon writes there, and the file `token` \
beside it (`agency token new NAME --save`). That token is shown to that daemon only.
4. `[server] host` and `port` of the configuration; by default `http://127.0.0.1:8080`.

The configuration is `--config`, else `CONFIG_PATH`, else `config.toml` in the current directory.

## Completion

    eval "$(_AGENCY_COMPLETE=bash_source agency)"      # ~/.bashrc
    eval "$(_AGENCY_COMPLETE=zsh_source agency)"       # ~/.zshrc
    _AGENCY_COMPLETE=fish_source agency | source       # ~/.config/fish/config.fish
"""


def write_reference() -> str:
    """Write the page."""
    parts = [_HEAD, "## Exit codes\n", "| code | means |", "| --- | --- |"]
    parts += [f"| {int(code)} | {EXIT_MEANINGS[code]} |" for code in ExitCode]
    parts += ["", "## Commands\n", "Options of every command:\n", *_options(root), ""]
    for path, command in _commands(root, ("agency",)):
        if len(path) > 1:
            parts += _describe(path, command)
    return "\n".join(parts).rstrip("\n") + "\n"


def _commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, Noun):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            member = command.get_command(ctx, name)
            assert member is not None
            yield from _commands(member, (*path, name))


def _describe(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    assert isinstance(command, (Noun, Verb))
    yield f"{'#' * (len(path) + 1)} {' '.join(path)}\n"
    yield "\n".join(line.strip() for line in (command.help or "").strip().splitlines())
    ctx = click.Context(command, info_name=" ".join(path))
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield f"\n    {' '.join(path)} {usage}\n"
    options = list(_options(command, but=root))
    if len(options) > 2:
        yield from (*options, "")
    if command.examples:
        yield "Examples:\n"
        yield from (f"    {example}" for example in command.examples)
        yield ""


def _options(command: click.Command, *, but: click.Command | None = None) -> Iterator[str]:
    shared = {name for one in but.params for name in one.opts} if but is not None else set()
    yield "| option | means |"
    yield "| --- | --- |"
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or shared & set(parameter.opts):
            continue
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        default = ""
        if parameter.show_default:
            default = f" Default: {parameter.default}."
        yield f"| {names} | {parameter.help}{default} |"


def write(checkout: Path) -> bool:
    """Write the page into a checkout, and tell whether it has changed."""
    path, text = checkout / PAGE, write_reference()
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


if __name__ == "__main__":
    if write(Path.cwd()):
        sys.stdout.write(f"{PAGE}\n")
