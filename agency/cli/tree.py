"""Commands and groups of commands: loaded when they are needed, with examples first in their help.

A group knows its members by name and place, and imports the one that was asked for, so that no
command pays for another's imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            # Not write_text: an example is copied as it stands, so it is never wrapped.
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Verb(click.Command):
    """A command with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more)
        self.examples = tuple(examples)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        _write_examples(formatter, self.examples)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)


class Noun(click.Group):
    """A group of commands.

    Attributes:
        places: Where each member is, by name: ``agency.cli.runs:show``.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  click's own
        places: Mapping[str, str],
        examples: Sequence[str] = (),
        **more: Any,  # noqa: ANN401  click's own
    ) -> None:
        super().__init__(*args, **more)
        self.places = dict(places)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.places and not args[0].startswith("-"):
            from agency.core.suggestions import nearest

            likely = nearest(args[0], self.places)
            hint = f" Did you mean {likely!r}?" if likely else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        _write_examples(formatter, self.examples)
        self.format_help_text(ctx, formatter)
        # click's own order: the options, then the commands.
        self.format_options(ctx, formatter)
